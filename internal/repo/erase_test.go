package repo

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

// carryOutErasure erases what is open of a room, in batches of so many messages, and returns the commands whose
// deletions are to be reported as erased. It marks them.
func carryOutErasure(t *testing.T, r *Repo, room, limit int) (told []string) {
	t.Helper()
	k := purge.Key{App: "demo", Conversation: fmt.Sprint(room)}
	d := purge.ErasureOf(k, tokens())
	for claim, low := true, int64(0); ; claim = false {
		step, err := r.Step(t.Context(), d, purge.Part{Claim: claim, Finish: true, Low: low, Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		if low = step.Low; step.Record.State == purge.Done {
			break
		}
		if !step.Record.Mine {
			t.Fatalf("erasure = %+v; want it ours", step.Record)
		}
		if step.Reached { // and something has come below
			low = math.MinInt64
		}
	}
	return report(t, r, k)
}

// report pins and marks what is to be reported as erased, a few at a time, and returns the commands.
func report(t *testing.T, r *Repo, k purge.Key) (told []string) {
	t.Helper()
	for {
		recs, err := r.PinErased(t.Context(), k, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(recs) == 0 {
			return told
		}
		for _, rec := range recs {
			if rec.State != purge.Done {
				t.Errorf("record = %+v; want done", rec)
			}
			told = append(told, rec.Command)
		}
		again, err := r.PinErased(t.Context(), k, 2)
		if err != nil || len(again) != len(recs) || again[0] != recs[0] {
			t.Errorf("pinned again = %+v, %v; want the same: %+v", again, err, recs)
		}
		if err := r.MarkErased(t.Context(), recs); err != nil {
			t.Fatal(err)
		}
	}
}

func keys(t *testing.T, find func() ([]purge.Key, error)) string {
	t.Helper()
	ks, err := find()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, k := range ks {
		found = append(found, k.Conversation)
	}
	slices.Sort(found)
	return strings.Join(found, " ")
}

const (
	hide = "hide " // hide USER N: a deletion of the messages 1 to N
	all  = "messages 1-20 (20), 6 receipts, 4 attachments, 2 members, 1 pins, 1 rooms"
)

func TestFloor(t *testing.T) {
	t.Parallel()
	joinedAt8 := `update log.members set from_n = 8, from_at = timestamptz '2026-01-01 00:00:08Z', from_ms = 1767225608000 where who = 'bob' and room = `
	for name, steps := range map[string][][3]string{ // each: what happens (SQL about the room), what is left then, and whose deletions are told
		"members clear one after the other": {
			{"hide alice 10", all, ""},
			{"hide bob 6", "messages 7-20 (14), 4 receipts, 3 attachments, 2 members, 1 pins, 1 rooms", "bob6"},
			{"hide bob 12", "messages 11-20 (10), 3 receipts, 2 attachments, 2 members, 1 pins, 1 rooms", "alice10"},
			{"hide alice 12", "messages 13-20 (8), 2 receipts, 2 attachments, 2 members, 1 pins, 1 rooms", "alice12 bob12"},
		},
		"a member leaves": {
			{"hide alice 10", all, ""},
			{`update log.members set left_at = now() where who = 'bob' and room = `, "messages 11-20 (10), 3 receipts, 2 attachments, 2 members, 1 pins, 1 rooms", "alice10"},
		},
		"the app removes a member": {
			{"hide alice 10", all, ""},
			{`delete from log.members where who = 'bob' and room = `, "messages 11-20 (10), 3 receipts, 2 attachments, 1 members, 1 pins, 1 rooms", "alice10"},
		},
		"a member came later": {
			{joinedAt8, all, ""},
			{"hide alice 10", "messages 8-20 (13), 4 receipts, 3 attachments, 2 members, 1 pins, 1 rooms", ""},
			{"hide bob 10", "messages 11-20 (10), 3 receipts, 2 attachments, 2 members, 1 pins, 1 rooms", "alice10 bob10"},
		},
		"a member comes back": {
			{"hide bob 15", all, ""},
			{`delete from log.members where who = 'bob' and room = `, strings.Replace(all, "2 members", "1 members", 1), ""},
			{`insert into log.members (who, room) select 'bob', `, all, ""}, // with the watermark that the ledger keeps
			{"hide alice 20", "messages 16-20 (5), 1 receipts, 1 attachments, 2 members, 1 pins, 1 rooms", "bob15"},
		},
		"all leave": {
			{"hide alice 10", all, ""},
			{`delete from log.members where room = `, "messages - (0), 0 receipts, 0 attachments, 0 members, 0 pins, 0 rooms", "alice10"},
		},
		"all leave, and one by a mark": {
			{"hide alice 10", all, ""},
			{`update log.members set left_at = now() where room = `, "messages - (0), 0 receipts, 0 attachments, 0 members, 0 pins, 0 rooms", "alice10"},
		},
		"who never was a member": {
			{"hide mallory 10", all, ""},
			{"hide alice 10", all, ""},
			{"hide bob 20", "messages 11-20 (10), 3 receipts, 2 attachments, 2 members, 1 pins, 1 rooms", "alice10 mallory10"},
		},
		"a message comes below the floor": {
			{"hide alice 10", all, ""},
			{"hide bob 10", "messages 11-20 (10), 3 receipts, 2 attachments, 2 members, 1 pins, 1 rooms", "alice10 bob10"},
			{`insert into log.messages (n, at, ms, room) select 4, timestamptz '2026-01-01 00:00:04Z', 1767225604000, `, "messages 11-20 (10), 3 receipts, 2 attachments, 2 members, 1 pins, 1 rooms", ""},
		},
		"a member joins below the floor": {
			{"hide alice 10", all, ""},
			{"hide bob 5", "messages 6-20 (15), 5 receipts, 3 attachments, 2 members, 1 pins, 1 rooms", "bob5"},
			{`insert into log.members (who, room) select 'carol', `, "messages 6-20 (15), 5 receipts, 3 attachments, 3 members, 1 pins, 1 rooms", ""},
			{"hide bob 10", "messages 6-20 (15), 5 receipts, 3 attachments, 3 members, 1 pins, 1 rooms", ""},
		},
		"for everyone": {
			{"hide alice 4", all, ""},
			{"hide bob 12", "messages 5-20 (16), 5 receipts, 4 attachments, 2 members, 1 pins, 1 rooms", "alice4"},
			{"everyone 10 false", "messages 11-20 (10), 3 receipts, 2 attachments, 2 members, 1 pins, 1 rooms", ""},
			{"everyone 15 true", "messages 16-20 (5), 1 receipts, 1 attachments, 2 members, 1 pins, 1 rooms", "bob12"},
			{"everyone 20 false", "messages - (0), 0 receipts, 0 attachments, 2 members, 1 pins, 1 rooms", ""},
			{"everyone 20 true", "messages - (0), 0 receipts, 0 attachments, 0 members, 0 pins, 0 rooms", ""},
		},
	} {
		for form, f := range logForms {
			if form != "numbers" && name != "a member came later" && name != "a member comes back" && name != "members clear one after the other" {
				continue
			}
			t.Run(name+"/"+form, func(t *testing.T) {
				t.Parallel()
				r := newLog(t, form, "false")
				fillLog(t, r, 2, 20, "alice", "bob")
				fillLog(t, r, 1, 20, "alice", "bob")
				for _, s := range steps {
					what, left, told := s[0], s[1], s[2]
					var user, n, remove string
					switch {
					case strings.HasPrefix(what, hide):
						_, _ = fmt.Sscan(what[len(hide):], &user, &n)
						d := hideOf(user+n, user, 1, 20)
						var through int64
						_, _ = fmt.Sscan(n, &through)
						through = f.position(through)
						d.ThroughSeq = &through
						bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}})
					case strings.HasPrefix(what, "everyone"):
						var through int64
						_, _ = fmt.Sscan(what, &user, &through, &remove)
						through = f.position(through)
						d := hideOf("e"+remove+fmt.Sprint(through), "alice", 1, 20)
						d.Boundary, d.Scope, d.KeepConversation = &through, purge.ScopeEveryone, remove == "false"
						if r.Removes(d) {
							removeMembers(t, r, d)
						}
						if err := r.EraseEveryone(t.Context(), d); err != nil {
							t.Fatal(err)
						}
					default:
						execSQL(t, r.pool, what+"1")
					}
					raised, err := r.RaiseFloor(t.Context(), "demo", "1")
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					var got []string
					if raised.Open || keys(t, func() ([]purge.Key, error) { return r.Erasures(t.Context(), 9) }) == "1" {
						got = carryOutErasure(t, r, 1, 3)
					}
					slices.Sort(got)
					if strings.Join(got, " ") != told {
						t.Errorf("%s: told %q; want %q", what, got, told)
					}
					if rows := logLeft(t, r, 1); rows != left {
						t.Errorf("%s: left are %s; want %s", what, rows, left)
					}
					if open := keys(t, func() ([]purge.Key, error) { return r.Erasures(t.Context(), 9) }); open != "" {
						t.Errorf("%s: an erasure is open: %s", what, open)
					}
					if untold := keys(t, func() ([]purge.Key, error) { return r.Untold(t.Context(), 9) }); untold != "" {
						t.Errorf("%s: deletions are untold in %s", what, untold)
					}
				}
				if rows := logLeft(t, r, 2); rows != all {
					t.Errorf("of the other room %s are left; want all", rows)
				}
			})
		}
	}
}

