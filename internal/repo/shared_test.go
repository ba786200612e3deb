package repo

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// logTables are a log that members share, with a position of each kind in each table: message n was sent at n, and
// that many seconds after logStart. Rooms count their messages by a trigger.
const logTables = `create schema log;
create table log.rooms (id bigint primary key, newest bigint, messages int not null default 0);
create table log.pins (room bigint not null references log.rooms, what text not null, primary key (room, what));
create table log.members (room bigint not null references log.rooms, who text not null, left_at timestamptz, unread int not null default 0,
  n bigint, at timestamptz, ms bigint, from_n bigint, from_at timestamptz, from_ms bigint, primary key (room, who));
create index on log.members (who, room);
create index on log.members (room, n);
create table log.messages (id uuid primary key default gen_random_uuid(), room bigint not null references log.rooms, sender text, body text,
  reply_to uuid references log.messages on delete set null, n bigint not null, at timestamptz not null, ms bigint not null);
create index on log.messages (room, n);
create index on log.messages (room, at);
create index on log.messages (room, ms);
create index on log.messages (reply_to);
create table log.receipts (message uuid not null references log.messages on delete cascade, who text not null, primary key (message, who));
create table log.attachments (id uuid primary key default gen_random_uuid(), message uuid not null references log.messages on delete cascade);
create index on log.attachments (message);
create function log.count_messages() returns trigger language plpgsql as $$ begin
  update log.rooms set messages = messages + case tg_op when 'INSERT' then 1 else -1 end where id = coalesce(new.room, old.room); return null; end $$;
create trigger messages after insert or delete on log.messages for each row execute function log.count_messages();
`

var logStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// logForm is a kind of position: what a plan says of it, and the number of message n.
type logForm struct {
	seq, members string
	position     func(n int64) int64
}

var logForms = map[string]logForm{
	"numbers": {"n", "watermark: n, visible_from: from_n, unread: unread", func(n int64) int64 { return n }},
	"times": {"at", "watermark: at, visible_from: from_at, unread: unread", func(n int64) int64 {
		return logStart.Add(time.Duration(n) * time.Second).UnixMicro()
	}},
	"milliseconds": {"{column: ms, unit: ms}", "watermark: {column: ms, unit: ms}, visible_from: {column: from_ms, unit: ms}", func(n int64) int64 {
		return logStart.Add(time.Duration(n) * time.Second).UnixMicro()
	}},
	"numbers_without_a_watermark": {"n", "visible_from: from_n, unread: unread", func(n int64) int64 { return n }},
	"numbers_and_no_column":       {"n", "visible_from: from_n", func(n int64) int64 { return n }},
}

// logPlan is the plan for the log. keep is true or false.
func logPlan(form, keep string) string {
	f, pins := logForms[form], ""
	if keep == "false" {
		pins = "\n  children: [{table: log.pins, references: {column: room, to: id}}]"
	}
	return `tenant: demo
messages: {table: log.messages, conversation: room, seq: ` + f.seq + `, sent_at: at}
members: {table: log.members, user: who, conversation: room, where: {left_at: null}, ` + f.members + `}
conversations:
  table: log.rooms
  where: {id: $conversation}
  keep: ` + keep + `
  set: {newest: $newest.n}` + pins + `
children:
  - {table: log.receipts, references: {column: message, to: id}}
  - {table: log.attachments, references: {column: message, to: id}}
`
}

// newLog is a Repo on a log that members share.
func newLog(tb testing.TB, form, keep string) *Repo {
	tb.Helper()
	url := newDatabase(tb)
	execSQL(tb, openPool(tb, url), logTables)
	p, err := plan.Parse([]byte(logPlan(form, keep)))
	if err != nil {
		tb.Fatal(err)
	}
	return openRepo(tb, Config{URL: url, Plan: p, AllowUnindexed: true})
}

