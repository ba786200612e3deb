package handler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// many gives alice n small conversations, and one of 4,000 messages.
func (r *rig) many(n int) {
	r.Helper()
	r.exec(`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select 'demo', 'alice', 'c' || c, i, now() - interval '1 hour' from generate_series(1, $1::int) c, generate_series(1, 2) i`, n)
	r.exec(`insert into chat.conversations (app_id, user_id, conversation_id) select 'demo', 'alice', 'c' || c from generate_series(1, $1::int) c`, n)
	r.fill("large", 4000)
}

// all hands a command for all of alice's conversations to the handler.
func (r *rig) all(command string, header map[string][]string) *place {
	r.Helper()
	data, err := json.Marshal(conversation.Command{CommandID: command, AppID: "demo", UserID: "alice", DeviceID: "phone", AllConversations: true})
	if err != nil {
		r.Fatal(err)
	}
	return r.deliver("conversation.delete.demo", data, header)
}

func (r *rig) settled(p *place, want bus.Verdict) {
	r.Helper()
	if o := p.wait(r.T); o.Verdict != want {
		r.Fatalf("outcome = %+v; want %v", o, want)
	}
}

// ids are the ids of the conversations that were published as deleted, each once, in order.
func (p *recorder) ids() (deleted []string, all []conversation.AllDeleted) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.stored {
		switch {
		case a.Deleted != nil:
			deleted = append(deleted, a.Deleted.ConversationID)
		case a.AllDeleted != nil:
			all = append(all, *a.AllDeleted)
		}
	}
	slices.Sort(deleted)
	return slices.Compact(deleted), all
}

func TestAllConversations(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.many(700)
	r.exec(`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values
		('demo', 'alice', 'no row', 1, now() - interval '1 hour'), ('demo', 'alice', 'newer', 1, now() + interval '1 hour'),
		('demo', 'alice', 'both', 1, now() - interval '1 hour'), ('demo', 'alice', 'both', 2, now() + interval '1 hour'),
		('demo', 'bob', 'c1', 1, now() - interval '1 hour'), ('other', 'alice', 'c1', 1, now() - interval '1 hour')`)
	r.exec(`insert into chat.conversations (app_id, user_id, conversation_id) values
		('demo', 'alice', 'no message'), ('demo', 'alice', 'newer'), ('demo', 'alice', 'both')`)
	r.settled(r.all("everything", nil), bus.Done)
	deleted, all := r.pub.ids()
	if len(deleted) != 704 || slices.Contains(deleted, "newer") || !slices.Contains(deleted, "no message") || !slices.Contains(deleted, "no row") {
		t.Errorf("%d conversations: %q", len(deleted), deleted)
	}
	if len(all) != 1 || all[0].Conversations != 704 || all[0].Failed != 0 || all[0].MessagesDeleted != 5402 || all[0].OriginDeviceID != "phone" || all[0].CompletedAt.IsZero() {
		t.Errorf("all_deleted: %+v", all)
	}
	if n := r.count("select count(*) from chat.messages where user_id = 'alice' and app_id = 'demo'"); n != 2 {
		t.Errorf("%d messages are left", n)
	}
	if n := r.count("select count(*) from chat.conversations where user_id = 'alice' and app_id = 'demo'"); n != 2 {
		t.Errorf("%d conversations are left", n)
	}
	if n := r.count("select count(*) from chat.messages"); n != 4 {
		t.Errorf("%d messages of all users are left", n)
	}
	// Sent again, it repeats each event and its end, whatever has come since.
	r.fill("c1", 3)
	r.settled(r.all("everything", nil), bus.Done)
	again, twice := r.pub.ids()
	if !slices.Equal(again, deleted) || len(twice) != 2 || twice[0] != twice[1] {
		t.Errorf("again %d conversations, %+v", len(again), twice)
	}
	if n := r.count("select count(*) from chat.messages where app_id = 'demo' and user_id = 'alice' and conversation_id = 'c1'"); n != 3 {
		t.Errorf("%d newer messages are left", n)
	}
	// With other content it is refused.
	r.settled(r.send("everything", "c1"), bus.Reject)
}