// removeMembers begins the enumeration of a deletion for everyone, and removes members, three at a time. It returns who they were.
func removeMembers(t *testing.T, r *Repo, d purge.Deletion) (users []string) {
	t.Helper()
	e, err := r.Enumerate(t.Context(), d)
	for at := e.At; err == nil && !at.Done; {
		var removed []string
		var moved bool
		if removed, at, moved, err = r.RemoveMembers(t.Context(), d, at, users, 3); err == nil && !moved {
			t.Fatal("the enumeration has been moved")
		}
		if users = append(users, removed...); len(removed) == 0 {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(users)
	return users
}

// openLog is newLog with a Target so long that a test decides the order.
func openLog(t *testing.T) *Repo {
	t.Helper()
	r := newLog(t, "numbers", "false")
	return openRepo(t, Config{URL: r.cfg.URL, Plan: r.cfg.Plan, Target: 30 * time.Second})
}

func clearFor(t *testing.T, r *Repo, room, n int, users ...string) {
	t.Helper()
	var ds []purge.Deletion
	for _, user := range users {
		ds = append(ds, hideOf(fmt.Sprintf("%s%d in %d", user, n, room), user, room, n))
	}
	for i, rec := range bulk(t, r, purge.Batch{Deletions: ds}).Records {
		if rec.State != purge.Done {
			t.Fatalf("deletion %d = %+v; want done", i, rec)
		}
	}
}

func raise(t *testing.T, r *Repo, room int) purge.Raised {
	t.Helper()
	raised, err := r.RaiseFloor(t.Context(), "demo", fmt.Sprint(room))
	if err != nil {
		t.Fatal(err)
	}
	return raised
}

// Who joins while the floor is computed is waited for, and keeps what there is.
func TestJoinWhileTheFloorIsComputed(t *testing.T) {
	t.Parallel()
	r := openLog(t)
	fillLog(t, r, 1, 20, "alice", "bob")
	clearFor(t, r, 1, 10, "alice", "bob")
	tx := begin(t, r)
	if _, err := tx.Exec(t.Context(), `insert into log.members (room, who) values (1, 'carol')`); err != nil {
		t.Fatal(err)
	}
	done := make(chan purge.Raised)
	go func() { done <- raise(t, r, 1) }()
	waitFor(t, r, `select exists (select from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.datname = current_database())`)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if raised := <-done; raised.Open {
		t.Errorf("raised = %+v; want nothing, since carol has joined", raised)
	}
	if n := queryOne[int](t, r.pool, `select count(*) from lethe.deletions where command_id = ''`); n != 0 {
		t.Errorf("%d erasures are in the ledger; want none", n)
	}
}

// The floor may rise while an erasure runs: it goes on to the new one, and is proven there.
func TestFloorRisesWhileAnErasureRuns(t *testing.T) {
	t.Parallel()
	r := openLog(t)
	fillLog(t, r, 1, 20, "alice", "bob")
	clearFor(t, r, 1, 8, "alice", "bob")
	if got := raise(t, r, 1); got != (purge.Raised{Open: true, Floor: 8, Risen: true}) {
		t.Fatalf("raised = %+v; want 8", got)
	}
	d := purge.ErasureOf(purge.Key{App: "demo", Conversation: "1"}, tokens())
	step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 3})
	if err != nil || !step.Record.Mine || step.Messages != 3 {
		t.Fatalf("step = %+v, %v; want 3 of 8 gone", step, err)
	}
	clearFor(t, r, 1, 15, "alice", "bob")
	if got := raise(t, r, 1); got != (purge.Raised{Open: true, Floor: 15, Risen: true}) {
		t.Fatalf("raised = %+v; want 15", got)
	}
	other := d
	other.Token = tokens()
	if rec, err := r.Claim(t.Context(), other); err != nil || rec.Mine || rec.State != purge.Running {
		t.Errorf("another's claim = %+v, %v; want it refused", rec, err)
	}
	if e, err := r.Erasure(t.Context(), "demo", "1"); err != nil || e.Floor != 15 || e.State != purge.Running || e.MessagesDeleted != 3 || e.Waiting != 4 {
		t.Errorf("erasure = %+v, %v; want it running, and 4 waiting", e, err)
	}
	if err := r.Release(t.Context(), d, step.Low, "", ""); err != nil {
		t.Fatal(err)
	}
	if open := keys(t, func() ([]purge.Key, error) { return r.Erasures(t.Context(), 9) }); open != "1" {
		t.Errorf("open = %s; want 1", open)
	}
	told := carryOutErasure(t, r, 1, 3)
	if slices.Sort(told); strings.Join(told, ", ") != "alice15 in 1, alice8 in 1, bob15 in 1, bob8 in 1" {
		t.Errorf("told %q; want all four", told)
	}
	e, err := r.Erasure(t.Context(), "demo", "1")
	if left := logLeft(t, r, 1); err != nil || e.MessagesDeleted != 15 || left != "messages 16-20 (5), 1 receipts, 1 attachments, 2 members, 1 pins, 1 rooms" {
		t.Errorf("left are %s, erasure %+v, %v", left, e, err)
	}
	if n := queryOne[int](t, r.pool, `select count(distinct erased_at) from lethe.deletions where erased_told and not erased`); n != 1 {
		t.Errorf("deletions were erased at %d times; want one, when the erasure was done", n)
	}
	if got := queryOne[string](t, r.pool, `select messages || ' ' || coalesce(newest::text, '') from log.rooms`); got != "5 20" {
		t.Errorf("the room's row says %s; want 5 20", got)
	}
}

