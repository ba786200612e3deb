package repo

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

// savedTables are all that a restore of a log brings back, referred to before referring.
var savedTables = []string{
	"log.rooms", "log.pins", "log.members", "log.messages", "log.receipts", "log.attachments",
	"lethe.commands", "lethe.deletions", "lethe.enumerations", "lethe.watermarks",
}

// backUp keeps a copy of the log and the ledger, and restores it.
func backUp(t *testing.T, r *Repo) (restore func()) {
	t.Helper()
	execSQL(t, r.pool, `create schema saved`)
	name := func(table string) string { return "saved." + strings.ReplaceAll(table, ".", "_") }
	for _, table := range savedTables {
		execSQL(t, r.pool, `create table `+name(table)+` as table `+table)
	}
	return func() {
		t.Helper()
		execSQL(t, r.pool, `truncate `+strings.Join(savedTables, ", "))
		execSQL(t, r.pool, `alter table log.messages disable trigger user`)
		for _, table := range savedTables {
			execSQL(t, r.pool, `insert into `+table+` table `+name(table))
		}
		execSQL(t, r.pool, `alter table log.messages enable trigger user`)
	}
}

// logState is the log and what the ledger has of it, but for when it learned of that.
func logState(t *testing.T, r *Repo) string {
	t.Helper()
	var all []string
	for _, of := range []string{
		`select id, newest, messages from log.rooms`, `table log.pins`, `table log.members`, `select room, n, at from log.messages`,
		`select m.room, m.n, x.who from log.receipts x join log.messages m on m.id = x.message`,
		`select m.room, m.n from log.attachments x join log.messages m on m.id = x.message`,
		`select app_id, user_id, conversation_id, cleared_through from lethe.watermarks`,
		`select app_id, command_id, user_id, conversation_id, origin_device_id, state, through_seq, case when command_id <> '' then messages_deleted end,
			conversation_removed, multi_client_sync, case when command_id <> '' then completed_at end, scope, requested_by, erased, erased_at, erased_told from lethe.deletions`,
		`select app_id, command_id, multi_client_sync, completed_at from lethe.enumerations where completed_at is not null`,
	} {
		all = append(all, queryOne[string](t, r.pool, `select coalesce(string_agg(x::text, E'\n' order by x::text), '') from (`+of+`) x`))
	}
	return strings.Join(all, "\n\n")
}

// logEvents is what the stream would report of the commands, in its order.
func logEvents(t *testing.T, r *Repo, since time.Time) []purge.Reported {
	t.Helper()
	l := &Ledger{source: r.source, conns: r.conns}
	var events []purge.Reported
	commands := queryOne[[]string](t, r.pool, `select array_agg(distinct command_id) from lethe.deletions where command_id <> ''`)
	for _, command := range commands {
		recs, err := l.Status(t.Context(), "demo", command)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			if erased := rec.ErasedAt; erased.After(since) {
				events = append(events, purge.Reported{Kind: purge.ReportedErased, Record: purge.Record{Key: rec.Key, ThroughSeq: rec.ThroughSeq, ErasedAt: erased}})
			}
			rec.ErasedAt, rec.ConversationKept = time.Time{}, false // which no event tells
			if rec.CompletedAt.After(since) {
				events = append(events, purge.Reported{Record: rec})
			}
		}
	}
	at := func(d purge.Reported) int64 { return max(d.CompletedAt.UnixMicro(), d.ErasedAt.UnixMicro()) }
	slices.SortStableFunc(events, func(a, b purge.Reported) int { return cmp.Compare(at(a), at(b)) })
	return events
}