// fillLog makes a room of these members with messages 1 to n: a receipt on each third, an attachment on each fifth.
func fillLog(tb testing.TB, r *Repo, room, n int, members ...string) {
	tb.Helper()
	execSQL(tb, r.pool, `insert into log.rooms (id) values ($1)`, room)
	execSQL(tb, r.pool, `insert into log.pins values ($1, 'pin')`, room)
	execSQL(tb, r.pool, `insert into log.members (room, who, unread) select $1, who, 7 from unnest($2::text[]) who`, room, members)
	say(tb, r, room, 1, n)
}

// say adds the messages from first to last.
func say(tb testing.TB, r *Repo, room, first, last int) {
	tb.Helper()
	execSQL(tb, r.pool, `with m as (
			insert into log.messages (room, sender, n, at, ms)
			select $1, 'alice', i, timestamptz '2026-01-01 00:00Z' + i * interval '1 s', 1767225600000 + i * 1000 from generate_series($2::int, $3::int) i
			returning id, n),
		r as (insert into log.receipts select id, 'bob' from m where n % 3 = 0)
		insert into log.attachments (message) select id from m where n % 5 = 0`, room, first, last)
}

// at is a time by which the messages 1 to n have been sent, and no others.
func sentBy(n int) time.Time {
	return logStart.Add(time.Duration(n)*time.Second + 500*time.Millisecond)
}

// hideOf is the deletion of a room for a user, whose command came when the messages 1 to n had been sent.
func hideOf(command, user string, room, n int) purge.Deletion {
	d := deletion(command, fmt.Sprint(room))
	d.User, d.StoredAt, d.Digest = user, sentBy(n), purge.DigestOf(purge.Content{User: user, Device: "phone"})
	return d
}

// logLeft is what is left of a room.
func logLeft(tb testing.TB, r *Repo, room int) string {
	tb.Helper()
	return queryOne[string](tb, r.pool, `select format('messages %s-%s (%s), %s receipts, %s attachments, %s members, %s pins, %s rooms',
		min(n), max(n), count(*), (select count(*) from log.receipts x join log.messages m on m.id = x.message where m.room = $1),
		(select count(*) from log.attachments x join log.messages m on m.id = x.message where m.room = $1),
		(select count(*) from log.members where room = $1), (select count(*) from log.pins where room = $1), (select count(*) from log.rooms where id = $1))
		from log.messages where room = $1`, room)
}