// A failed erasure waits for an operator, and one that holds nothing but deletions to report is never run.
func TestErasureThatFails(t *testing.T) {
	t.Parallel()
	r := openLog(t)
	fillLog(t, r, 1, 20, "alice", "bob")
	clearFor(t, r, 1, 8, "alice", "bob")
	raise(t, r, 1)
	d := purge.ErasureOf(purge.Key{App: "demo", Conversation: "1"}, tokens())
	if rec, err := r.Fail(t.Context(), d, purge.Failure{Reason: "r", Message: "m", Err: "e", MaxAttempts: 1}); err != nil || rec.State != purge.Failed {
		t.Fatalf("fail = %+v, %v; want failed", rec, err)
	}
	clearFor(t, r, 1, 12, "alice", "bob")
	if got := raise(t, r, 1); got.Open {
		t.Errorf("raised = %+v; want nothing open", got)
	}
	if risen := keys(t, func() ([]purge.Key, error) { risen, _, err := r.Sweep(t.Context(), purge.Key{}, 9); return risen, err }); risen != "" {
		t.Errorf("the sweep found %s; want nothing", risen)
	}
	if err := r.ReopenErasure(t.Context(), "demo", "1"); err != nil {
		t.Fatal(err)
	}
	if got := raise(t, r, 1); !got.Open || got.Floor != 12 {
		t.Errorf("raised = %+v; want 12", got)
	}
	if told := carryOutErasure(t, r, 1, 100); len(told) != 4 {
		t.Errorf("told %q; want four", told)
	}
	say(t, r, 1, 21, 22)
	clearFor(t, r, 1, 22, "alice")
	execSQL(t, r.pool, `delete from log.messages; update log.members set n = 22 where who = 'bob'`) // by the app
	if got := raise(t, r, 1); got != (purge.Raised{Open: true, Floor: 22, Risen: true, Empty: true}) {
		t.Errorf("raised = %+v; want nothing but reports", got)
	}
	if untold := keys(t, func() ([]purge.Key, error) { return r.Untold(t.Context(), 9) }); untold != "1" {
		t.Errorf("untold = %s; want 1", untold)
	}
	if told := report(t, r, purge.Key{App: "demo", Conversation: "1"}); strings.Join(told, " ") != "alice22 in 1" {
		t.Errorf("told %q; want alice22", told)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers_without_a_watermark", "true")
	for room := 1; room <= 6; room++ {
		fillLog(t, r, room, 10, "alice", "bob")
		if room != 3 {
			clearFor(t, r, room, 5, "alice")
		}
	}
	execSQL(t, r.pool, `delete from log.members where who = 'bob' and room in (2, 6)`)
	clearFor(t, r, 5, 3, "bob") // not through the lowest hidden deletion, and a message can go
	var found []string
	pages := 0
	for after := (purge.Key{}); ; pages++ {
		risen, next, err := r.Sweep(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range risen {
			found = append(found, k.Conversation)
		}
		if after = next; after == (purge.Key{}) {
			break
		}
	}
	if got := strings.Join(found, " "); got != "2 5 6" || pages != 2 {
		t.Errorf("the sweep found %s in %d more pages; want 2 5 6 in 2", got, pages)
	}
	var ks []purge.Key
	for room := 6; room >= 1; room-- {
		ks = append(ks, purge.Key{App: "demo", Conversation: fmt.Sprint(room)})
	}
	if risen := keys(t, func() ([]purge.Key, error) { return r.Raisable(t.Context(), ks) }); risen != "2 5 6" {
		t.Errorf("raisable = %s; want 2 5 6", risen)
	}
}
