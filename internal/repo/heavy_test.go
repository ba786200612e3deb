package repo

import (
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// manyParts puts the messages into 200 partitions, over which a conversation is spread.
var manyParts = strings.NewReplacer("'messages', 'reactions', 'attachments', 'conversations'", "'messages'", "hash (user_id)", "hash (seq)",
	"0..7", "0..199", "modulus 8", "modulus 200").Replace(partitionedTables)

// longestStep takes a deletion to its end in steps, paced as a worker does, and returns the
// longest of them and how many there were.
func longestStep(tb testing.TB, r *Repo, d purge.Deletion, target time.Duration) (longest time.Duration, steps int) {
	tb.Helper()
	pace := purge.Pace{Target: target, Min: 1, Max: 50_000}
	part := purge.Part{Claim: true, Finish: true, Limit: 200}
	for steps = 1; steps < 10_000; steps++ {
		began := time.Now()
		s, err := r.Step(tb.Context(), d, part)
		if err != nil {
			tb.Fatal(err)
		}
		took := time.Since(began)
		longest = max(longest, took)
		if s.Finished {
			return longest, steps
		}
		if !s.Record.Mine {
			tb.Fatalf("step = %+v; want the lease", s)
		}
		part = purge.Part{Low: s.Low, Sparse: s.Sparse, Finish: true, Limit: pace.Next(s.Measured(part.Limit), took, s.Full)}
	}
	tb.Fatal("not finished after 10,000 steps")
	return 0, 0
}

// What a row costs to delete differs by some thousand times. However much it is, a step ends
// about when it should: it deletes nothing more once its time is over.
func TestAStepEndsInTimeWhateverItsRowsCost(t *testing.T) {
	t.Parallel()
	sleep := func(when, ms string) string {
		return `create function public.slow() returns trigger language plpgsql as $$ begin perform pg_sleep(` + ms + ` / 1000.0); return old; end $$;
			create trigger slow ` + when + ` delete on chat.messages for each row execute function public.slow()`
	}
	for name, c := range map[string]struct {
		sql      string
		messages int
		body     int // bytes that can't be compressed
		target   time.Duration
		times    int // how many times the target a step may take: the machine is shared
	}{
		"messages of a megabyte": {messages: 60, body: 1 << 20, target: 10 * time.Millisecond, times: 5},
		"a slow before trigger":  {sql: sleep("before", "2"), messages: 150, target: 50 * time.Millisecond, times: 3},
		"a slow after trigger":   {sql: sleep("after", "2"), messages: 150, target: 50 * time.Millisecond, times: 20}, // nothing can stop it: a small first batch
		"hundreds of partitions": {sql: manyParts, messages: 3000, target: 50 * time.Millisecond, times: 10},          // the first step of a connection plans its statements
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			if c.sql != "" {
				execSQL(t, openPool(t, url), "select 1;"+c.sql)
			}
			r := openRepo(t, Config{URL: url, Plan: plan.Bundled(), Target: c.target})
			execSQL(t, r.pool, `alter table chat.messages alter body set storage external`)
			limit, longest := time.Duration(c.times)*c.target, time.Duration(0)
			for _, conv := range []string{"c1", "c2", "c3"} { // a busy machine may hold a step up, but not one of each
				fillChat(t, r, conv, c.messages)
				if c.body > 0 {
					execSQL(t, r.pool, `update chat.messages set body = to_jsonb((select string_agg(md5(g::text || seq::text), '') from generate_series(1, $1::int / 32) g))`, c.body)
				}
				var steps int
				longest, steps = longestStep(t, r, deletion(conv, conv), c.target)
				t.Logf("%d steps, the longest %v", steps, longest)
				if left := rowsLeft(t, r, conv); left != nothing {
					t.Errorf("%s are left", left)
				}
				if longest <= limit {
					break
				}
			}
			if longest > limit {
				t.Errorf("three times a step took longer than %v, at last %v", limit, longest)
			}
		})
	}
}
