package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
	"github.com/lethe-im/lethe/internal/retry"
	"github.com/lethe-im/lethe/internal/telemetry"
	"github.com/lethe-im/lethe/internal/tracing"
)

const (
	// stopLimit is within the 10 s that a stop may take in all.
	stopLimit = 9500 * time.Millisecond
	// stopGrace is what a statement in flight may still take at a stop.
	stopGrace = 5 * time.Second
)

// runCommand is `worker run`.
type runCommand struct {
	config
}

// Help is the long form of the subcommand's help.
func (c *runCommand) Help() string {
	return `Any number of workers may run at once; they share the work. A worker that can't reach NATS or Postgres, or that finds no
setup, stays alive but isn't ready, reports why in /readyz and in the log, and continues by itself. A plan that doesn't fit the
database, or a wrong setting, ends it with a line for each problem; what --setup has done before stays. On SIGTERM it stops within
10 s, and another worker continues from the last committed batch; a second signal ends it at once.

With OTEL_EXPORTER_OTLP_ENDPOINT set it sends traces there, by OTLP over HTTP; OpenTelemetry's other variables are read as well.

    DATABASE_URL=postgres://lethe@db/app NATS_URL=nats://nats:4222 worker run
    worker run --setup --plan plan.yaml --http-addr 127.0.0.1:8081 --log-format json
    curl -s localhost:8080/readyz`
}

func (c *runCommand) check() problems { return c.config.check() }

