package repo

import (
	"slices"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// claimed is a deletion in the long lane, with n messages before it.
func claimed(tb testing.TB, r *Repo, command, conversation string, n int) purge.Deletion {
	tb.Helper()
	fillChat(tb, r, conversation, n)
	d := deletion(command, conversation)
	bulk(tb, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 1, Rows: 1}})
	return d
}

func TestAStepThatIsThrottledChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	d := claimed(t, r, "1", "g", 40)
	ledger, err := OpenLedger(t.Context(), r.pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	step := func(want purge.Throttled, left int) {
		t.Helper()
		s, err := r.Step(t.Context(), d, purge.Part{Long: true, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if want.Left > 0 && (s.Throttled.Left <= 0 || s.Throttled.Left > want.Left) {
			t.Errorf("throttled for %v; want up to %v", s.Throttled.Left, want.Left)
		}
		s.Throttled.Left, want.Left = 0, 0
		if s.Throttled != want || s.Record.Mine != (want.Reason == "") {
			t.Errorf("throttled = %+v, mine %t; want %+v", s.Throttled, s.Record.Mine, want)
		}
		if n := queryOne[int](t, r.pool, `select count(*)::int from chat.messages`); n != left {
			t.Errorf("%d messages; want %d", n, left)
		}
	}
	step(purge.Throttled{}, 29)
	for _, lane := range []purge.Lane{purge.LongLane, purge.AllLanes} {
		for _, first := range []bool{true, false} {
			if p, changed, err := ledger.Pause(t.Context(), lane); err != nil || changed != first || p.Lane != lane || p.Since.IsZero() {
				t.Errorf("Pause = %+v, %t, %v; want changed %t", p, changed, err, first)
			}
		}
		step(purge.Throttled{Reason: purge.Paused, Detail: "by an operator"}, 29)
		for _, first := range []bool{true, false} {
			if changed, err := ledger.Resume(t.Context(), lane); err != nil || changed != first {
				t.Errorf("Resume = %t, %v; want %t", changed, err, first)
			}
		}
	}
	step(purge.Throttled{}, 19)
	for _, rest := range []time.Duration{time.Hour, time.Second} { // the longer one counts
		if err := r.ThrottleSlowBatch(t.Context(), rest, "slow"); err != nil {
			t.Fatal(err)
		}
	}
	step(purge.Throttled{Reason: purge.SlowBatch, Detail: "slow", Left: time.Hour}, 19)
	execSQL(t, r.pool, `update lethe.throttles set until = clock_timestamp()`)
	step(purge.Throttled{}, 9)
}

// After a batch that yields the next one, of whatever worker, finds the rest.
func TestABatchThatYieldsLetsAllRest(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	r := openRepo(t, Config{URL: url, Plan: plan.Bundled(), LongConcurrency: 2})
	other := openRepo(t, Config{URL: url, Plan: plan.Bundled()})
	d, e := claimed(t, r, "1", "g", 40), claimed(t, r, "2", "h", 40)
	for _, may := range []bool{false, true} { // without the right only the caller can rest
		as := r
		if !may {
			as = openRepo(t, Config{URL: url, Plan: plan.Bundled()}) // has never looked
		} else if _, err := r.Watch(t.Context(), purge.Limits{}, true); err != nil {
			t.Fatal(err)
		}
		if s, err := as.Step(t.Context(), d, purge.Part{Long: true, Limit: 5, ForegroundBackoff: 1e6}); err != nil || s.Throttled.Reason != "" || s.Rows != 5 {
			t.Fatalf("Step = %+v, %v; want five rows", s, err)
		}
		if n := queryOne[int](t, r.pool, `select count(*)::int from lethe.throttles`); n == 1 != may {
			t.Fatalf("%d rests; may note them: %t", n, may)
		}
	}
	execSQL(t, r.pool, `update lethe.throttles set until = clock_timestamp()`)
	s, err := r.Step(t.Context(), d, purge.Part{Long: true, Limit: 10, ForegroundBackoff: 1e6})
	if err != nil || s.Throttled.Reason != "" || s.Rows == 0 {
		t.Fatalf("Step = %+v, %v; want some rows", s, err)
	}
	for what, yield := range map[string]float64{"yields": 1, "doesn't": 0} {
		s, err := other.Step(t.Context(), e, purge.Part{Long: true, Limit: 10, ForegroundBackoff: yield})
		if err != nil || s.Throttled.Reason != purge.ForegroundLoad || s.Throttled.Left <= 0 || s.Throttled.Left > time.Second || s.Rows != 0 {
			t.Errorf("Step that %s = %+v, %v; want a rest of up to a second", what, s, err)
		}
	}
	if n := queryOne[int](t, r.pool, `select count(*)::int from lethe.throttles where until >= since + interval '1 s'`); n != 1 {
		t.Errorf("%d rests; want one, of a second", n)
	}
	execSQL(t, r.pool, `update lethe.throttles set until = clock_timestamp()`)
	if s, err := other.Step(t.Context(), e, purge.Part{Long: true, Limit: 10}); err != nil || s.Throttled.Reason != "" || s.Rows != 10 {
		t.Errorf("Step = %+v, %v after the rest; want ten rows", s, err)
	}
	if n := queryOne[int](t, r.pool, `select count(*)::int from lethe.throttles where until > clock_timestamp()`); n != 0 {
		t.Errorf("%d rests after a batch that doesn't yield; want none", n)
	}
}

func TestStatusSaysWhatADeletionWaitsFor(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	d := claimed(t, r, "1", "g", 40)
	ledger, err := OpenLedger(t.Context(), r.pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	wants := func(want purge.ThrottleReason) {
		t.Helper()
		recs, err := ledger.Status(t.Context(), "demo", "1")
		if err != nil || len(recs) != 1 || recs[0].WaitingFor != want {
			t.Errorf("status = %+v, %v; want one that waits for %q", recs, err, want)
		}
	}
	wants("")
	if rec, err := r.Renew(t.Context(), d, 0, purge.ReplicaLag, "s1 is behind"); err != nil || !rec.Mine || rec.LeaseLeft < 25*time.Second {
		t.Errorf("Renew = %+v, %v; want ours, with a new lease", rec, err)
	}
	wants(purge.ReplicaLag)
	execSQL(t, r.pool, `update lethe.deletions set lease_until = clock_timestamp() - interval '1 s'`)
	wants("") // its worker has gone
	if _, err := r.Renew(t.Context(), d, 0, purge.WALRetained, ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ledger.Pause(t.Context(), purge.AllLanes); err != nil {
		t.Fatal(err)
	}
	wants(purge.Paused)
	if _, err := ledger.Resume(t.Context(), purge.AllLanes); err != nil {
		t.Fatal(err)
	}
	wants(purge.WALRetained)
	if _, err := r.Step(t.Context(), d, purge.Part{Long: true, Limit: 10}); err != nil {
		t.Fatal(err)
	}
	wants("")
	stale := d
	stale.Token = purge.Token{9}
	if rec, err := r.Renew(t.Context(), stale, 0, purge.WALRetained, ""); err != nil || rec.Mine {
		t.Errorf("Renew without the lease = %+v, %v; want it not ours", rec, err)
	}
	wants("")
}

// A step that finds no permit returns at once, and holds nothing while its caller waits.
func TestAStepWithoutAPermitReturnsAtOnce(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	r := openRepo(t, Config{URL: url, Plan: plan.Bundled(), LongConcurrency: 2})
	d := claimed(t, r, "1", "g", 40)
	tx, err := openPool(t, url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select pg_advisory_xact_lock($1::int, p) from generate_series(1, 2) p`, permitClass); err != nil {
		t.Fatal(err)
	}
	s, err := r.Step(t.Context(), d, purge.Part{Long: true, Limit: 10})
	if err != nil || s.Throttled != (purge.Throttled{Reason: purge.NoPermit}) {
		t.Errorf("Step = %+v, %v; want no permit", s, err)
	}
	if n := queryOne[int](t, r.pool, `select count(*)::int from chat.messages`); n != 39 {
		t.Errorf("%d messages; want 39", n)
	}
	if s, err := r.Step(t.Context(), d, purge.Part{Limit: 5}); err != nil || s.Rows != 5 {
		t.Errorf("a small deletion's step = %+v, %v; want five rows, without a permit", s, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err := r.Step(t.Context(), d, purge.Part{Long: true, Limit: 10}); err != nil || s.Throttled.Reason != "" || s.Rows != 10 {
		t.Errorf("Step = %+v, %v; want ten rows", s, err)
	}
}

func BenchmarkStep(b *testing.B) {
	for name, places := range map[string]int{"alone": 0, "with_a_budget": 2} {
		b.Run(name, func(b *testing.B) {
			r := openRepo(b, Config{URL: newDatabase(b), Plan: plan.Bundled(), LongConcurrency: places})
			d := claimed(b, r, "1", "g", 1)
			b.ReportAllocs()
			for b.Loop() { // batches of nothing: what each costs by itself
				if _, err := r.Step(b.Context(), d, purge.Part{Long: true, Low: 1, Limit: 10}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Where positions have wide gaps, as many of them as the limit hold few messages: the next
// step counts its messages off, until they are dense again.
func TestAStepOnSparsePositionsFillsItsLimit(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	execSQL(t, r.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select 'demo', 'alice', 'c', case when i <= 300 then i * 1000 else 300000 + i end, now() - interval '1 hour' from generate_series(1, 600) i`)
	part, d := purge.Part{Claim: true, Limit: 100}, deletion("1", "c")
	for i, want := range []struct {
		messages int
		sparse   bool
	}{{1, true}, {100, true}, {100, true}, {100, true}, {100, false}, {100, false}, {99, false}} {
		s, err := r.Step(t.Context(), d, part)
		if err != nil || s.Messages != want.messages || !s.Reached && s.Sparse != want.sparse {
			t.Fatalf("step %d = %+v, %v; want %d messages, sparse %t", i, s, err, want.messages, want.sparse)
		}
		part = purge.Part{Low: s.Low, Sparse: s.Sparse, Limit: 100}
	}
	if rec, err := r.Finish(t.Context(), d); err != nil || rec.State != purge.Done || rec.MessagesDeleted != 600 {
		t.Errorf("finish = %+v, %v; want done with 600", rec, err)
	}
}

func TestParametersHaveNames(t *testing.T) {
	t.Parallel()
	s := parse("x", "select @a::int, '@b', \"c@d\", @e -- it's @f\nwhere @a > 0")
	if want := "select $1::int, '@b', \"c@d\", $2 -- it's @f\nwhere $1 > 0"; s.sql != want || !slices.Equal(s.params, []string{"a", "e"}) {
		t.Errorf("parsed %q with %v; want %q with a, e", s.sql, s.params, want)
	}
}
