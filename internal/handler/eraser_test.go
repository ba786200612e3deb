package handler_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

// roomTables are rooms whose members share one log.
const roomTables = `create schema rooms;
create table rooms.rooms (id text primary key);
create table rooms.members (room text not null, who text not null, left_at timestamptz, cleared bigint, primary key (room, who));
create index on rooms.members (who, room);
create index on rooms.members (room, cleared);
create table rooms.messages (room text not null, n bigint not null, at timestamptz not null default now() - interval '1 hour', primary key (room, n));
create index on rooms.messages (room, at);
`

const roomPlan = `tenant: demo
messages: {table: rooms.messages, conversation: room, seq: n, sent_at: at}
members: {table: rooms.members, user: who, conversation: room, where: {left_at: null}, watermark: cleared}
conversations: {table: rooms.rooms, where: {id: $conversation}, keep: false}
`

// newRooms is a rig on a shared log. Its worker looks for floors that have risen without a command ten times a second.
func newRooms(t *testing.T, change func(*handler.Config)) *rig {
	t.Helper()
	return newRoomsOn(t, "", change)
}

func newRoomsOn(t *testing.T, address string, change func(*handler.Config)) *rig {
	t.Helper()
	p, err := plan.Parse([]byte(roomPlan))
	if err != nil {
		t.Fatal(err)
	}
	tables := ""
	if address == "" {
		address, tables = ready.Database(t), roomTables
	}
	return openRig(t, repo.Config{URL: address, Plan: p}, tables, func(c *handler.Config) {
		c.ErasePoll, c.SweepEvery = 50*time.Millisecond, 100*time.Millisecond
		if change != nil {
			change(c)
		}
	})
}

// room makes a room with messages 1 to n.
func (r *rig) room(id string, n int, members ...string) {
	r.Helper()
	r.exec(`insert into rooms.rooms values ($1)`, id)
	r.exec(`insert into rooms.members (room, who) select $1, unnest($2::text[])`, id, members)
	r.exec(`insert into rooms.messages (room, n) select $1, generate_series(1, $2::int)`, id, n)
}

// hide has a member delete rooms.
func (r *rig) hide(command, user string, rooms ...string) {
	r.Helper()
	if o := r.askAs(command, user, rooms...).wait(r.T); o.Verdict != bus.Done {
		r.Errorf("%s: %+v; want done", command, o)
	}
}

// askAs hands over a member's command.
func (r *rig) askAs(command, user string, rooms ...string) *place {
	r.Helper()
	body := strings.Replace(string(r.encode(command, rooms)), `"alice"`, fmt.Sprintf("%q", user), 1)
	return r.deliver("conversation.delete.demo", []byte(body), nil)
}

func (r *rig) messages(room string) int {
	r.Helper()
	return r.count(`select count(*) from rooms.messages where room = $1`, room)
}

// told are the events of erased deletions, each with how often it was published.
func (p *recorder) told() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	told := map[string]int{}
	bodies := map[string]conversation.Erased{}
	for _, a := range p.stored {
		if e := a.Erased; e != nil {
			key := e.CommandID + " " + e.UserID + " " + e.ConversationID
			if first, again := bodies[key]; again && first != *e {
				key += " otherwise"
			}
			bodies[key] = *e
			told[key]++
		}
	}
	return told
}