func TestHide(t *testing.T) {
	t.Parallel()
	for form, f := range logForms {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			r := newLog(t, form, "true")
			fillLog(t, r, 1, 10, "alice", "bob", "carol", "dave")
			execSQL(t, r.pool, `update log.members set from_n = 4, from_at = timestamptz '2026-01-01 00:00:04Z', from_ms = 1767225604000 where who = 'carol'`)
			execSQL(t, r.pool, `update log.members set left_at = now() where who = 'dave'`)
			fillLog(t, r, 2, 0, "alice")
			through := f.position(6)
			everyone := hideOf("c8", "bob", 1, 10)
			everyone.Scope, everyone.RequestedBy, everyone.Boundary, everyone.KeepConversation = purge.ScopeEveryone, "alice", &through, true
			asked := hideOf("c9", "alice", 1, 10)
			asked.ThroughSeq = &through
			type want struct {
				through, hidden int64
				removed, erased bool
				unread          int // of the member
				mark            int64
			}
			for _, c := range []struct {
				what string
				d    purge.Deletion
				want want
			}{
				{"a member", hideOf("c1", "alice", 1, 8), want{f.position(8), 8, false, false, 2, f.position(8)}},
				{"again, later", hideOf("c2", "alice", 1, 9), want{f.position(9), 1, false, false, 1, f.position(9)}},
				{"again, for less", asked, want{f.position(6), 0, false, false, 1, f.position(9)}},
				{"who came later", hideOf("c3", "carol", 1, 5), want{f.position(5), 2, false, false, 5, f.position(5)}},
				{"who has left", hideOf("c4", "dave", 1, 10), want{f.position(10), 10, false, false, 0, f.position(10)}},
				{"no member", hideOf("c5", "mallory", 1, 10), want{f.position(10), 0, true, false, 0, f.position(10)}},
				{"no message", hideOf("c6", "alice", 2, 10), want{0, 0, false, true, 0, 0}},
				{"no room", hideOf("c7", "alice", 3, 10), want{0, 0, true, true, 0, 0}},
				{"for everyone", everyone, want{f.position(6), 6, false, false, 4, f.position(6)}},
			} {
				rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{c.d}}).Records[0]
				got := want{rec.ThroughSeq, rec.MessagesDeleted, rec.ConversationRemoved, rec.Erased, 0, 0}
				got.unread = queryOne[int](t, r.pool, `select coalesce(min(unread), 0) from log.members where who = $1 and room::text = $2`, c.d.User, c.d.Conversation)
				got.mark = queryOne[int64](t, r.pool, `select coalesce(min(cleared_through), 0) from lethe.watermarks where app_id = 'demo' and user_id = $1 and conversation_id = $2`,
					c.d.User, c.d.Conversation)
				if !strings.Contains(f.members, "unread") {
					got.unread = c.want.unread
				}
				if rec.State != purge.Done || got != c.want {
					t.Errorf("%s: %s, %+v; want done, %+v", c.what, rec.State, got, c.want)
				}
				if column := strings.Fields(f.seq + " n")[0]; strings.HasPrefix(f.members, "watermark") && got.mark > 0 && c.d.User != "mallory" {
					column = map[string]string{"n": "n", "at": "(extract(epoch from at) * 1000000)", "{column:": "(ms * 1000)"}[column]
					if got := queryOne[int64](t, r.pool, `select `+column+`::bigint from log.members where who = $1 and room::text = $2`, c.d.User, c.d.Conversation); got != c.want.mark {
						t.Errorf("%s: the member's watermark is %d; want %d", c.what, got, c.want.mark)
					}
				}
			}
			if got := logLeft(t, r, 1); got != "messages 1-10 (10), 3 receipts, 2 attachments, 4 members, 1 pins, 1 rooms" {
				t.Errorf("%s are left; want everything", got)
			}
			if got := queryOne[string](t, r.pool, `select format('%s %s %s', scope, requested_by, conversation_kept) from lethe.deletions where command_id = 'c8'`); got != "everyone alice t" {
				t.Errorf("ledger says %s; want everyone alice t", got)
			}
		})
	}
}

// Where no table says who the members are, what is deleted for everyone goes at once, once for all who ask together.
func TestEveryoneWithoutMembers(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	execSQL(t, openPool(t, url), logTables+`alter table log.members drop constraint members_room_fkey`)
	text := logPlan("numbers", "false")
	from, to := strings.Index(text, "members:"), strings.Index(text, "conversations:")
	p, err := plan.Parse([]byte(text[:from] + "members: none\n" + text[to:]))
	if err != nil {
		t.Fatal(err)
	}
	r := openRepo(t, Config{URL: url, Plan: p})
	everyStatementUsesIndexes(t, r)
	for room := range 3 {
		fillLog(t, r, room, 10)
	}
	through := int64(4)
	ds := []purge.Deletion{hideOf("c1", "alice", 1, 10), hideOf("c2", "bob", 1, 10), hideOf("c3", "bob", 2, 10)}
	for i := range ds {
		ds[i].Scope, ds[i].RequestedBy = purge.ScopeEveryone, ds[i].User
	}
	ds[2].ThroughSeq = &through
	if _, err := r.Incompatible(hideOf("c4", "alice", 1, 10)); !errors.Is(err, purge.ErrUnsupportedScope) {
		t.Errorf("incompatible = %v; want unsupported: nobody's own", err)
	}
	res := bulk(t, r, purge.Batch{Deletions: ds})
	res2 := steps(t, r, ds[1])
	for i, rec := range []purge.Record{res.Records[0], res2.Records[0], res.Records[2]} {
		if want := []int64{10, 0, 4}[i]; rec.State != purge.Done || rec.MessagesDeleted != want || !rec.Erased || rec.ConversationRemoved != (i < 2) || rec.Scope != purge.ScopeEveryone {
			t.Errorf("deletion %d = %+v; want done and erased with %d", i, rec, want)
		}
	}
	for room, want := range []string{
		"messages 1-10 (10), 3 receipts, 2 attachments, 0 members, 1 pins, 1 rooms", "messages - (0), 0 receipts, 0 attachments, 0 members, 0 pins, 0 rooms",
		"messages 5-10 (6), 2 receipts, 2 attachments, 0 members, 1 pins, 1 rooms",
	} {
		if got := logLeft(t, r, room); got != want {
			t.Errorf("room %d: left are %s; want %s", room, got, want)
		}
	}
}

