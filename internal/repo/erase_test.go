package repo

import (
	"fmt"
	"slices"
	"strings"
	"testing"

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
						d := hideOf("e", "alice", 1, 20)
						d.Boundary = &through
						if err := r.EraseEveryone(t.Context(), d, remove == "true"); err != nil {
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