// again does again what is due of the events, in pages, and returns how many were due and how many messages went.
func again(t *testing.T, p *Replayer, events []purge.Reported, limit int) (due, messages int) {
	t.Helper()
	var erased []purge.Reported
	for page := range slices.Chunk(events, 3) {
		is, err := p.Due(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range page {
			if err := p.Replayable(d); err != nil {
				t.Fatal(err)
			}
			if is[i] {
				due++
				messages += redo(t, p, d, limit)
			}
			if d.Kind == purge.ReportedErased && d.Command != "" {
				erased = append(erased, d)
			}
		}
		if erased, err = p.RedoTold(t.Context(), erased); err != nil {
			t.Fatal(err)
		}
	}
	return due, messages
}

// A restored log is as it was, row by row, once the replay is through, and what waits for the floor goes on to wait.
func TestRedoInASharedLog(t *testing.T) {
	t.Parallel()
	for form, f := range logForms {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			r := newLog(t, form, "false")
			for room := 1; room <= 5; room++ {
				fillLog(t, r, room, 20, "alice", "bob")
			}
			clearFor(t, r, 1, 4, "alice") // before the restore
			clearFor(t, r, 3, 12, "alice", "bob")
			execSQL(t, r.pool, `delete from log.members where room = 3`)
			erase := func(room int) []string {
				raise(t, r, room)
				return carryOutErasure(t, r, room, 7)
			}
			restore := backUp(t, r)
			since := time.Now()

			clearFor(t, r, 1, 10, "alice", "mallory")
			clearFor(t, r, 1, 6, "bob")
			erase(1)
			clearFor(t, r, 1, 15, "bob")
			erase(1)
			through := f.position(8)
			for _, user := range []string{"alice", "bob"} {
				d := hideOf("e", user, 2, 20)
				d.Scope, d.RequestedBy, d.Boundary, d.Digest = purge.ScopeEveryone, "alice", &through, hideOf("e", "alice", 2, 20).Digest
				bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}})
				if user == "bob" {
					if err := r.EraseEveryone(t.Context(), d); err != nil {
						t.Fatal(err)
					}
				}
			}
			carryOutErasure(t, r, 2, 7)
			erase(3)                     // nobody is left: all of it, and the row
			clearFor(t, r, 4, 10, "bob") // and waits
			clearFor(t, r, 5, 0, "alice", "bob")
			want, events := logState(t, r), logEvents(t, r, since)
			if n := len(events); n != 17 {
				t.Fatalf("%d events: %+v", n, events)
			}

			restore()
			p := r.Replayer()
			counted := 0
			for _, d := range events {
				step, err := p.Count(t.Context(), d, math.MinInt64, 100)
				if err != nil {
					t.Fatal(err)
				}
				counted += step.Messages
			}
			if due, messages := again(t, p, events, 7); counted != 4+6+10+10+8+8+12+12 || messages != 10+8+12 || due == 0 {
				t.Errorf("%d events were due, %d messages counted, %d went", due, counted, messages)
			}
			if due, messages := again(t, p, events, 7); due+messages != 0 {
				t.Errorf("once more %d events were due, and %d messages went; want none", due, messages)
			}
			if open := keys(t, func() ([]purge.Key, error) { return r.Erasures(t.Context(), 9) }); open != "3" {
				t.Errorf("open erasures: %s; want the rest of the room that nobody is left in", open)
			}
			carryOutErasure(t, r, 3, 7)
			if due, _ := again(t, p, events, 7); due != 0 {
				t.Errorf("%d events were due after a worker had finished", due)
			}
			if diff := diffLines(strings.Split(want, "\n"), strings.Split(logState(t, r), "\n")); diff != "" {
				t.Errorf("before the restore, and after the replay:\n%s", diff)
			}

			execSQL(t, r.pool, `delete from log.members where who = 'alice' and room = 4`)
			if told := erase(4); fmt.Sprint(told) != "[bob10 in 4]" || raise(t, r, 1).Open {
				t.Errorf("told %q; want what waited for the floor, once", told)
			}
		})
	}
}

// diffLines are the lines that one of two lists has alone.
func diffLines(a, b []string) string {
	var diff []string
	for _, x := range []struct {
		sign     string
		of, from []string
	}{{"-", a, b}, {"+", b, a}} {
		for _, line := range x.of {
			if !slices.Contains(x.from, line) {
				diff = append(diff, x.sign+line)
			}
		}
	}
	return strings.Join(diff, "\n")
}

// hidden is the report of a room's deletion for a user, whose messages the others still read.
func hidden(command, user string, room int, through int64) purge.Reported {
	d := told(command, fmt.Sprint(room), through, lately())
	d.User, d.ConversationRemoved, d.Erased = user, false, false
	return d
}