func TestHidesOfOneBatch(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "true")
	for room := range 3 {
		fillLog(t, r, room, 10, "alice", "bob")
	}
	b := purge.Batch{Deletions: []purge.Deletion{
		hideOf("c1", "bob", 2, 10), hideOf("c2", "alice", 1, 4), hideOf("c3", "alice", 1, 8), hideOf("c4", "bob", 1, 3), hideOf("c5", "alice", 0, 10),
	}}
	b.Deletions[1].Device = "" // reused below
	tx := begin(t, r)
	if _, err := tx.Exec(t.Context(), `update log.members set unread = unread + 1 where room = 0 and who = 'alice'`); err != nil {
		t.Fatal(err)
	}
	res := bulk(t, r, b)
	if got, want := res.Finished, []bool{true, true, false, true, false}; !cmp.Equal(got, want) {
		t.Fatalf("finished = %v; want %v: all but the second one of alice and the locked one", got, want)
	}
	if _, err := r.Step(t.Context(), b.Deletions[4], purge.Part{Claim: true, Finish: true, LockTimeout: 5 * time.Millisecond}); err == nil {
		t.Error("a step passed a locked row")
	} else if f, _ := purge.FaultOf(err); f != purge.Contention {
		t.Errorf("fault = %v (%v); want contention", f, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := steps(t, r, b.Deletions...)
	for i, want := range []int64{10, 4, 4, 3, 10} { // the third hides four more than the second
		if rec := again.Records[i]; rec.State != purge.Done || rec.MessagesDeleted != want || again.Finished[i] == res.Finished[i] {
			t.Errorf("deletion %d = %+v, finished %t; want done once with %d", i, rec, again.Finished[i], want)
		}
	}
	reused := b.Deletions[1]
	reused.Digest[0]++
	for _, rec := range []purge.Record{bulk(t, r, purge.Batch{Deletions: []purge.Deletion{reused}}).Records[0], steps(t, r, reused).Records[0]} {
		if !rec.Reused {
			t.Errorf("record = %+v; want reused", rec)
		}
	}
	if res := bulk(t, r, b); res.Finished[0] || !cmp.Equal(res.Records, again.Records, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Mine" }, cmp.Ignore())) {
		t.Errorf("the batch again = %+v; want %+v", res.Records, again.Records)
	}
}

// A hide that has failed keeps its boundary, and takes the row up that the failure has entered.
func TestHideAfterAFailure(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "true")
	fillLog(t, r, 1, 10, "alice")
	d := hideOf("c1", "alice", 1, 5)
	for _, last := range []bool{false, true} {
		rec, err := r.Fail(t.Context(), d, purge.Failure{Reason: "r", Message: "m", Err: "e", MaxAttempts: map[bool]int{false: 5, true: 2}[last]})
		if err != nil || rec.ThroughSeq != 5 || rec.Attempts == 0 || last != (rec.State == purge.Failed) {
			t.Fatalf("fail = %+v, %v; want the boundary 5", rec, err)
		}
	}
	d.StoredAt = sentBy(9)
	pinned, through := hideOf("c2", "alice", 1, 9), int64(6) // by the command
	pinned.Scope, pinned.Boundary = purge.ScopeEveryone, &through
	if rec, err := r.Fail(t.Context(), pinned, purge.Failure{Err: "e", MaxAttempts: 5}); err != nil || rec.ThroughSeq != 6 {
		t.Errorf("fail = %+v, %v; want the boundary 6", rec, err)
	}
	if res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}}); res.Records[0].State != purge.Failed || res.Finished[0] {
		t.Errorf("record = %+v; want it failed", res.Records[0])
	}
	d.Retry = 7
	if err := r.Reopen(t.Context(), []purge.Deletion{d}); err != nil {
		t.Fatal(err)
	}
	if res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}}); res.Records[0].State != purge.Done || res.Records[0].ThroughSeq != 5 || res.Records[0].MessagesDeleted != 5 {
		t.Errorf("record = %+v; want done through 5", res.Records[0])
	}
}