// One that fails doesn't hold up the others, and a retry of the dead letter goes through all again.
func TestAllConversationsWithAFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *handler.Config) { c.MaxAttempts = 2 })
	r.many(300)
	r.exec(`create function chat.hold() returns trigger language plpgsql as $$ begin raise exception 'on legal hold'; end $$`)
	r.exec(`create trigger hold before delete on chat.messages for each row when (old.conversation_id = 'c7') execute function chat.hold()`)
	r.settled(r.all("everything", nil), bus.Reject)
	deleted, all := r.pub.ids()
	if len(deleted) != 300 || len(all) != 1 || all[0].Failed != 1 || all[0].Conversations != 300 {
		t.Errorf("%d conversations, %+v", len(deleted), all)
	}
	if s := r.pub.summary(); s[len(s)-1] != "letter attempts_exhausted" || !slices.Contains(s, "failed c7 attempts_exhausted") {
		t.Errorf("published %q", s[len(s)-3:])
	}
	r.exec("drop trigger hold on chat.messages")
	r.settled(r.all("everything", nil), bus.Reject) // a plain duplicate repeats the failure
	r.settled(r.all("everything", map[string][]string{conversation.HeaderRetry: {"1"}}), bus.Done)
	deleted, all = r.pub.ids()
	if last := all[len(all)-1]; len(deleted) != 301 || last.Failed != 0 || last.Conversations != 301 || !last.CompletedAt.After(all[0].CompletedAt) {
		t.Errorf("%d conversations, %+v", len(deleted), all)
	}
}

// Everyone has a deletion of their own, with a boundary of their own, of each conversation whose id all owners share.
func TestEveryone(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.exec(`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select 'demo', 'u' || u, g, u + i, now() - interval '1 hour' from generate_series(1, 600) u, generate_series(1, 2) i, unnest(array['group_1', 'group_2', 'c2c_1']) g`)
	r.exec(`insert into chat.conversations (app_id, user_id, conversation_id) select distinct app_id, user_id, conversation_id from chat.messages`)
	r.exec(`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ('demo', 'u5', 'group_1', 100, now() + interval '1 hour')`)
	r.exec(`insert into chat.messages (app_id, user_id, conversation_id, seq) values ('other', 'u5', 'group_1', 1)`)
	send := func(command, user, targets string) *place {
		return r.deliver("conversation.delete_everyone.demo", fmt.Appendf(nil,
			`{"command_id": %q, "app_id": "demo", "user_id": %q, "device_id": "phone", "scope": "everyone", "conversations": [%s]}`, command, user, targets), nil)
	}
	r.settled(send("seq", "boss", `{"id": "group_1", "through_seq": 3}`), bus.Reject)
	r.settled(send("both", "boss", `{"id": "group_1"}, {"id": "c2c_1"}, {"id": "group_2"}, {"id": "group_3"}`), bus.Reject) // one of them
	want := map[string]int{
		"letter invalid_command": 1, "failed  invalid_command": 1, "letter unsupported_scope": 1, "failed c2c_1 unsupported_scope": 1,
		"deleted group_1 2": 600, "deleted group_2 2": 600,
	}
	got := map[string]int{}
	for _, s := range r.pub.summary() {
		got[s]++
	}
	if !maps.Equal(got, want) {
		t.Errorf("published %v; want %v", got, want)
	}
	if n := r.count("select count(*) from chat.messages where conversation_id <> 'c2c_1'"); n != 2 {
		t.Errorf("%d messages are left", n)
	}
	for _, a := range r.pub.stored {
		if d := a.Deleted; d != nil && (d.Scope != "everyone" || d.RequestedBy != "boss" || d.OriginDeviceID != "phone" || !d.Erased ||
			d.ConversationRemoved != (d.UserID+d.ConversationID != "u5group_1") || fmt.Sprintf("u%d", d.ThroughSeq-2) != d.UserID) {
			t.Fatalf("deleted: %+v", d)
		}
	}
}

// A retry of what the plan couldn't do fails again, and deletes nothing of who asks. Once the plan can, everyone's copy goes.
func TestEveryoneAgainUnderAnotherPlan(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.exec(`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select 'demo', u, c, 1, now() - interval '1 hour' from unnest(array['boss', 'u1', 'u2']) u, unnest(array['group_1', 'team_1', 'team_2']) c`)
	r.exec(`insert into chat.conversations (app_id, user_id, conversation_id) select app_id, user_id, conversation_id from chat.messages`)
	r.exec(`delete from chat.messages where user_id = 'boss' and conversation_id = 'team_2'`)
	r.exec(`delete from chat.conversations where user_id = 'boss' and conversation_id = 'team_2'`)
	send := func(header map[string][]string) *place {
		return r.deliver("conversation.delete_everyone.demo", []byte(`{"command_id": "c", "app_id": "demo", "user_id": "boss", "scope": "everyone",
			"conversations": [{"id": "group_1"}, {"id": "team_1"}, {"id": "team_2"}]}`), header)
	}
	retry := func(letter string) *place { return send(map[string][]string{conversation.HeaderRetry: {letter}}) }
	r.settled(send(nil), bus.Reject)
	r.settled(retry("1"), bus.Reject)
	r.settled(send(nil), bus.Reject)
	if n := r.count("select count(*) from chat.messages where conversation_id like 'team%'"); n != 5 {
		t.Errorf("%d messages are left of what can't be deleted; want 5", n)
	}
	p := plan.Bundled()
	p.Everyone.Prefix = ""
	r = openRig(t, r.url, p, "", nil)
	r.settled(retry("2"), bus.Done)
	if n := r.count("select count(*) from chat.messages"); n != 0 {
		t.Errorf("%d messages are left; want none", n)
	}
}

