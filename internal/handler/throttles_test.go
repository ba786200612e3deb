package handler_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

// throttled is a rig whose handler looks at the database often, takes what is above
// ten messages for long, and removes it in batches of a hundred rows.
func throttled(t *testing.T, address string, limits purge.Limits) *rig {
	t.Helper()
	return newRigOn(t, address, func(c *handler.Config) {
		c.Limits, c.WatchEvery, c.PerDeletion, c.MaxRows = limits, 40*time.Millisecond, 10, 100
	})
}

// until waits for cond.
func (r *rig) until(what string, cond func() bool) {
	r.Helper()
	over := time.After(30 * time.Second)
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-over:
			r.Fatalf("not within 30 s: %s; throttled: %q, ledger: %q, log:\n%s", what, r.h.Throttled(), r.waiting(), r.log)
		}
	}
}

// waiting is what the ledger says that the deletions wait for.
func (r *rig) waiting() (s string) {
	r.Helper()
	err := r.pool.QueryRow(r.Context(), `select coalesce(string_agg(distinct waiting_for, ' '), '') from lethe.deletions`).Scan(&s)
	if err != nil {
		r.Fatal(err)
	}
	return s
}

// left counts the messages.
func (r *rig) left() int { r.Helper(); return r.count(`select count(*) from chat.messages`) }

// held is the metrics' word on a cause.
func (r *rig) throttled(cause purge.ThrottleReason) float64 {
	r.Helper()
	var m dto.Metric
	if err := r.metrics.Throttled.WithLabelValues(string(cause)).Write(&m); err != nil {
		r.Fatal(err)
	}
	return m.GetGauge().GetValue()
}

// throttledSeconds is how long deletions were held by a cause.
func (r *rig) throttledSeconds(cause purge.ThrottleReason) float64 {
	r.Helper()
	return r.counted(r.metrics.ThrottledSeconds.WithLabelValues(string(cause)))
}

