package repo

import (
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
	express(tb, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 1, Rows: 1}})
	return d
}

func TestAStepThatIsHeldChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	d := claimed(t, r, "1", "g", 40)
	ledger, err := OpenLedger(t.Context(), r.pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	step := func(want purge.Held, left int) {
		t.Helper()
		s, err := r.Step(t.Context(), d, purge.Part{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if want.Left > 0 && (s.Held.Left <= 0 || s.Held.Left > want.Left) {
			t.Errorf("held for %v; want up to %v", s.Held.Left, want.Left)
		}
		s.Held.Left, want.Left = 0, 0
		if s.Held != want || !s.Record.Mine {
			t.Errorf("held = %+v, mine %t; want %+v, true", s.Held, s.Record.Mine, want)
		}
		if n := queryOne[int](t, r.pool, `select count(*)::int from chat.messages`); n != left {
			t.Errorf("%d messages; want %d", n, left)
		}
	}
	step(purge.Held{}, 29)
	for _, lane := range []purge.Lane{purge.LongLane, purge.AllLanes} {
		for _, first := range []bool{true, false} {
			if p, changed, err := ledger.Pause(t.Context(), lane); err != nil || changed != first || p.Lane != lane || p.Since.IsZero() {
				t.Errorf("Pause = %+v, %t, %v; want changed %t", p, changed, err, first)
			}
		}
		step(purge.Held{Cause: purge.Paused, Detail: "by an operator"}, 29)
		for _, first := range []bool{true, false} {
			if changed, err := ledger.Resume(t.Context(), lane); err != nil || changed != first {
				t.Errorf("Resume = %t, %v; want %t", changed, err, first)
			}
		}
	}
	step(purge.Held{}, 19)
	for _, rest := range []time.Duration{time.Hour, time.Second} { // the longer one counts
		if err := r.Rest(t.Context(), rest, "slow"); err != nil {
			t.Fatal(err)
		}
	}
	step(purge.Held{Cause: purge.SlowBatch, Detail: "slow", Left: time.Hour}, 19)
	execSQL(t, r.pool, `update lethe.throttles set until = clock_timestamp()`)
	step(purge.Held{}, 9)
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
		if s, err := as.Step(t.Context(), d, purge.Part{Limit: 5, ForegroundBackoff: 1e6}); err != nil || s.Held.Cause != "" || s.Rows != 5 {
			t.Fatalf("Step = %+v, %v; want five rows", s, err)
		}
		if n := queryOne[int](t, r.pool, `select count(*)::int from lethe.throttles`); n == 1 != may {
			t.Fatalf("%d rests; may note them: %t", n, may)
		}
	}
	execSQL(t, r.pool, `update lethe.throttles set until = clock_timestamp()`)
	s, err := r.Step(t.Context(), d, purge.Part{Limit: 10, ForegroundBackoff: 1e6})
	if err != nil || s.Held.Cause != "" || s.Rows == 0 {
		t.Fatalf("Step = %+v, %v; want some rows", s, err)
	}
	for what, yield := range map[string]float64{"yields": 1, "doesn't": 0} {
		s, err := other.Step(t.Context(), e, purge.Part{Limit: 10, ForegroundBackoff: yield})
		if err != nil || s.Held.Cause != purge.ForegroundLoad || s.Held.Left <= 0 || s.Held.Left > time.Second || s.Rows != 0 {
			t.Errorf("Step that %s = %+v, %v; want a rest of up to a second", what, s, err)
		}
	}
	if n := queryOne[int](t, r.pool, `select count(*)::int from lethe.throttles where until >= since + interval '1 s'`); n != 1 {
		t.Errorf("%d rests; want one, of a second", n)
	}
	execSQL(t, r.pool, `update lethe.throttles set until = clock_timestamp()`)
	if s, err := other.Step(t.Context(), e, purge.Part{Limit: 10}); err != nil || s.Held.Cause != "" || s.Rows != 10 {
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
	if rec, err := r.Hold(t.Context(), d, 0, purge.ReplicaLag, "s1 is behind"); err != nil || !rec.Mine || rec.LeaseLeft < 25*time.Second {
		t.Errorf("Hold = %+v, %v; want ours, with a new lease", rec, err)
	}
	wants(purge.ReplicaLag)
	execSQL(t, r.pool, `update lethe.deletions set lease_until = clock_timestamp() - interval '1 s'`)
	wants("") // its worker has gone
	if _, err := r.Hold(t.Context(), d, 0, purge.WALRetained, ""); err != nil {
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
	if _, err := r.Step(t.Context(), d, purge.Part{Limit: 10}); err != nil {
		t.Fatal(err)
	}
	wants("")
	stale := d
	stale.Token = purge.Token{9}
	if rec, err := r.Hold(t.Context(), stale, 0, purge.WALRetained, ""); err != nil || rec.Mine {
		t.Errorf("Hold without the lease = %+v, %v; want it not ours", rec, err)
	}
	wants("")
}

// A batch queues while others have all places, and gives up in time; it never has
// changed anything by then.
func TestAStepWithoutATurnWaitsAndChangesNothing(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	r := openRepo(t, Config{URL: url, Plan: plan.Bundled(), LongConcurrency: 2})
	d := claimed(t, r, "1", "g", 40)
	tx, err := openPool(t, url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select pg_advisory_xact_lock($1::int, p) from generate_series(1, 2) p`, turnClass); err != nil {
		t.Fatal(err)
	}
	s, err := r.Step(t.Context(), d, purge.Part{Limit: 10})
	if err != nil || s.Held != (purge.Held{Cause: purge.NoPermit}) {
		t.Errorf("Step = %+v, %v; want no turn", s, err)
	}
	if n := queryOne[int](t, r.pool, `select count(*)::int from chat.messages`); n != 39 {
		t.Errorf("%d messages; want 39", n)
	}
	done := make(chan purge.Step, 1)
	go func() {
		s, err := r.Step(t.Context(), d, purge.Part{Limit: 10})
		if err != nil {
			t.Error(err)
		}
		done <- s
	}()
	for queryOne[int](t, r.pool, `select count(*)::int from pg_locks where locktype = 'advisory' and not granted and classid = $1
		and database = (select oid from pg_database where datname = current_database())`, turnClass) == 0 {
		<-time.After(2 * time.Millisecond)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := <-done; s.Held.Cause != "" || s.Rows != 10 || s.Waited <= 0 {
		t.Errorf("Step = %+v; want ten rows, after a wait", s)
	}
}

func BenchmarkStep(b *testing.B) {
	for name, places := range map[string]int{"alone": 0, "with_a_budget": 2} {
		b.Run(name, func(b *testing.B) {
			r := openRepo(b, Config{URL: newDatabase(b), Plan: plan.Bundled(), LongConcurrency: places})
			d := claimed(b, r, "1", "g", 1)
			b.ReportAllocs()
			for b.Loop() { // batches of nothing: what each costs by itself
				if _, err := r.Step(b.Context(), d, purge.Part{Low: 1, Limit: 10}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