// listing notes how many ids were listed and are not final yet, and may fail.
type listing struct {
	handler.Store
	listed, pages atomic.Int64
	fail          func(page int64) error
}

func (l *listing) List(ctx context.Context, d purge.Deletion, from purge.Place, limit int) ([]string, purge.Place, error) {
	if l.fail != nil {
		if err := l.fail(l.pages.Add(1)); err != nil {
			return nil, from, err
		}
	}
	ids, next, err := l.Store.List(ctx, d, from, limit)
	l.listed.Add(int64(len(ids)))
	return ids, next, err
}

// Two workers that have the same command, one of which stops in the middle, find each deletion, and publish its end when all are final.
func TestAllConversationsOnTwoWorkers(t *testing.T) {
	t.Parallel()
	first := newRig(t, nil)
	first.many(900)
	second := newRigOn(t, first.url, nil)
	second.seq = 1
	third := newRigOn(t, first.url, nil)
	at := time.Now()
	deliver := func(r *rig) *place {
		p := &place{settled: make(chan bus.Outcome, 2)}
		data := []byte(`{"command_id": "everything", "app_id": "demo", "user_id": "alice", "all_conversations": true}`)
		r.h.Handle(bus.Delivery{Subject: "conversation.delete.demo", Data: data, Sequence: 1, StoredAt: at, Deliveries: 1}, p)
		return p
	}
	places := []*place{deliver(first), deliver(second), deliver(third)}
	first.until("200 deletions are done", func() bool { return first.count("select count(*) from lethe.deletions where state = 'done'") > 200 })
	third.h.Stop()
	third.settled(places[2], bus.Retry)
	outcomes := []bus.Outcome{places[0].wait(t), places[1].wait(t)}
	for i, r := range []*rig{first, second} {
		if outcomes[i].Verdict == bus.Retry { // it has left the command to the other
			r.settled(deliver(r), bus.Done)
		}
	}
	var union []string
	var ends []conversation.AllDeleted
	for _, r := range []*rig{first, second, third} {
		deleted, all := r.pub.ids()
		union, ends = append(union, deleted...), append(ends, all...)
	}
	slices.Sort(union)
	if n := len(slices.Compact(union)); n != 901 || len(ends) != 2 || ends[0] != ends[1] || ends[0].Conversations != 901 {
		t.Errorf("%d conversations, %+v", n, ends)
	}
	if n := first.count("select count(*) from chat.messages"); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

// An app that submits very many enumerations doesn't keep another's waiting.
func TestEnumerationsOfAppsTakeTurns(t *testing.T) {
	t.Parallel()
	const many = 60
	r := newRig(t, nil)
	r.exec(`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select case u when 0 then 'other' else 'demo' end, 'u' || u, 'c' || c, 1, now() - interval '1 hour' from generate_series(0, $1::int) u, generate_series(1, 100) c`, many)
	all := func(app string, user int) *place {
		body := fmt.Sprintf(`{"command_id": "c%d", "app_id": %q, "user_id": "u%[1]d", "all_conversations": true}`, user, app)
		return r.deliver("conversation.delete."+app, []byte(body), nil)
	}
	for i := range many {
		all("demo", i+1)
	}
	ended := func() int { _, ends := r.pub.ids(); return len(ends) }
	r.until("one of the many has ended", func() bool { return ended() > 0 })
	before := ended()
	for all("other", 0).wait(t).Verdict == bus.Retry {
	}
	_, ends := r.pub.ids()
	at := slices.IndexFunc(ends, func(a conversation.AllDeleted) bool { return a.AppID == "other" })
	if at < 0 || at-before > (many-before)/2 { // without turns it is one of the last
		t.Errorf("%d ended before the other app's, %d before it was sent, of %d", at, before, many)
	}
}

// Two enumerations of an app that take long, here for a lock, don't keep another app's waiting.
func TestLongEnumerationsGiveWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.exec(`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select case u when 0 then 'other' else 'demo' end, 'u' || u, 'c' || c, 1, now() - interval '1 hour' from generate_series(0, 2) u, generate_series(1, 100) c`)
	all := func(app string, user int) *place {
		body := fmt.Sprintf(`{"command_id": "c%d", "app_id": %q, "user_id": "u%[1]d", "all_conversations": true}`, user, app)
		return r.deliver("conversation.delete."+app, []byte(body), nil)
	}
	lock, err := r.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := lock.Exec(t.Context(), `select from chat.messages where app_id = 'demo' and conversation_id = 'c50' for update`); err != nil {
		t.Fatal(err)
	}
	held := []*place{all("demo", 1), all("demo", 2)}
	r.until("both have come to the lock", func() bool {
		return r.count("select count(*) from lethe.deletions where app_id = 'demo' and state = 'done'") >= 2*99
	})
	for tries := 1; all("other", 0).wait(t).Verdict == bus.Retry; tries++ {
		if tries == 5 {
			t.Fatal("the other app's has found no room")
		}
	}
	if _, ends := r.pub.ids(); len(ends) != 1 || ends[0].AppID != "other" {
		t.Errorf("ended: %+v; want the other app's alone", ends)
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, p := range held {
		for p.wait(t).Verdict == bus.Retry {
			p = all("demo", i+1)
		}
	}
	if deleted, ends := r.pub.ids(); len(deleted) != 100 || len(ends) != 3 || r.count("select count(*) from chat.messages") != 0 {
		t.Errorf("%d conversations, %+v", len(deleted), ends)
	}
}

// An outage in the middle costs nothing but time, and few deletions are in flight at any time.
func TestAllConversationsInAnOutage(t *testing.T) {
	t.Parallel()
	var l *listing
	r := newRig(t, func(c *handler.Config) {
		l = &listing{Store: c.Store, fail: func(page int64) error {
			if page == 2 {
				return &purge.FaultError{Fault: purge.Infrastructure, Cause: "permission", Err: fmt.Errorf("no grant")}
			}
			return nil
		}}
		c.Store = l
	})
	r.many(1500)
	most, done := make(chan int64), make(chan struct{})
	go func() {
		var n int64
		for {
			n = max(n, l.listed.Load()-int64(len(r.pub.summary())))
			select {
			case <-done:
				most <- n
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	r.settled(r.all("everything", nil), bus.Retry)
	r.pub.setRefuse(errFull)
	p := r.all("everything", nil)
	r.until("the gate is closed", func() bool { return strings.Contains(r.gate.Reason(), "events_full") })
	r.pub.setRefuse(nil)
	r.settled(p, bus.Done)
	close(done)
	if n := <-most; n > 3*512 {
		t.Errorf("%d deletions were in flight", n)
	}
	deleted, all := r.pub.ids()
	if len(deleted) != 1501 || len(all) != 1 || all[0].Conversations != 1501 {
		t.Errorf("%d conversations, %+v", len(deleted), all)
	}
}

// In a shared log all conversations of a user are all that they are or were a member of.
func TestAllConversationsOfAMember(t *testing.T) {
	t.Parallel()
	r := newRooms(t, nil)
	for i := range 5 {
		r.room(fmt.Sprintf("room%d", i), 3, "alice", "bob")
	}
	r.room("alone", 3, "alice")
	r.room("empty", 0, "alice")
	r.room("others", 3, "bob")
	r.room("newer", 0, "alice")
	r.exec(`insert into rooms.messages values ('newer', 1, now() + interval '1 hour'), ('room0', 4, now() + interval '1 hour')`)
	r.exec(`update rooms.members set left_at = now() where room = 'room4' and who = 'alice'`)
	r.settled(r.all("everything", nil), bus.Done)
	deleted, all := r.pub.ids()
	if want := []string{"alone", "empty", "room0", "room1", "room2", "room3", "room4"}; !slices.Equal(deleted, want) {
		t.Errorf("deleted %q; want %q", deleted, want)
	}
	if len(all) != 1 || all[0].Conversations != 7 || all[0].MessagesDeleted != 18 {
		t.Errorf("all_deleted: %+v", all)
	}
	if n := r.count("select count(*) from rooms.members where who = 'alice' and cleared = 3"); n != 6 {
		t.Errorf("%d watermarks are at 3", n)
	}
	awaitTold(t, []*rig{r}, "everything alice alone")
	if n := r.messages("room0") + r.messages("room1"); n != 7 {
		t.Errorf("bob has %d messages", n)
	}
}

// The conversation that all share goes for everyone, and each member's event says so; their row has gone before. With a newer message, or where it is
// to stay, it doesn't.
func TestEveryoneRemovesTheConversation(t *testing.T) {
	t.Parallel()
	r := newRooms(t, nil)
	early := make(chan string, 100)
	r.pub.check = func(a bus.Announcement) {
		if d := a.Deleted; d != nil && d.ConversationRemoved && r.count(`select count(*) from rooms.members where room = $1 and who = $2`, d.ConversationID, d.UserID) > 0 {
			early <- d.ConversationID + " " + d.UserID
		}
	}
	for _, room := range []string{"gone", "part", "newer", "kept"} {
		r.room(room, 30, "u1", "u2")
	}
	var many []string
	for i := range 600 {
		many = append(many, fmt.Sprintf("u%d", i))
	}
	r.room("many", 3, many...)
	r.exec(`insert into rooms.messages values ('newer', 31, now() + interval '1 hour')`)
	send := func(command, more string) {
		t.Helper()
		r.settled(r.deliver("conversation.delete_everyone.demo", fmt.Appendf(nil, `{"command_id": %q, "app_id": "demo", "user_id": "boss", "scope": "everyone", %s}`, command, more), nil), bus.Done)
	}
	send("c", `"conversations": [{"id": "part", "through_seq": 20}, {"id": "gone"}, {"id": "newer"}, {"id": "many"}]`)
	send("k", `"keep_conversation": true, "conversations": [{"id": "kept"}]`)
	got := map[string]int{}
	for _, a := range r.pub.stored {
		if d := a.Deleted; d != nil {
			got[fmt.Sprintf("%s %d %d %t", d.ConversationID, d.ThroughSeq, d.MessagesDeleted, d.ConversationRemoved)]++
		}
	}
	if want := map[string]int{"gone 30 30 true": 2, "part 20 20 false": 2, "newer 30 30 false": 2, "many 3 3 true": 600, "kept 30 30 false": 2}; !maps.Equal(got, want) {
		t.Errorf("deleted %v; want %v", got, want)
	}
	r.until("all is erased", func() bool { return len(r.pub.told()) == 608 })
	r.until("the rows are as the events say", func() bool {
		return r.count(`select count(*) from rooms.rooms where id in ('gone', 'many')`) == 0 && r.count(`select count(*) from rooms.rooms`) == 3 && r.count(`select count(*) from rooms.members`) == 6
	})
	close(early)
	for what := range early {
		t.Errorf("%s: the event came before the member's row had gone", what)
	}
}

// For everyone a shared log is hidden from all who are or were members, up to one boundary, and erased.
func TestEveryoneInASharedLog(t *testing.T) {
	t.Parallel()
	r := newRooms(t, nil)
	var members []string
	for i := range 700 {
		members = append(members, fmt.Sprintf("u%d", i))
	}
	r.room("a", 30, members...)
	r.room("b", 30, "u1", "u2")
	r.room("nobody", 3)
	r.exec(`insert into rooms.messages values ('a', 31, now() + interval '1 hour')`)
	r.exec(`update rooms.members set left_at = now() where room = 'a' and who = 'u7'`)
	r.settled(r.deliver("conversation.delete_everyone.demo", []byte(`{"command_id": "c", "app_id": "demo", "user_id": "boss", "scope": "everyone",
		"conversations": [{"id": "a"}, {"id": "b", "through_seq": 20}, {"id": "nobody"}]}`), nil), bus.Done)
	got := map[string]int{}
	r.pub.mu.Lock()
	stored := slices.Clone(r.pub.stored) // the eraser goes on
	r.pub.mu.Unlock()
	for _, a := range stored {
		if d := a.Deleted; d != nil {
			got[fmt.Sprintf("%s %d %s %s", d.ConversationID, d.ThroughSeq, d.Scope, d.RequestedBy)]++
		}
	}
	if want := map[string]int{"a 30 everyone boss": 700, "b 20 everyone boss": 2}; !maps.Equal(got, want) {
		t.Errorf("deleted %v; want %v", got, want)
	}
	r.until("the conversations are deleted", func() bool { return r.messages("a") == 1 && r.messages("b") == 10 && r.messages("nobody") == 0 })
	r.until("702 events are stored", func() bool { return len(r.pub.told()) == 702 })
	r.until("the row that nobody is told of has gone, too", func() bool { return r.count("select count(*) from rooms.rooms") == 2 })
}