// awaitTold waits until exactly these were told, by any of the workers.
func awaitTold(t *testing.T, workers []*rig, want ...string) {
	t.Helper()
	got := func() []string {
		var all []string
		for _, w := range workers {
			for key := range w.pub.told() {
				all = append(all, key)
			}
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	slices.Sort(want)
	workers[0].until(fmt.Sprintf("told of %q", want), func() bool { return slices.Equal(got(), want) })
}

// What a member hides stays for the others. Once the last one has hidden it the rows go, and each is told of
// that once, afterwards.
func TestWhatAllMembersHaveHiddenIsErasedAndTold(t *testing.T) {
	t.Parallel()
	r := newRooms(t, func(c *handler.Config) { c.PerDeletion, c.MinRows, c.MaxRows, c.SweepEvery = 10, 30, 30, time.Hour })
	early := make(chan string, 10)
	r.pub.check = func(a bus.Announcement) {
		if a.Erased != nil && r.messages(a.Erased.ConversationID) > 0 {
			early <- a.Erased.ConversationID
		}
	}
	r.room("g", 100, "alice", "bob", "carol")
	r.exec(`update rooms.members set left_at = now() where who = 'carol'`)
	r.hide("1", "alice", "g")
	r.hide("2", "carol", "g")
	if n := r.messages("g"); n != 100 {
		t.Fatalf("%d messages are left for bob; want 100", n)
	}
	r.hide("3", "bob", "g")
	awaitTold(t, []*rig{r}, "1 alice g", "2 carol g", "3 bob g")
	if n := r.messages("g"); n != 0 {
		t.Errorf("%d messages are left; want none", n)
	}
	want := []string{"deleted g 100", "deleted g 100", "deleted g 100", "erased g", "erased g", "erased g"}
	if got := r.pub.summary(); !slices.Equal(got, want) {
		t.Errorf("events: %q; want %q", got, want)
	}
	select {
	case room := <-early:
		t.Errorf("erased told of %s while its messages were there", room)
	default:
	}
	r.until("nothing waits to be told", func() bool {
		return r.count(`select count(*) from lethe.deletions where state = 'done' and not erased and not erased_told and command_id <> ''`) == 0
	})
	for _, m := range []struct {
		name string
		of   prometheus.Counter
		want float64
	}{
		{"hidden", r.metrics.MessagesHidden, 300},
		{"erased", r.metrics.MessagesErased, 100},
		{"floors", r.metrics.FloorsRaised.WithLabelValues("hide"), 1},
		{"erasures", r.metrics.Erasures.WithLabelValues("done"), 1},
	} {
		if got := figure(m.of); got != m.want {
			t.Errorf("metric %s = %v; want %v", m.name, got, m.want)
		}
	}
}

// The app removes the members that have not hidden anything, and nobody says so.
func TestASweepFindsFloorsThatHaveRisenWithoutACommand(t *testing.T) {
	t.Parallel()
	r := newRooms(t, nil)
	var want []string
	for i := range 5 {
		room := fmt.Sprintf("g%d", i)
		r.room(room, 10, "alice", "bob")
		r.hide(room, "alice", room)
		want = append(want, room+" alice "+room)
	}
	r.exec(`delete from rooms.members where who = 'bob' and room <> 'g4'`)
	awaitTold(t, []*rig{r}, want[:4]...)
	if n := r.count(`select count(*) from rooms.messages where room <> 'g4'`); n != 0 {
		t.Errorf("%d messages are left; want none", n)
	}
	if n := r.messages("g4"); n != 10 {
		t.Errorf("%d messages of the room that bob is in; want 10", n)
	}
	if n := figure(r.metrics.FloorsRaised.WithLabelValues("sweep")); n < 1 {
		t.Errorf("the sweep raised %v floors; want some", n)
	}
}

// While the stream takes no event rows go nevertheless, and what is told waits.
func TestErasedIsToldOnceTheStreamTakesIt(t *testing.T) {
	t.Parallel()
	r := newRooms(t, nil)
	r.pub.refuseErased(errFull)
	var want []string
	for i := range 3 {
		room := fmt.Sprintf("g%d", i)
		r.room(room, 10, "alice")
		r.hide(room, "alice", room)
		r.until("the rows have gone", func() bool { return r.messages(room) == 0 })
		want = append(want, room+" alice "+room)
	}
	awaitTold(t, []*rig{r})
	r.pub.refuseErased(nil)
	awaitTold(t, []*rig{r}, want...)
}

// A stop releases the lease: the next worker goes on from the last batch, and no floor or event is lost that
// the first one had only in its memory.
func TestAnErasureThatAStopInterruptsGoesOnElsewhere(t *testing.T) {
	t.Parallel()
	first := newRooms(t, func(c *handler.Config) { c.MinRows, c.MaxRows = 10, 10 })
	first.room("g", 5000, "alice")
	first.hide("1", "alice", "g")
	first.until("some messages are erased", func() bool { return first.messages("g") < 5000 })
	first.h.Stop()
	left := first.messages("g")
	if left == 0 {
		t.Fatal("all is erased already")
	}
	second := newRoomsOn(t, first.url, nil)
	began := time.Now()
	awaitTold(t, []*rig{second}, "1 alice g")
	if took := time.Since(began); took > shortLease()-time.Second {
		t.Errorf("it took %v; want it to go on at once", took)
	}
	if n := second.messages("g"); n != 0 || figure(second.metrics.MessagesErased) != float64(left) {
		t.Errorf("%d messages are left, %v were erased; want 0, %d", n, figure(second.metrics.MessagesErased), left)
	}
}

// Two workers, whose members hide the same rooms at the same time.
func TestTwoWorkersEraseEachLogOnce(t *testing.T) {
	t.Parallel()
	first := newRooms(t, nil)
	workers := []*rig{first, newRoomsOn(t, first.url, nil)}
	var want []string
	var places []*place
	for i := range 20 {
		room := fmt.Sprintf("g%d", i)
		first.room(room, 30, "alice", "bob")
		for j, who := range []string{"alice", "bob"} {
			command := who + room
			places = append(places, workers[(i+j)%2].askAs(command, who, room))
			want = append(want, command+" "+who+" "+room)
		}
	}
	for _, p := range places {
		p.wait(t)
	}
	awaitTold(t, workers, want...)
	if n := first.count(`select count(*) from rooms.messages`); n != 0 {
		t.Errorf("%d messages are left; want none", n)
	}
	erased := 0.0
	for _, w := range workers {
		erased += figure(w.metrics.MessagesErased)
	}
	if erased != 600 {
		t.Errorf("%v messages were erased; want 600", erased)
	}
}

// A trigger that keeps members' rows fails each deletion of them, however many, like one that keeps messages: nothing says that they are deleted.
func TestHidesThatATriggerKeepsAreGivenUp(t *testing.T) {
	t.Parallel()
	r := newRooms(t, func(c *handler.Config) { c.MaxAttempts = 2 })
	r.exec(`create function rooms.keep() returns trigger language plpgsql as $$ begin return null; end $$;
		create trigger keep before update on rooms.members for each row when (old.who <> 'bob') execute function rooms.keep()`)
	r.room("g", 10, "alice", "bob")
	for n := range 5 {
		r.room(fmt.Sprint("g", n), 10, "alice", "bob")
	}
	r.hide("free", "bob", "g")
	for _, want := range []bus.Verdict{bus.Retry, bus.Reject} {
		var waiting []*place
		for n := range 5 {
			waiting = append(waiting, r.askAs(fmt.Sprint(n), "alice", fmt.Sprint("g", n)))
		}
		for _, p := range waiting {
			if o := p.wait(t); o.Verdict != want || want == bus.Reject && o.Reason != conversation.ReasonAttemptsExhausted {
				t.Errorf("outcome = %+v; want %v", o, want)
			}
		}
	}
	got := r.pub.summary()
	slices.Sort(got)
	want := []string{"deleted g 10"}
	for n := range 5 {
		want = append(want, fmt.Sprintf("failed g%d attempts_exhausted", n))
	}
	for range 5 {
		want = append(want, "letter attempts_exhausted")
	}
	if !slices.Equal(got, want) {
		t.Errorf("published %q; want %q", got, want)
	}
	if n := r.count(`select count(*) from lethe.deletions where state = 'failed' and message like '%table "rooms"."members" keeps column "cleared" of the member''s row%'`); n != 5 {
		t.Errorf("%d failures name the column; want 5", n)
	}
}

// A failure counts like any deletion's, and there is nobody to tell but the operator, who erases by hand once it is mended.
func TestAnErasureThatFailsWaitsForTheOperator(t *testing.T) {
	t.Parallel()
	r := newRooms(t, func(c *handler.Config) { c.MaxAttempts = 2 })
	r.exec(`create function rooms.refuse() returns trigger language plpgsql as $$ begin raise exception 'legal hold'; end $$;
		create trigger hold before delete on rooms.messages for each row when (old.room = 'held') execute function rooms.refuse()`)
	r.room("held", 10, "alice")
	r.room("free", 10, "alice")
	r.hide("1", "alice", "held", "free")
	r.until("the erasure has failed", func() bool { return figure(r.metrics.Erasures.WithLabelValues("failed")) >= 1 }) // more where another try was just under way
	awaitTold(t, []*rig{r}, "1 alice free")
	if !strings.Contains(r.log.String(), "erasure of a shared log given up") {
		t.Errorf("the log says nothing of it:\n%s", r.log)
	}
	if _, _, err := r.idle(nil).Erase(t.Context(), "demo", "held"); err == nil || !strings.Contains(err.Error(), "legal hold") {
		t.Errorf("Erase = %v; want the failure", err)
	}
	r.exec(`drop trigger hold on rooms.messages`)
	found, open, err := r.idle(nil).Erase(t.Context(), "demo", "held")
	if err != nil || !open || found.State != purge.Done || found.Floor != 10 || found.MessagesDeleted != 10 {
		t.Errorf("Erase = %+v, %v, %v; want 10 messages through 10", found, open, err)
	}
	awaitTold(t, []*rig{r}, "1 alice free", "1 alice held")
	r.until("nothing is left to erase, once the event is marked as published", func() bool {
		_, open, err := r.idle(nil).Erase(t.Context(), "demo", "held")
		if err != nil {
			t.Fatal(err)
		}
		return !open
	})
	if _, _, err := newRig(t, nil).h.Erase(t.Context(), "demo", "g"); !errors.Is(err, handler.ErrNoMembers) {
		t.Errorf("Erase of copies = %v; want %v", err, handler.ErrNoMembers)
	}
}

// figure is a counter's.
func figure(c prometheus.Counter) float64 {
	var m dto.Metric
	_ = c.Write(&m) // never fails
	return m.GetCounter().GetValue()
}