// erasedThrough is the report that what such a deletion had hidden was erased.
func erasedThrough(d purge.Reported) purge.Reported {
	return purge.Reported{Kind: purge.ReportedErased, Record: purge.Record{Key: d.Key, ThroughSeq: d.ThroughSeq, ErasedAt: d.CompletedAt.Add(time.Second)}}
}

func TestRedoOfAMember(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "true")
	p := r.Replayer()
	fillLog(t, r, 1, 20, "alice", "bob", "carol")
	marks := func() string {
		return queryOne[string](t, r.pool, `select string_agg(format('%s %s %s', m.n, m.unread, w.cleared_through), ', ' order by m.who)
			from log.members m left join lethe.watermarks w on w.user_id = m.who and w.conversation_id = m.room::text`)
	}
	clearFor(t, r, 1, 15, "bob")
	alice, bob := hidden("c1", "alice", 1, 17), hidden("c2", "bob", 1, 12)
	bob.Scope, bob.RequestedBy, bob.Erased, bob.MessagesDeleted = purge.ScopeEveryone, "carol", true, 0
	execSQL(t, r.pool, `insert into lethe.throttles (lane, reason) values ('all', 'paused')`)
	step, err := p.Redo(t.Context(), alice, purge.Part{Long: true, Finish: true})
	if err != nil || step.Throttled.Reason != purge.Paused || step.Finished {
		t.Errorf("Redo = %+v, %v; want it throttled by a pause", step, err)
	}
	execSQL(t, r.pool, `delete from lethe.throttles`)
	if due, n := again(t, p, []purge.Reported{alice, bob}, 7); due != 2 || n != 0 || marks() != "17 3 17, 15 5 15,  7 " {
		t.Errorf("%d due, %d messages went, watermarks and unread: %s", due, n, marks())
	}
	for _, d := range []purge.Reported{alice, bob} {
		wantTold(t, p, d)
	}
	// The app's tables alone may have been restored.
	execSQL(t, r.pool, `update log.members set n = null where who = 'alice'`)
	if due, _ := again(t, p, []purge.Reported{alice, bob}, 7); due != 1 || marks() != "17 3 17, 15 5 15,  7 " {
		t.Errorf("%d due, watermarks and unread: %s; want alice's moved on again", due, marks())
	}
	duplicate := hideOf("c1", "alice", 1, 20)
	if rec := steps(t, r, duplicate).Records[0]; rec.MessagesDeleted != 17 || rec.ThroughSeq != 17 || rec.Erased {
		t.Errorf("a duplicate = %+v; want what the event has told", rec)
	}
}

func TestRedoSparesWhatWasSentAfterAnErasure(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "true")
	fillLog(t, r, 1, 20, "alice", "bob")
	execSQL(t, r.pool, `update log.messages set at = now() where n in (4, 9)`)
	p, d := r.Replayer(), hidden("c1", "alice", 1, 10)
	if due, n := again(t, p, []purge.Reported{d, erasedThrough(d)}, 3); due != 2 || n != 8 {
		t.Errorf("%d due, %d messages went; want 8", due, n)
	}
	if left := logLeft(t, r, 1); left != "messages 4-20 (12), 4 receipts, 2 attachments, 2 members, 1 pins, 1 rooms" {
		t.Errorf("left are %s", left)
	}
	if got := queryOne[string](t, r.pool, `select format('%s %s', newest, messages) from log.rooms`); got != "20 12" {
		t.Errorf("the room says %s; want its columns set", got)
	}
	if got := queryOne[string](t, r.pool, `select format('%s %s', through_seq, state) from lethe.deletions where command_id = ''`); got != "10 done" {
		t.Errorf("the floor is %s; want 10, pinned", got)
	}
	if due, _ := again(t, p, []purge.Reported{d, erasedThrough(d)}, 3); due != 0 {
		t.Errorf("%d due again", due)
	}
}

