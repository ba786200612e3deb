package repo

import (
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// newTimeline is a Repo on tables whose positions are times, with a plan of these children.
func newTimeline(tb testing.TB, children string, cfg Config) *Repo {
	tb.Helper()
	cfg.URL = newLedger(tb)
	execSQL(tb, openPool(tb, cfg.URL), `create table public.posts (id bigserial primary key, owner text, thread text, at timestamptz not null);
		create index on public.posts (owner, thread, at); create table public.files (post bigint); create index on public.files (post)`)
	p, err := plan.Parse([]byte("tenant: demo\nmessages: {table: posts, user: owner, conversation: thread, seq: at}\n" + children))
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Plan = p
	return openRepo(tb, cfg)
}

// Many messages of one time go a batch at a time, none without its child rows.
func TestMessagesOfOneTimeGoInBatches(t *testing.T) {
	t.Parallel()
	const each, limit = 12_000, 500
	for name, c := range map[string]struct {
		children string
		target   time.Duration
		steps    int // at least
	}{
		"without_children":                     {"", 20 * time.Millisecond, 1},
		"with_children_that_nothing_else_ties": {"children: [{table: files, references: {column: post, to: id}}]", purge.DefaultTarget, each / limit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTimeline(t, c.children, Config{Target: c.target})
			execSQL(t, r.pool, `insert into posts (owner, thread, at) select 'alice', 'c', timestamptz '2026-01-01' + case when i > $1::int then interval '1 s' else interval '0' end from generate_series(1, $1::int + 10) i`, each)
			if c.children != "" {
				execSQL(t, r.pool, `insert into files select id from posts where id % 10 = 0`)
			}
			d, messages, steps := deletion("1", "c"), 0, 0
			for part := (purge.Part{Claim: true, Limit: limit, Finish: true}); ; steps++ {
				began := time.Now()
				s, err := r.Step(t.Context(), d, part)
				if err != nil {
					t.Fatal(err)
				}
				if messages += s.Messages; s.Finished {
					break
				}
				if steps > 1000 || time.Since(began) > time.Second {
					t.Fatalf("step %d took %v and is %+v; want it to delete some, for no longer than it may", steps, time.Since(began), s)
				}
				part.Claim, part.Low = false, s.Low
			}
			if messages != each+10 || steps < c.steps {
				t.Errorf("%d messages went in %d steps; want %d in %d or more", messages, steps, each+10, c.steps)
			}
			if n := queryOne[int](t, r.pool, `select (select count(*) from posts) + (select count(*) from files)`); n != 0 {
				t.Errorf("%d rows are left; want none", n)
			}
		})
	}
}

// Where a child row could come in between, a batch deletes no message that it hasn't locked.
func TestABatchOfOneTimeDeletesWhatItHasLocked(t *testing.T) {
	t.Parallel()
	r := newTimeline(t, "children: [{table: files, references: {column: post, to: id}}]", Config{})
	execSQL(t, r.pool, `insert into posts (owner, thread, at) select 'alice', 'c', '2026-01-01' from generate_series(1, 50)`)
	s, err := r.Step(t.Context(), deletion("1", "c"), purge.Part{Claim: true, Limit: 20})
	if err != nil || s.Messages != 20 || s.Reached {
		t.Errorf("step = %+v, %v; want 20 messages", s, err)
	}
}

// Times that are no number of microseconds are before and after all others.
func TestInfiniteTimesGoWithTheOthers(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"at_once": 1000, "in_batches": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTimeline(t, "", Config{})
			execSQL(t, r.pool, `insert into posts (owner, thread, at) select 'alice', 'c', x from unnest('{-infinity,-infinity,-infinity,0001-01-01,1969-12-31,2026-01-01,293999-01-01,infinity,infinity,infinity}'::timestamptz[]) x`)
			if rec := carryOut(t, r, deletion("1", "c"), limit); rec.State != purge.Done || rec.MessagesDeleted != 6 {
				t.Errorf("record = %+v; want done with 6 messages, for the others are later than the command", rec)
			}
			last := int64(9223372036854775807)
			d := deletion("2", "c")
			d.ThroughSeq = &last
			if rec := carryOut(t, r, d, limit); rec.State != purge.Done || rec.MessagesDeleted != 4 || rec.ThroughSeq != last || !rec.ConversationRemoved {
				t.Errorf("record = %+v; want done through the last position with 4 messages", rec)
			}
			if n := redo(t, r.Replayer(), purge.Reported{Record: purge.Record{Key: d.Key, ThroughSeq: last, CompletedAt: time.Now()}}, limit); n != 0 {
				t.Errorf("a replay deletes %d messages; want none", n)
			}
		})
	}
}

// A plan that says of no message when it was sent needs through_seq.
func TestADeletionWithoutABoundaryIsIncompatible(t *testing.T) {
	t.Parallel()
	r := newSocialWith(t, func(p *plan.Plan) { p.Messages.SentAt = plan.Reading{} })
	through := int64(3)
	for name, c := range map[string]struct {
		through *int64
		refused bool
	}{"without_through_seq": {nil, true}, "with_it": {&through, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole, err := r.Incompatible(removal("1", c.through))
			if whole || (err == purge.ErrBoundaryRequired) != c.refused { //nolint:errorlint // it is this very one
				t.Errorf("Incompatible = %t, %v; want it refused: %t", whole, err, c.refused)
			}
		})
	}
	fillSocial(t, r, 12, 7)
	rec, err := r.Fail(t.Context(), removal("2", nil), purge.Failure{Reason: "boundary_required", MaxAttempts: 1})
	if err != nil || rec.State != purge.Failed || rec.Pinned {
		t.Errorf("record = %+v, %v; want failed without a boundary", rec, err)
	}
	if rec := carryOut(t, r, removal("3", &through), 2); rec.State != purge.Done || rec.MessagesDeleted != 3 {
		t.Errorf("record = %+v; want done with 3 messages", rec)
	}
}
