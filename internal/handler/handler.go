// Package handler turns deliveries into outcomes: it decodes a command, has its
// history purged, announces what became of it, and only then settles the
// delivery. It never sees a message of the bus nor a statement of the database.
//
// A delivery goes through the express lane, where whatever has gathered shares
// one transaction. What is too large for that goes on in the long lane, batch
// by batch.
package handler

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/telemetry"
)

// expressStore is what the express lane needs of the ledger.
type expressStore interface {
	Bulk(ctx context.Context, b purge.Batch) (purge.Result, error)
	Reopen(ctx context.Context, ds []purge.Deletion) error
	Incompatible(d purge.Deletion) (whole bool, err error)
	Unencodable(ctx context.Context, ds []purge.Deletion) (map[int]purge.Unencodable, error)
	Kept(ctx context.Context, d purge.Deletion) (purge.Kept, error)
}

// longStore is what the long lane needs of it.
type longStore interface {
	Claim(ctx context.Context, d purge.Deletion) (purge.Record, error)
	Step(ctx context.Context, d purge.Deletion, p purge.Part) (purge.Step, error)
	Mark(ctx context.Context, d purge.Deletion, low, high int64) error
	Finish(ctx context.Context, d purge.Deletion) (purge.Record, error)
	Release(ctx context.Context, d purge.Deletion, low int64, waitingFor purge.ThrottleReason, detail string) error
	Renew(ctx context.Context, d purge.Deletion, low int64, waitingFor purge.ThrottleReason, detail string) (purge.Record, error)
	ThrottleSlowBatch(ctx context.Context, left time.Duration, detail string) error
	Blocker(ctx context.Context) string
}

// detectorStore is what the fault detector needs of the database.
type detectorStore interface {
	Tables(ctx context.Context, d purge.Deletion) (purge.Tables, error)
	Examine(ctx context.Context) error
}

// Store is the ledger and the purge; *repo.Repo satisfies it. See there for
// what its methods promise.
type Store interface {
	expressStore
	longStore
	watchStore
	Fail(ctx context.Context, d purge.Deletion, f purge.Failure) (purge.Record, error)
	Probe(ctx context.Context) error
	detectorStore
}

// Publisher stores announcements; *broker.Broker satisfies it.
type Publisher interface {
	// Publish returns nil only when every announcement is stored. A repetition
	// stores nothing twice within the stream's window.
	Publish(ctx context.Context, as []bus.Announcement) error
	// LetterRoom returns for how many bytes of dead letters about malformed commands
	// there is room; 0 or less for none.
	LetterRoom(ctx context.Context) (int64, error)
	// Progress is told and forgotten.
	Progress(p conversation.Deleting, trace conversation.Trace)
}

// Config is what a [Handler] needs. Store, Publisher, Gate, Metrics and Log are
// required; for the numbers zero means the default.
type Config struct {
	Store     Store
	Publisher Publisher
	Gate      *Gate
	Metrics   *telemetry.Metrics
	Log       *slog.Logger
	Tracer    trace.Tracer // nil for no traces

	Target       time.Duration // of a transaction; 50 ms
	MinRows      int           // the pace's least row limit; 50
	MaxRows      int           // and its greatest; 50,000
	PerDeletion  int           // messages that one deletion may lose in the express lane; 1,000
	BatchSize    int           // deletions in one express batch; 256
	ExpressLanes int           // express batches at a time; 2: more gained nothing
	LongLanes    int           // long deletions at a time; 2
	MaxAttempts  int           // real failures that end a deletion; 10
	Grace        time.Duration // what a statement in flight may still take at a stop; 5 s

	Limits purge.Limits // thresholds of the throttles; zero takes one off
	// LongConcurrency is the budget of all workers: [repo.Config]'s.
	LongConcurrency   int
	ForegroundBackoff float64       // how many times as long as a batch the long lane rests while others are at work; 0 for not
	SlowBatch         time.Duration // from when a batch of the long lane is slow; twice Target
	WatchEvery        time.Duration // the longest time between two looks at the database; 1 s
}

func (c Config) withDefaults() Config {
	def := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&c.MinRows, 50)
	def(&c.MaxRows, 50_000)
	def(&c.PerDeletion, 1000)
	def(&c.BatchSize, 256)
	def(&c.ExpressLanes, 2)
	def(&c.LongLanes, 2)
	def(&c.MaxAttempts, 10)
	if c.Target <= 0 {
		c.Target = purge.DefaultTarget
	}
	if c.Grace <= 0 {
		c.Grace = 5 * time.Second
	}
	if c.WatchEvery <= 0 {
		c.WatchEvery = time.Second
	}
	return c
}