// Two commands of one member at one moment count each message once, whether there is a row to lock or not, and no
// watermark goes back.
func TestHidesOfOneMemberRace(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"numbers", "numbers_and_no_column"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			r := newLog(t, form, "true")
			fillLog(t, r, 1, 100, "alice")
			type result struct {
				rec purge.Record
				err error
			}
			results := make(chan result)
			const n = 12
			for i := range n {
				d := hideOf(fmt.Sprint("c", i), "alice", 1, 100-7*i)
				go func() {
					for {
						step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true})
						if f, _ := purge.FaultOf(err); err != nil && f == purge.Contention {
							continue
						}
						results <- result{step.Record, err}
						return
					}
				}()
			}
			sum := int64(0)
			for range n {
				res := <-results
				if res.err != nil || res.rec.State != purge.Done {
					t.Errorf("step = %+v, %v", res.rec, res.err)
				}
				sum += res.rec.MessagesDeleted
			}
			if sum != 100 {
				t.Errorf("%d messages were counted as hidden; want each of 100 once", sum)
			}
			if got := queryOne[int](t, r.pool, `select cleared_through from lethe.watermarks`); got != 100 {
				t.Errorf("watermark = %d; want 100", got)
			}
		})
	}
}

// A member whom the app removes while their row is waited for has no row any more; one who comes at this moment
// is waited for.
func TestHideOfAMemberWhoLeaves(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "true")
	fillLog(t, r, 1, 10, "alice", "bob")
	for _, sql := range []string{`delete from log.members where who = 'alice'`, `update log.members set left_at = now() where who = 'bob'`} {
		tx := begin(t, r)
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		user := strings.Trim(sql[strings.LastIndex(sql, " ")+1:], "'")
		blocked := make(chan error)
		go func() {
			_, err := r.Step(t.Context(), hideOf("c"+user, user, 1, 10), purge.Part{Claim: true, LockTimeout: time.Minute})
			blocked <- err
		}()
		waitFor(t, r, `select exists (select from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.datname = current_database())`)
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-blocked; err != nil {
			t.Error(err)
		}
		rec := steps(t, r, hideOf("c"+user, user, 1, 10)).Records[0]
		if gone := user == "alice"; rec.State != purge.Done || rec.ConversationRemoved != gone || rec.MessagesDeleted != map[bool]int64{true: 0, false: 10}[gone] {
			t.Errorf("%s: record = %+v; want done, and the row seen as it is", user, rec)
		}
	}
}

// waitFor asks until the answer is true.
func waitFor(t *testing.T, r *Repo, sql string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !queryOne[bool](t, r.pool, sql); {
		if time.Now().After(end) {
			t.Fatalf("still not true: %s", sql)
		}
	}
}