// counted is what a counter says.
func (r *rig) counted(c prometheus.Metric) float64 {
	r.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		r.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// isThrottled waits until a deletion is throttled, and asserts that this is reported
// everywhere, that nothing is deleted meanwhile, and that the lease lives on.
func (r *rig) isThrottled(cause purge.ThrottleReason) {
	r.Helper()
	r.until("the ledger says "+string(cause), func() bool { return strings.Contains(r.waiting(), string(cause)) })
	if r.throttled(cause) != 1 || !strings.Contains(r.h.Throttled(), string(cause)) {
		r.Errorf("lethe_throttled is %v, Held %q; want 1 and %s", r.throttled(cause), r.h.Throttled(), cause)
	}
	left := r.left()
	if cause == purge.SlowBatch {
		left = -1 // that only rests, and goes on
	}
	r.until("the progress says "+string(cause), func() bool { return r.pub.waits(string(cause)) })
	if now := r.left(); now == 0 || left >= 0 && now != left {
		r.Errorf("%d messages are left of %d: it was not held", now, left)
	}
	if n := r.count(`select count(*) from lethe.deletions where lease_until > clock_timestamp() + interval '2 s'`); n != 1 {
		r.Errorf("%d leases live on; want 1", n)
	}
	if s := r.log.String(); strings.Count(s, `msg=throttled reason=`+string(cause)) != 1 {
		r.Errorf("the log doesn't say once that %s holds:\n%s", cause, s)
	}
}

// goesOn waits until the deletion is done, and asserts that the throttle has let go.
func (r *rig) goesOn(cause purge.ThrottleReason, p *place) {
	r.Helper()
	if o := p.wait(r.T); o.Verdict != bus.Done {
		r.Errorf("outcome = %+v; want done", o)
	}
	if n, w := r.left(), r.waiting(); n != 0 || w != "" {
		r.Errorf("%d messages are left, and the ledger says that it waits for %q", n, w)
	}
	r.until("the throttle lets go", func() bool { return r.throttled(cause) == 0 })
	if s := r.log.String(); !strings.Contains(s, `msg="no longer throttled" reason=`+string(cause)) || r.throttledSeconds(cause) <= 0 {
		r.Errorf("held for %v s by the metrics; want more, and a word in the log:\n%s", r.throttledSeconds(cause), s)
	}
}

// A server of its own with a standby, an archiver and a slot; each makes its throttle
// take hold, and sees it let go.
func TestTheServersThrottles(t *testing.T) {
	t.Parallel()
	pg, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{Settings: map[string]string{"archive_mode": "on", "archive_command": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.Close() })
	standby, err := pg.StartStandby(t.Context(), "s1", localstack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	replica := connect(t, standby.URL())
	one := func(t *testing.T, limits purge.Limits) (r *rig, p *place) {
		t.Helper()
		address, _, err := pg.CreateDatabase(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r = throttled(t, address, limits)
		r.fill("g", 200_000)
		return r, r.send("1", "g")
	}
	on := func(t *testing.T, pool *pgxpool.Pool, sql string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}

	// One after the other: what they look at is the whole server's.
	t.Run("a standby that lags", func(t *testing.T) { //nolint:paralleltest // see above
		on(t, replica, `select pg_wal_replay_pause()`)
		r, p := one(t, purge.Limits{ReplicaLag: 200 * time.Millisecond})
		r.isThrottled(purge.ReplicaLag)
		on(t, replica, `select pg_wal_replay_resume()`)
		r.goesOn(purge.ReplicaLag, p)
	})
	t.Run("one that lags and is ignored", func(t *testing.T) { //nolint:paralleltest // see above
		on(t, replica, `select pg_wal_replay_pause()`)
		r, p := one(t, purge.Limits{ReplicaLag: time.Millisecond, IgnoreStandbys: []string{"other", "s1"}})
		if o := p.wait(t); o.Verdict != bus.Done || r.throttledSeconds(purge.ReplicaLag) > 0 {
			t.Errorf("outcome = %+v, held for %v s; want done and never held", o, r.throttledSeconds(purge.ReplicaLag))
		}
		on(t, replica, `select pg_wal_replay_resume()`)
	})
	t.Run("one that lags where the role may not see it", func(t *testing.T) { //nolint:paralleltest // see above
		on(t, replica, `select pg_wal_replay_pause()`)
		address, _, err := pg.CreateDatabase(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		admin := connect(t, address)
		if _, err := repo.Setup(t.Context(), address, repo.SetupOptions{SampleSchema: true}); err != nil {
			t.Fatal(err)
		}
		on(t, admin, `create role lowly login; grant usage on schema lethe, chat to lowly;
			grant all on all tables in schema lethe, chat to lowly; revoke update, insert on lethe.throttles from lowly`)
		r := throttled(t, asRole(t, address, "lowly"), purge.Limits{ReplicaLag: time.Millisecond, WALRetained: 1 << 40, LockWait: time.Hour})
		r.fill("g", 60_000)
		if o := r.send("1", "g").wait(t); o.Verdict != bus.Done {
			t.Errorf("outcome = %+v; want done", o)
		}
		if n := strings.Count(r.log.String(), `a throttle has no figures and is left out" reason=replica_lag`); n != 1 {
			t.Errorf("told %d times that the lag can't be seen; want once:\n%s", n, r.log)
		}
		on(t, replica, `select pg_wal_replay_resume()`)
	})
	t.Run("a slot that holds WAL back", func(t *testing.T) { //nolint:paralleltest // see above
		admin := connect(t, pg.URL())
		on(t, admin, `select pg_create_physical_replication_slot('left_behind', true)`)
		r, p := one(t, purge.Limits{WALRetained: 1 << 20})
		r.isThrottled(purge.WALRetained)
		if s := r.h.Throttled(); !strings.Contains(s, `replication slot "left_behind" holds`) {
			t.Errorf("throttled: %s; want the slot's name", s)
		}
		on(t, admin, `select pg_drop_replication_slot('left_behind')`)
		r.goesOn(purge.WALRetained, p)
	})
	t.Run("an archiver that fails", func(t *testing.T) { //nolint:paralleltest // see above
		admin := connect(t, pg.URL())
		on(t, admin, `alter system set archive_command = 'false'`)
		on(t, admin, `select pg_reload_conf()`)
		on(t, admin, `create table public.filler as select generate_series(1, 1000)`)
		on(t, admin, `select pg_switch_wal()`)
		r, p := one(t, purge.Limits{WALRetained: 1 << 20})
		r.isThrottled(purge.WALRetained)
		if s := r.h.Throttled(); !strings.Contains(s, `the archiver, which failed on `) {
			t.Errorf("throttled: %s; want the archiver", s)
		}
		on(t, admin, `alter system set archive_command = 'true'`)
		on(t, admin, `select pg_reload_conf()`)
		r.goesOn(purge.WALRetained, p)
	})
}

// connect opens a pool for the test.
func connect(t *testing.T, address string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// asRole is the address as another role.
func asRole(t *testing.T, address, role string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("user", role)
	u.RawQuery = q.Encode()
	return u.String()
}

// A batch has deleted its rows and waits for one that somebody holds; another
// session waits for the batch.
func TestSessionsThatWaitForOurLocksThrottle(t *testing.T) {
	t.Parallel()
	address := localtest.Database(t)
	r := newRigOn(t, address, func(c *handler.Config) {
		c.Limits = purge.Limits{LockWait: 50 * time.Millisecond}
		c.WatchEvery, c.PerDeletion, c.MaxRows, c.MinRows = 40*time.Millisecond, 10, 200, 200
		store, err := repo.Open(t.Context(), repo.Config{URL: address, Plan: plan.Bundled(), Target: 20 * time.Second}) // to wait for a lock
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		c.Store = store
	})
	r.fill("g", 20_000)
	holder, err := r.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release := sync.OnceFunc(func() { _ = holder.Rollback(context.Background()) })
	defer release()
	if _, err := holder.Exec(t.Context(), `select from chat.messages where seq = 15200 for update`); err != nil {
		t.Fatal(err)
	}
	p := r.send("1", "g")
	r.until("a batch waits for the row", func() bool {
		return r.count(`select count(*) from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.datname = current_database()`) > 0
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var waiting sync.WaitGroup
	waiting.Go(func() { // wants a row that the batch has deleted, again and again
		for ctx.Err() == nil {
			_, _ = r.pool.Exec(ctx, `update chat.messages set body = '{}' where seq = (select min(seq) from chat.messages)`)
		}
	})
	r.until("the throttle takes hold", func() bool { return r.throttled(purge.LockWaiters) == 1 })
	r.until("the log says so", func() bool { return strings.Contains(r.log.String(), "1 session waits for our locks") })
	cancel()
	release()
	waiting.Wait()
	if o := p.wait(t); o.Verdict != bus.Done {
		t.Errorf("outcome = %+v; want done", o)
	}
	r.until("the throttle lets go", func() bool { return r.throttled(purge.LockWaiters) == 0 })
}

// slowDeletes makes each statement that deletes messages take its time.
const slowDeletes = `create table public.slow as select 0.15::float8 as seconds;
	create function public.take_time() returns trigger language plpgsql as $$ begin perform pg_sleep((select sum(seconds) from public.slow)); return null; end $$;
	create trigger slow before delete on chat.messages for each statement execute function public.take_time()`

// Two workers: the one's slow batches let the other rest as well.
func TestASlowBatchThrottlesAllWorkers(t *testing.T) {
	t.Parallel()
	r := throttled(t, "", purge.Limits{})
	r.exec(slowDeletes)
	r.fill("g", 20_000)
	other, err := repo.Open(t.Context(), repo.Config{URL: r.url, Plan: plan.Bundled()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	p := r.send("1", "g")
	r.isThrottled(purge.SlowBatch)
	r.until("another worker's batch is held", func() bool {
		s, err := other.Step(t.Context(), purge.Deletion{}, purge.Part{Long: true, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		return s.Throttled.Reason == purge.SlowBatch && s.Throttled.Left > 0 && strings.Contains(s.Throttled.Detail, "rows took")
	})
	r.exec(`delete from public.slow`)
	r.goesOn(purge.SlowBatch, p)
}

// People are at work in the database: large deletions leave them most of the time.
// Nobody is: they don't.
func TestLargeDeletionsBackOffForOtherClients(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *handler.Config) {
		c.ForegroundBackoff, c.WatchEvery, c.PerDeletion, c.MaxRows = 4, 40*time.Millisecond, 10, 100
	})
	r.fill("alone", 3000)
	if o := r.send("1", "alone").wait(t); o.Verdict != bus.Done {
		t.Fatalf("outcome = %+v; want done", o)
	}
	if rested := r.counted(r.metrics.ForegroundBackoffSeconds); rested != 0 {
		t.Errorf("rested for %v s while nobody was there", rested)
	}
	r.fill("amid", 3000)
	ctx, leave := context.WithCancel(t.Context())
	var people sync.WaitGroup
	defer people.Wait()
	defer leave()
	people.Go(func() {
		for ctx.Err() == nil {
			if _, err := r.pool.Exec(ctx, `select 1`); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	const made = `select xact_commit::int from pg_stat_database where datname = current_database()`
	start := r.count(made)
	r.until("the server knows of them", func() bool { return r.count(made) > start+1000 })
	began := time.Now()
	if o := r.send("2", "amid").wait(t); o.Verdict != bus.Done {
		t.Fatalf("outcome = %+v; want done", o)
	}
	took, rested := time.Since(began).Seconds(), r.counted(r.metrics.ForegroundBackoffSeconds)
	if rested < took/3 || rested > took {
		t.Errorf("rested for %.3f s of %.3f; want most of it", rested, took)
	}
	if r.waiting() != "" || r.pub.waits(string(purge.ForegroundLoad)) {
		t.Error("a rest for the sake of others is told as something that holds the deletion")
	}
}

// Small deletions come one after the other: somebody waits for each of them.
func TestLargeDeletionsBackOffForSmallOnes(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *handler.Config) {
		c.ForegroundBackoff, c.WatchEvery, c.PerDeletion, c.MaxRows = 4, 40*time.Millisecond, 10, 100
		c.LongConcurrency = 64 // this test's own transactions are noise
	})
	r.fill("g", 20_000)
	large := r.send("1", "g")
	n := 1
	r.until("it yields", func() bool {
		n++
		id := fmt.Sprint(n)
		r.fill(id, 5)
		if o := r.send(id, id).wait(t); o.Verdict != bus.Done {
			t.Fatalf("outcome = %+v; want done", o)
		}
		return r.counted(r.metrics.ForegroundBackoffSeconds) > 0
	})
	if o := large.wait(t); o.Verdict != bus.Done {
		t.Errorf("outcome = %+v; want done", o)
	}
}

// What an operator's pause finds in flight stays there, and goes back at a stop.
func TestAPauseOfAllLanesHoldsWhatIsInFlight(t *testing.T) {
	t.Parallel()
	r := throttled(t, "", purge.Limits{})
	r.fill("a", 5)
	r.fill("b", 5)
	r.exec(`insert into lethe.throttles (lane, reason) values ('all', 'paused')`)
	r.until("the worker takes no commands", func() bool { return r.throttled(purge.Paused) == 1 })
	if r.gate.Reason() != "" {
		t.Errorf("the worker isn't ready: %s", r.gate.Reason())
	}
	first := r.send("1", "a")
	looks := time.After(200 * time.Millisecond) // five of them
	select {
	case o := <-first.settled:
		t.Fatalf("settled as %+v during the pause", o)
	case <-looks:
	}
	if n := r.count(`select count(*) from lethe.commands`); n != 0 || r.left() != 10 {
		t.Errorf("%d commands in the ledger, %d messages; want none taken up, and 10", n, r.left())
	}
	r.exec(`delete from lethe.throttles`)
	if o := first.wait(t); o.Verdict != bus.Done {
		t.Errorf("outcome = %+v; want done after the pause", o)
	}
	if err := r.gate.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	r.exec(`insert into lethe.throttles (lane, reason) values ('all', 'paused')`)
	r.until("the worker takes no commands", func() bool { return r.throttled(purge.Paused) == 1 })
	second := r.send("2", "b")
	r.h.Stop()
	if o := second.wait(t); o.Verdict != bus.Retry || o.Delay != 0 {
		t.Errorf("outcome = %+v; want it back at once", o)
	}
}

// A look that fails stops nothing.
func TestWhatCannotBeWatchedIsNotThrottled(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, "", func(c *handler.Config) {
		c.Store = sightless{c.Store}
		c.Limits, c.WatchEvery, c.PerDeletion, c.MaxRows = purge.Limits{ReplicaLag: 1, WALRetained: 1, LockWait: 1}, time.Millisecond, 10, 100
		c.SlowBatch = time.Hour // which needs no sight
	})
	r.fill("g", 20_000)
	if o := r.send("1", "g").wait(t); o.Verdict != bus.Done {
		t.Errorf("outcome = %+v; want done", o)
	}
	if n := strings.Count(r.log.String(), "can't be watched"); n != 1 {
		t.Errorf("told %d times; want once:\n%s", n, r.log)
	}
	if r.h.Throttled() != "" || r.gate.Reason() != "" {
		t.Errorf("throttled: %q, gate: %q", r.h.Throttled(), r.gate.Reason())
	}
}

// recordDeletes notes when each statement that deletes messages begins and ends.
const recordDeletes = `create table public.spans (began timestamptz, ended timestamptz);
	create function public.begin_span() returns trigger language plpgsql as $$
		begin perform set_config('test.began', clock_timestamp()::text, true); perform pg_sleep(0.002); return null; end $$;
	create function public.end_span() returns trigger language plpgsql as $$
		begin insert into public.spans values (current_setting('test.began')::timestamptz, clock_timestamp()); return null; end $$;
	create trigger begin_span before delete on chat.messages for each statement execute function public.begin_span();
	create trigger end_span after delete on chat.messages for each statement execute function public.end_span()`

// Ten workers of one long deletion each: two batches at a time, and all get on.
func TestTenWorkersSharePermits(t *testing.T) {
	t.Parallel()
	const workers, budget, messages = 10, 2, 2000
	r := newRig(t, nil)
	var places []*place
	for i := range workers {
		r.fill(fmt.Sprint("g", i), messages)
	}
	r.exec(`insert into lethe.throttles (lane, reason) values ('long', 'paused')`)
	for i := range workers {
		store, err := repo.Open(t.Context(), repo.Config{URL: r.url, Plan: plan.Bundled(), Lease: shortLease, LongConcurrency: budget, MaxConns: 4})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		w := &rig{T: t, pub: r.pub, gate: handler.NewGate(nil)}
		w.h = handler.New(handler.Config{
			Store: store, Publisher: r.pub, Gate: w.gate, Log: slog.New(slog.DiscardHandler), Metrics: r.metrics,
			PerDeletion: 10, MinRows: 20, MaxRows: 20, ExpressLanes: 1, WatchEvery: 20 * time.Millisecond,
		})
		w.h.Start()
		t.Cleanup(w.h.Stop)
		places = append(places, w.send(fmt.Sprint("c", i), fmt.Sprint("g", i)))
	}
	r.until("all are in the long lane", func() bool {
		return r.count(`select count(*) from lethe.deletions where messages_deleted >= 10 and waiting_for = 'paused'`) == workers
	})
	r.exec(recordDeletes)
	r.exec(`delete from lethe.throttles`)
	fair := false
	r.until("all are done", func() bool {
		done := r.count(`select count(*) from lethe.deletions where state = 'done'`)
		fair = fair || done == 0 && r.count(`select min(messages_deleted) from lethe.deletions`) > messages/4
		return done == workers
	})
	for _, p := range places {
		if o := p.wait(t); o.Verdict != bus.Done {
			t.Errorf("outcome = %+v; want done", o)
		}
	}
	most := r.count(`select max(n) from (select count(*) as n from public.spans a
		join public.spans b on b.began <= a.began and b.ended > a.began group by a.ctid) s`)
	if most != budget {
		t.Errorf("%d batches deleted at the same moment; want %d", most, budget)
	}
	if !fair {
		t.Error("a deletion was done before all others had come a quarter of their way: the turns aren't fair")
	}
}

// logText is a log that can be read while it is written.
type logText struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// That all of a worker's own connections are in use, by what takes long, is no outage:
// what is small has others, and goes on.
func TestAWatchWithoutAConnectionIsNoOutage(t *testing.T) {
	t.Parallel()
	url := localtest.Database(t)
	if _, err := repo.Setup(t.Context(), url, repo.SetupOptions{SampleSchema: true}); err != nil {
		t.Fatal(err)
	}
	store, err := repo.Open(t.Context(), repo.Config{URL: url, Plan: plan.Bundled(), MaxConns: 3, ExpressConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	r := newRigOn(t, url, func(c *handler.Config) {
		c.Store, c.WatchEvery = store, 10*time.Millisecond
		c.Gate = handler.NewGate(func(cause string, closed bool) {
			if closed {
				t.Errorf("the gate was closed by %q", cause)
			}
		})
	})
	r.exec(`create function slow() returns trigger language plpgsql as $$ begin
		if old.conversation_id = 'slow' then perform pg_sleep(5); end if; return old; end $$;
		create trigger slow before delete on chat.messages for each row execute function slow()`)
	r.fill("slow", 1)
	slow := r.send("slow", "slow")
	r.fill("small", 1)
	r.send("small", "small").wait(t)
	slow.wait(t)
	if !strings.Contains(r.log.String(), "no connection is free") {
		t.Errorf("the watch has had a connection all the while; the log:\n%s", r.log)
	}
}
