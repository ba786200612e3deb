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

// The scope of an erasure made an older worker remove the members with the conversation's row. It doesn't outlast that erasure: such a worker may have the next one.
func TestTheScopeOfAnOlderErasureEndsWithIt(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "false")
	fillLog(t, r, 1, 10, "alice")
	steps(t, r, hideOf("first", "alice", 1, 4))
	log := purge.Key{App: "demo", Conversation: "1"}
	raise := func(want int64) {
		t.Helper()
		if raised, err := r.RaiseFloor(t.Context(), log.App, log.Conversation); err != nil || raised.Floor != want || !raised.Risen {
			t.Fatalf("raised = %+v, %v; want %d", raised, err, want)
		}
	}
	raise(4)
	older := func(state string) {
		t.Helper()
		execSQL(t, r.pool, `update lethe.deletions set scope = 'everyone' where command_id = '' and state = $1`, state)
	}
	scopes := func() int {
		return queryOne[int](t, r.pool, `select count(*) from lethe.deletions where command_id = '' and scope is not null`)
	}
	finishErasure(t, r, log)
	older("done")
	steps(t, r, hideOf("second", "alice", 1, 7))
	raise(7)
	if n := scopes(); n != 0 {
		t.Error("a hide's erasure has the scope of the one before")
	}
	finishErasure(t, r, log)
	older("done")
	d := everyoneOf("c", 1, 10)
	if err := r.EraseEveryone(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if n := scopes(); n != 0 {
		t.Error("an erasure for everyone has the scope of the one before")
	}
	older("pending")
	if err := r.EraseEveryone(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if n := scopes(); n != 1 {
		t.Error("an older worker's open erasure has lost its scope")
	}
}