func (c *runCommand) run(ctx context.Context, t terminal) error {
	test, found := parseLimits(t.getenv(testLimits))
	share, err := shareOut(c.MaxConns, c.LongConcurrency, test)
	if err != nil {
		found = append(found, err)
	}
	if found = append(found, tracing.Check(t.getenv)...); len(found) > 0 {
		return &usageError{"worker run", found}
	}
	plan, err := c.load()
	if err != nil {
		return err
	}
	for {
		w := newWorker(c.config, plan, c.named(c.logger(t.err)))
		w.getenv, w.test, w.share = t.getenv, test, share
		err = w.start(ctx)
		if err == nil {
			err = w.untilEnd(ctx)
		}
		restart := errors.Is(err, errTablesChanged)
		if ctx.Err() != nil {
			w.log.Info("stopping", "cause", context.Cause(ctx))
			restart, err = false, nil // what the stop has interrupted is no failure
		}
		if !restart {
			return errors.Join(err, w.stop(context.WithoutCancel(ctx)))
		}
		w.log.Info("tables have changed and fit the plan; restarting the worker in place")
		if err := w.stop(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}

// worker is the running service: its parts, and what ends them.
type worker struct {
	cfg   config
	test  limits
	share shares
	plan  plan.Plan
	log   *slog.Logger

	getenv  func(string) string // for tracing, whose variables are not ours
	tracer  trace.Tracer        // nil for no traces
	gate    *handler.Gate
	metrics *telemetry.Metrics
	parts   closers
	pulling *task
	ledger  string                          // its id, "" where that isn't known
	changed chan struct{}                   // closed when the worker has to restart
	broker  atomic.Pointer[broker.Broker]   // for the metrics, which are there first
	handler atomic.Pointer[handler.Handler] // for /readyz, which is there first
}

func newWorker(cfg config, plan plan.Plan, log *slog.Logger) *worker {
	w := &worker{cfg: cfg, plan: plan, log: log, changed: make(chan struct{})}
	w.metrics = telemetry.New(cfg.names().InShard(cfg.shard()), func() float64 {
		if b := w.broker.Load(); b != nil {
			return b.OldestInFlight().Seconds()
		}
		return 0
	})
	w.metrics.Target.Set(cfg.Target.Seconds())
	w.metrics.Build.WithLabelValues(buildOf().Version, buildOf().Revision).Set(1)
	w.gate = handler.NewGate(func(cause string, closed bool) {
		w.metrics.NotPulling.WithLabelValues(cause).Set(map[bool]float64{true: 1}[closed])
	})
	w.gate.Close("start", "starting")
	return w
}

// start opens all parts in order. The HTTP server comes first, since it reports what the
// others wait for.
func (w *worker) start(ctx context.Context) error {
	b := buildOf()
	w.log.Info("starting", "version", b.Version, "revision", b.Revision)
	w.test.warn(w.log)
	traces, err := tracing.Open(ctx, tracing.Config{Getenv: w.getenv, Version: b.Version, Shard: w.cfg.Shard, Spans: w.metrics.Spans, Log: w.log})
	if err != nil {
		return err
	}
	w.tracer = traces.Tracer()
	w.parts.add("tracing", traces.Close) // as the last part, with the spans of all others
	http, err := serveHTTP(ctx, w.cfg.HTTPAddr, w.metrics.Registry, readiness{w.gate.Reason, w.throttled, w.altered}, w.log)
	if err != nil {
		return err
	}
	w.parts.add("http", http.close)
	w.log.Info("serving /livez, /readyz and /metrics", "addr", http.listener.Addr().String())
	nats, err := broker.Connect(ctx, w.brokerConfig())
	if err != nil {
		return err
	}
	w.broker.Store(nats)
	w.parts.add("nats", func(context.Context) error { return nats.Close() })
	if w.cfg.Setup {
		if err := w.setup(ctx, nats); err != nil {
			return err
		}
	}
	watch := backlogWatch{source: nats, shown: w.metrics.Backlog, every: backlogEvery, log: w.log}
	w.parts.add("backlog", start(context.WithoutCancel(ctx), watch.run).stop)
	store, err := w.openRepo(ctx)
	if err != nil {
		return err
	}
	w.parts.add("postgres", func(context.Context) error { store.Close(); return nil })
	w.metrics.WatchPool(func() telemetry.Pool { return telemetry.Pool(store.Pool()) })
	check := &recheck{store: store, gate: w.gate, log: w.log, changed: func() { close(w.changed) }, identify: w.identify(store)}
	check.warn(store.Warnings())
	w.parts.add("recheck", start(context.WithoutCancel(ctx), check.run).stop)
	w.work(context.WithoutCancel(ctx), nats, store)
	w.gate.Open("start")
	w.parts.add("readiness", start(context.WithoutCancel(ctx), w.logWorking).stop)
	return nil
}

// logWorking logs once that nothing keeps the worker from pulling commands.
func (w *worker) logWorking(ctx context.Context) error {
	if w.gate.Wait(ctx) == nil { // not stopped before
		w.log.Info("working", "target", w.cfg.Target, "connections", w.cfg.MaxConns, "express", w.share.express, "long", w.share.long)
	}
	return nil
}

func (w *worker) brokerConfig() broker.Config {
	c := w.cfg.brokerConfig("lethe-worker")
	c.Names, c.Metrics, c.Log, c.Gate = c.Names.InShard(w.cfg.shard()), w.metrics, w.log, w.gate
	return c
}

// openRepo opens the database, for as long as it takes. A plan that doesn't fit
// the database is an error, but only once a setup has been run, which may be
// what makes it fit.
func (w *worker) openRepo(ctx context.Context) (*repo.Repo, error) {
	var store *repo.Repo
	err := w.await(ctx, "database", func() error {
		if err := w.askLedger(ctx); err != nil {
			return err
		}
		var err error
		store, err = repo.Open(ctx, repo.Config{
			URL: w.cfg.DatabaseURL, Plan: w.plan, Target: w.cfg.Target, Lease: w.broker.Load().AckWait,
			StatementTimeout: w.test.statementTimeout, MaxConns: int32(w.cfg.MaxConns), ExpressConns: int32(w.share.express),
			AllowUnindexed: w.cfg.AllowUnindexed, LongConcurrency: w.cfg.LongConcurrency,
		})
		return err
	})
	return store, w.cfg.unnamed(err)
}

// askLedger is nil if the ledger is there, and that of the shard. It keeps no connection,
// since there may be few. The broker learns which ledger it is.
func (w *worker) askLedger(ctx context.Context) error {
	ledger, err := repo.OpenLedger(ctx, w.cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer ledger.Close()
	if _, err := ledger.Settings(ctx, ""); err != nil {
		return err
	}
	if _, err := ledger.Shard(ctx, w.cfg.Shard); err != nil {
		return err
	}
	w.ledger, err = ledger.ID(ctx)
	w.broker.Load().ForLedger(w.ledger)
	return err
}

// identify returns a function that lets the broker know if the ledger is another one meanwhile: the database was
// replaced, is a copy that was given its own id, or has one since a setup that has come after this worker.
func (w *worker) identify(store *repo.Repo) func(context.Context) {
	known := w.ledger
	return func(ctx context.Context) {
		if id, err := store.LedgerID(ctx); err == nil && id != "" && id != known {
			if known != "" {
				w.log.Warn("the database has another ledger", "was", known, "is", id)
			}
			known = id
			w.broker.Load().ForLedger(id)
		}
	}
}

// await retries op while the infrastructure is at fault or another session holds a lock,
// as a migration does. Meanwhile the gate is closed for reason. Each error is logged once.
func (w *worker) await(ctx context.Context, reason string, op func() error) error {
	defer w.gate.Open(reason)
	logged := ""
	_, err := retry.Do(ctx, retry.Policy{First: 100 * time.Millisecond, Max: 5 * time.Second}, func() (struct{}, error) { return struct{}{}, op() }, func(err error) bool {
		if fault, _ := purge.FaultOf(err); fault != purge.Infrastructure && fault != purge.Contention {
			return false
		}
		w.gate.Close(reason, err.Error())
		if logged != err.Error() {
			logged = err.Error()
			w.log.Warn("not ready; retrying", "reason", reason, "error", err)
		}
		return true
	})
	return err
}

// work starts the handler, the pulling and the retention. They don't end with ctx but
// when they are stopped.
func (w *worker) work(ctx context.Context, nats *broker.Broker, store *repo.Repo) {
	pace := w.test.pace(w.cfg.Target)
	h := handler.New(handler.Config{
		Names: w.cfg.names().InShard(w.cfg.shard()), Store: store, Publisher: nats, Gate: w.gate, Metrics: w.metrics, Log: w.log, Tracer: w.tracer,
		Target: w.cfg.Target, MinRows: pace.Min, MaxRows: pace.Max, SlowBatch: pace.Slow, PerDeletion: w.cfg.ExpressRows,
		BatchSize: w.test.batchSize, ExpressLanes: w.share.express, LongLanes: w.share.long, Isolated: w.share.isolated,
		MaxAttempts: w.cfg.MaxAttempts, Grace: stopGrace, Limits: w.cfg.limits(w.cfg.Target), ForegroundBackoff: w.cfg.ForegroundBackoff, LongConcurrency: w.cfg.LongConcurrency,
		ErasePoll: w.test.erasePoll, SweepEvery: w.test.sweepEvery,
	})
	h.Start()
	w.handler.Store(h)
	w.parts.add("acknowledgements", nats.Settled)
	w.parts.add("handler", func(context.Context) error { h.Stop(); return nil }) //nolint:contextcheck // it bounds itself by stopGrace
	w.pulling = start(ctx, func(ctx context.Context) error { return nats.Run(ctx, h.Handle) })
	w.parts.add("pulling", w.pulling.stop)
	if w.cfg.LedgerRetention > 0 {
		r := retention{store: store, age: w.cfg.LedgerRetention, expired: w.metrics.LedgerExpired, log: w.log}
		w.parts.add("retention", start(ctx, r.run).stop)
	}
}

// throttled is what pauses or throttles the worker's lanes; "" for nothing.
func (w *worker) throttled() string {
	if h := w.handler.Load(); h != nil {
		return h.Throttled()
	}
	return ""
}

// altered is what about the streams and the consumer isn't as setup makes it.
func (w *worker) altered() string {
	if b := w.broker.Load(); b != nil {
		return b.Notice()
	}
	return ""
}

// stop ends all parts, last first. It may be called after a start that failed.
func (w *worker) stop(ctx context.Context) error {
	w.gate.Close("stop", "stopping")
	began := time.Now()
	if err := w.parts.close(ctx, stopLimit, w.log); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	w.log.Info("stopped", "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// untilEnd waits for the stop, or until the worker has to restart. If the pulling ends
// before, that is an error which only a new process mends.
func (w *worker) untilEnd(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-w.changed:
		return errTablesChanged
	case <-w.pulling.done:
		return errors.Join(errors.New("not pulling commands: the connection to NATS was closed for good"), w.pulling.err)
	}
}

// setup is `worker run --setup`: it retries while something is unavailable or not
// permitted yet.
func (w *worker) setup(ctx context.Context, b *broker.Broker) error {
	ledger := ""
	err := w.await(ctx, "database", func() error {
		report, err := repo.Setup(ctx, w.cfg.DatabaseURL, repo.SetupOptions{Shard: w.cfg.Shard})
		if err == nil {
			w.logPart(schemaPart(report))
			ledger = report.Ledger
		}
		return err
	})
	if err != nil {
		return err
	}
	return w.await(ctx, "streams", func() error {
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		report, err := b.Setup(limited, broker.SetupOptions{Ledger: ledger})
		for _, p := range streamParts(report) {
			w.logPart(p)
		}
		if err != nil { // whatever it is, an operator can mend it meanwhile
			return &purge.FaultError{Fault: purge.Infrastructure, Cause: "streams", Err: err}
		}
		return nil
	})
}

func (w *worker) logPart(p setupPart) {
	if p.Action == "created" || p.Action == "updated" {
		w.log.Info("setup", "kind", p.Kind, "name", p.Name, "action", p.Action, "changes", p.Changes)
	}
}
