package repo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-im/lethe/internal/purge"
)

// What a trial says of a shared log is what the deletion then hides, and what the erasure after it removes.
func TestTryOfASharedLog(t *testing.T) {
	t.Parallel()
	ptr := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		form, keep, prepare string // SQL
		user                string
		through             *int64
		want                TrialLog
	}{
		"nobody else has deleted": {"numbers", "false", "", "alice", nil, TrialLog{
			Member: true, Counts: true, Hidden: 20, Members: 3, Keeping: 2, Keepers: []TrialKeeper{{"bob", nil}, {"carol", nil}},
		}},
		"the floor rises": {
			"numbers", "true", "update log.members set n = 7 where who = 'bob'; update log.members set n = 12 where who = 'carol'; update log.members set n = 2 where who = 'alice'",
			"alice", ptr(9),
			TrialLog{Member: true, Counts: true, Hidden: 7, Floor: ptr(7), Members: 3, Keeping: 1, Keepers: []TrialKeeper{{"bob", ptr(7)}}},
		},
		"all have deleted": {"numbers", "false", "update log.members set n = 20", "alice", nil, TrialLog{Member: true, Counts: true, Floor: ptr(20), Members: 3}},
		"who has left": {"numbers", "true", "update log.members set left_at = now() where who = 'alice'", "alice", nil, TrialLog{
			Member: true, Hidden: 20, Members: 2, Keeping: 2, Keepers: []TrialKeeper{{"bob", nil}, {"carol", nil}},
		}},
		"all have left": {"numbers", "false", "update log.members set left_at = now()", "alice", ptr(9), TrialLog{Member: true, Hidden: 9, Floor: ptr(20)}},
		"no member":     {"numbers", "false", "", "mallory", nil, TrialLog{Members: 3, Keeping: 3, Keepers: []TrialKeeper{{"alice", nil}, {"bob", nil}, {"carol", nil}}}},
		"the ledger's watermarks": {
			"numbers_and_no_column", "true", "insert into lethe.watermarks select 'demo', who, '1', 8 from log.members; delete from lethe.watermarks where user_id = 'bob'; update log.members set from_n = 6 where who = 'bob'",
			"alice", nil,
			TrialLog{Member: true, Counts: true, Hidden: 12, Floor: ptr(5), Members: 3, Keeping: 2, Keepers: []TrialKeeper{{"bob", ptr(5)}, {"carol", ptr(8)}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newLog(t, c.form, c.keep)
			fillLog(t, r, 1, 20, "alice", "bob", "carol")
			execSQL(t, r.pool, c.prepare)
			trial, _, err := OpenTrial(t.Context(), Config{URL: r.cfg.URL, Plan: r.cfg.Plan, AllowUnindexed: true})
			if err != nil || trial == nil {
				t.Fatal(err)
			}
			defer trial.Close()
			d := hideOf("c", c.user, 1, 20)
			d.ThroughSeq = c.through
			got, err := trial.Try(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			if got.Log == nil || cmp.Diff(c.want, *got.Log) != "" {
				t.Errorf("the trial says %+v\nwant %+v", got.Log, c.want)
			}
			if doubts := strings.Join(got.Doubts, "; "); strings.Contains(doubts, fmt.Sprintf("user %q is no member", c.user)) == c.want.Member {
				t.Errorf("the trial doubts %q", doubts)
			}
			was := tableSums(t, r.cfg.URL, r.cfg.Plan)
			tryUsesIndexes(t, trial)
			rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}}).Records[0]
			if got.ThroughSeq != rec.ThroughSeq || got.Log.Hidden != rec.MessagesDeleted || got.ConversationRemoved != rec.ConversationRemoved {
				t.Errorf("the trial says %+v; the deletion %+v", got, rec)
			}
			if raise(t, r, 1).Open {
				carryOutErasure(t, r, 1, 100)
			}
			left := tableSums(t, r.cfg.URL, r.cfg.Plan)
			for _, table := range got.Tables {
				if went := was[table.Name].rows - left[table.Name].rows; table.Deleted != went {
					t.Errorf("%s: the trial says that %d rows go; %d went", table.Name, table.Deleted, went)
				}
			}
			if got.Messages != got.Tables[0].Deleted || (got.Log.Floor == nil) != (got.Messages == 0) {
				t.Errorf("the trial says %d messages, and the tables %d, with the floor %v", got.Messages, got.Tables[0].Deleted, got.Log.Floor)
			}
		})
	}
}