// errStopping is the cause of every context that a stop ends.
var errStopping = errors.New("the worker is stopping")

// Handler works on deliveries from [Handler.Start] to [Handler.Stop]. Safe for concurrent
// use.
type Handler struct {
	cfg      Config
	queue    *queue
	express  *pacer
	long     *pacer
	modest   *pacer // of batches of the long lane that yield
	watcher  *watcher
	detector *faultDetector
	// lettersMu is held by the lane that uses up the room for letters about malformed commands.
	lettersMu sync.Mutex
	blocked   blocked
	places    chan struct{} // taken by long deletions
	line      chan struct{} // taken by those who wait for such a place

	stopping context.Context // done at once at a stop: start nothing new
	stop     context.CancelCauseFunc
	working  context.Context // done after the grace: give statements up
	giveUp   context.CancelCauseFunc
	lanes    sync.WaitGroup
	troubles atomic.Int64 // outages since the last success
}

// New returns a handler that does nothing until [Handler.Start].
func New(cfg Config) *Handler {
	cfg = cfg.withDefaults()
	pace := purge.Pace{Target: cfg.Target, Slow: cfg.SlowBatch, Min: cfg.MinRows, Max: cfg.MaxRows}
	h := &Handler{
		cfg: cfg, queue: newQueue(), places: make(chan struct{}, cfg.LongLanes), line: make(chan struct{}, lineLength),
		express: newPacer(pace, cfg.Metrics.BatchLimit.WithLabelValues("express")),
		long:    newPacer(pace, cfg.Metrics.BatchLimit.WithLabelValues("long")),
	}
	pace.Target /= yieldPart
	h.modest = newPacer(pace, cfg.Metrics.BatchLimit.WithLabelValues("long"))
	h.stopping, h.stop = context.WithCancelCause(context.Background())
	h.working, h.giveUp = context.WithCancelCause(context.Background())
	h.detector = newFaultDetector(h)
	h.watcher = &watcher{
		store: cfg.Store, gate: cfg.Gate, metrics: cfg.Metrics, log: cfg.Log, changed: make(chan struct{}),
		busy: func() bool { return len(h.places) > 0 }, unavailable: h.pause,
		monitor: purge.Monitor{
			Limits: cfg.Limits, Interval: cfg.WatchEvery, ForegroundBackoff: cfg.ForegroundBackoff, Noise: h.long.pace.Noise(cfg.LongConcurrency),
		},
	}
	for _, reason := range purge.ThrottleReasons() {
		cfg.Metrics.Throttled.WithLabelValues(string(reason)).Set(0)
		cfg.Metrics.ThrottledSeconds.WithLabelValues(string(reason)).Add(0)
	}
	return h
}

// Start finds out whether an operator has paused the lanes, which takes two seconds at
// most, and starts the loops, which only Stop ends. The caller must call Stop.
func (h *Handler) Start() {
	h.watcher.sample(h.stopping)
	h.lanes.Go(func() { h.watcher.run(h.stopping) })
	for range h.cfg.ExpressLanes {
		h.lanes.Go(h.expressLane)
	}
}

// Throttled returns what throttles the worker's lanes, in one line; "" for nothing.
// The worker is ready nevertheless: it works as it should.
func (h *Handler) Throttled() string { return h.watcher.summary() }

// Handle takes a delivery and returns at once; its place is settled later, from
// another goroutine. It must not be called after Stop.
func (h *Handler) Handle(d bus.Delivery, p bus.Slot) {
	e := h.accept(d, p)
	e.describe()
	h.queue.push(e)
}

// Stop ends the work: no statement is begun any more, what is in flight may take
// the grace, and every delivery is settled, those that aren't finished for
// redelivery at once. It returns when the last lane has ended. A second call
// waits too.
func (h *Handler) Stop() {
	h.stop(errStopping)
	h.queue.close()
	patience := time.AfterFunc(h.cfg.Grace, func() { h.giveUp(errStopping) })
	defer patience.Stop()
	h.lanes.Wait()
	for _, e := range append(h.queue.drain(), h.detector.drain()...) {
		h.handBack(e)
	}
	h.giveUp(errStopping)
}

// handBack settles what nobody will work on.
func (h *Handler) handBack(e entry) {
	if len(e.tasks) == 0 {
		e.job.end(bus.Outcome{Verdict: bus.Retry})
		return
	}
	for _, t := range e.tasks {
		if t.again {
			h.release(t, 0)
		}
		h.park(t, 0)
	}
}

// spread is a random number in [0, 1) for delays.
func spread() float64 { return rand.Float64() } //nolint:gosec // no secret
