package repo

import (
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// An erasure that an older worker has opened has the conversation's id as a command spelled it. It goes on as the log's, once nobody has its lease.
func TestAnErasureOfAnotherSpellingBecomesTheLogs(t *testing.T) {
	t.Parallel()
	const lower = "6ba7b810-9dad-11d1-80b4-00c04fd430aa"
	upper := strings.ToUpper(lower)
	for name, c := range map[string]struct {
		state, lease string
		there        string // of the log's own erasure
		left         int
	}{
		"open":                     {"pending", "null", "", 3},
		"of a worker that died":    {"running", "now() - interval '1 s'", "", 3},
		"beside the log's, done":   {"pending", "null", "done", 3},
		"beside the log's, open":   {"pending", "null", "pending", 3},
		"done and not reported":    {"done", "null", "", 10},
		"of a worker that runs it": {"running", "now() + interval '1 hour'", "", 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			execSQL(t, openPool(t, url), uuidTables)
			p, err := plan.Parse([]byte("tenant: demo\n" + uuidPlan))
			if err != nil {
				t.Fatal(err)
			}
			r := openRepo(t, Config{URL: url, Plan: p, AllowUnindexed: true})
			execSQL(t, r.pool, `insert into u.members (room, who) select $1::uuid, unnest(array['alice', 'dave'])`, lower)
			execSQL(t, r.pool, `insert into u.messages (room, n) select $1::uuid, generate_series(1, 10)`, lower)
			d := hideOf("c", "alice", 0, 0)
			d.Conversation, d.ThroughSeq = upper, new(int64)
			*d.ThroughSeq = 7
			bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}})
			tx := r.begin(true)
			r.lockErasure(tx, r.erasureArgs("demo", "another"))
			if err := r.commit(t.Context(), tx); err != nil {
				t.Fatal(err)
			}
			enter := `insert into lethe.deletions (app_id, command_id, conversation_id, user_id, state, stored_at, through_seq, cursor_seq, history_kept, erased_told, lease_until, lease_token, completed_at)
				values ('demo', '', $1, '', $2, now(), $3, 0, false, false, ` // Dave, who joined later, has cleared nothing: the floor alone wouldn't rise
			execSQL(t, r.pool, enter+c.lease+`, gen_random_uuid(), case when $2 = 'done' then now() end)`, upper, c.state, 7)
			if c.there != "" {
				execSQL(t, r.pool, enter+`null, null, case when $2 = 'done' then now() end)`, lower, c.there, 2)
			}
			for range 2 {
				open, err := r.Erasures(t.Context(), 10)
				if err != nil {
					t.Fatal(err)
				}
				for _, k := range open {
					finishErasure(t, r, r.LogOf(k))
				}
				untold, err := r.Untold(t.Context(), 10)
				if err != nil {
					t.Fatal(err)
				}
				for _, k := range untold {
					report(t, r, k)
				}
			}
			if n := queryOne[int](t, r.pool, `select count(*) from u.messages`); n != c.left {
				t.Errorf("%d messages are left; want %d", n, c.left)
			}
			if got := keys(t, func() ([]purge.Key, error) { return r.Erasures(t.Context(), 10) }); got != "" {
				t.Errorf("still open: %s", got)
			}
			if got := keys(t, func() ([]purge.Key, error) { return r.Untold(t.Context(), 10) }); got != "" {
				t.Errorf("still untold: %s", got)
			}
		})
	}
}