// Ids that are looked up, spelled otherwise, and rows that refer to each other.
func TestRedoInALogByOtherIDs(t *testing.T) {
	t.Parallel()
	r := newNamed(t)
	everyStatementUsesIndexes(t, r)
	p, through := r.Replayer(), logStart.Add(12*time.Second).UnixMicro()
	alice, bob := hidden("c1", strings.ToUpper(aliceID), 0, through), hidden("c2", bobID, 0, through)
	alice.Conversation, bob.Conversation = "team", "team"
	for _, want := range []int{4, 0} { // the event of bob's erasure came first, after a worker's crash
		due, n := again(t, p, []purge.Reported{alice, erasedThrough(bob), erasedThrough(alice), bob}, 4)
		if due != want || want > 0 && n != 11 {
			t.Errorf("%d due, %d messages went; want %d, and 11 at first", due, n, want)
		}
	}
	if got := namedLeft(t, r); got != "713-720, 14 links, 14 thumbs, 10 files, 1 rooms, 3 members" {
		t.Errorf("%s are left", got)
	}
	if n := queryOne[int](t, r.pool, `select count(*) from lethe.deletions where erased_told and erased_at is not null`); n != 2 {
		t.Errorf("%d deletions are marked as told; want both", n)
	}
	if got := queryOne[int](t, r.pool, `select count(*) from named.members x join lethe.watermarks w on w.user_id = x.who::text
		where x.app = 'demo' and x.cleared = to_timestamp($1::bigint / 1000000) and w.cleared_through = $1`, through); got != 2 {
		t.Errorf("%d members have their watermark; want both", got)
	}
}

// A redelivered command for all conversations repeats the event that has been told.
func TestRedoOfACommandForAllConversations(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "true")
	p := r.Replayer()
	fillLog(t, r, 1, 20, "alice", "bob")
	ended := lately().UTC().Truncate(time.Microsecond)
	end := purge.Reported{Kind: purge.ReportedAllDeleted, Record: purge.Record{
		Key: purge.Key{App: "demo", Command: "all", User: "alice"}, MultiClientSync: true, CompletedAt: ended,
	}}
	d := hidden("all", "alice", 1, 20)
	d.CompletedAt = ended.Add(-time.Second)
	for _, want := range []int{2, 0} {
		if due, _ := again(t, p, []purge.Reported{d, end}, 7); due != want {
			t.Errorf("%d due; want %d", due, want)
		}
	}
	command := hideOf("all", "alice", 1, 20)
	command.Conversation = ""
	e, err := r.Enumerate(t.Context(), command)
	if err != nil || !e.Completed || e.Reused {
		t.Fatalf("Enumerate = %+v, %v; want it completed", e, err)
	}
	sum, completed, err := r.Complete(t.Context(), command, e.At)
	if want := (purge.Totals{Done: 1, MessagesDeleted: 20, MultiClientSync: true, CompletedAt: ended}); err != nil || !completed || sum != want {
		t.Errorf("Complete = %+v, %t, %v; want %+v", sum, completed, err, want)
	}
}

// What was reported when the tables had another shape is not guessed at.
func TestReplayable(t *testing.T) {
	t.Parallel()
	log, copies := newLog(t, "numbers", "true").Replayer(), newRepo(t).Replayer()
	hide := hidden("c1", "alice", 1, 10)
	gone := told("c1", "1", 10, lately())
	everyone := gone
	everyone.Scope, everyone.RequestedBy = purge.ScopeEveryone, "bob"
	nothing := gone
	nothing.MessagesDeleted = 0
	kept := nothing
	kept.HistoryKept = true
	end := purge.Reported{Kind: purge.ReportedAllDeleted, Record: purge.Record{Key: purge.Key{App: "demo", Command: "all", User: "alice"}}}
	for name, c := range map[string]struct {
		d           purge.Reported
		log, copies string // what the error says
	}{
		"hidden":               {hide, "", "a shared log with members, and the plan's messages are none"},
		"erased":               {erasedThrough(hide), "", "a shared log with members, and the plan's messages are none"},
		"deleted":              {gone, "deleted at once, and the plan's messages are a shared log", ""},
		"deleted for everyone": {everyone, "deleted at once, and the plan's messages are a shared log", ""},
		"nothing deleted":      {nothing, "", ""},
		"history kept":         {kept, "keep_history", ""},
		"all":                  {end, "", ""},
	} {
		for p, want := range map[*Replayer]string{log: c.log, copies: c.copies} {
			if err := p.Replayable(c.d); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q", name, err, want)
			}
		}
	}
	if _, err := copies.Due(t.Context(), []purge.Reported{everyone, end}); err != nil {
		t.Error(err)
	}
	redo(t, copies, everyone, 10)
	wantTold(t, copies, everyone)
}
