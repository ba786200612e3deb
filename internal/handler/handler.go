// Package handler turns deliveries into outcomes: it decodes a command, has its
// history purged, announces what became of it, and only then settles the
// delivery. It never sees a message of the bus nor a statement of the database.
//
// A delivery goes through the express lane, where whatever has gathered shares
// one transaction. What is too large for that continues in the long lane, batch
// by batch.
package handler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/telemetry"
)

// Store is the ledger and the purge; *repo.Repo satisfies it. See there for
// what its methods promise. Each part of the handler needs a part of it.
type Store interface {
	// the express lane
	Incompatible(d purge.Deletion) (whole bool, err error)
	Unencodable(ctx context.Context, ds []purge.Deletion) (map[int]purge.Unencodable, error)
	Reopen(ctx context.Context, ds []purge.Deletion) error
	Bulk(ctx context.Context, b purge.Batch) (purge.Result, error)
	Single() bool

	// a deletion by itself, in either lane
	Step(ctx context.Context, d purge.Deletion, p purge.Part) (purge.Step, error)
	Kept(ctx context.Context, d purge.Deletion) (purge.Kept, error)
	Fail(ctx context.Context, d purge.Deletion, f purge.Failure) (purge.Record, error)
	Release(ctx context.Context, d purge.Deletion, low int64, waitingFor purge.ThrottleReason, detail string) error
	Blocker(ctx context.Context) string

	// the long lane
	Claim(ctx context.Context, d purge.Deletion) (purge.Record, error)
	Renew(ctx context.Context, d purge.Deletion, low int64, waitingFor purge.ThrottleReason, detail string) (purge.Record, error)
	Mark(ctx context.Context, d purge.Deletion, low, high int64) error
	Finish(ctx context.Context, d purge.Deletion) (purge.Record, error)
	ThrottleSlowBatch(ctx context.Context, left time.Duration, detail string) error

	watchStore
	detectorStore
	eraserStore
	enumeratorStore
	Probe(ctx context.Context) error
}

// detectorStore is what the fault detector needs of the database.
type detectorStore interface {
	Tables(ctx context.Context, d purge.Deletion) (purge.Tables, error)
	Examine(ctx context.Context) error
}

// Publisher stores announcements; *broker.Broker satisfies it.
type Publisher interface {
	// Publish returns nil only when every announcement is stored. A repetition
	// stores nothing twice within the stream's window.
	Publish(ctx context.Context, as []bus.Announcement) error
	// LetterRoom returns for how many bytes of dead letters about malformed commands
	// there is room; 0 or less for none.
	LetterRoom(ctx context.Context) (int64, error)
	// Progress is published at most once, and may be lost.
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
	Tracer    trace.Tracer       // nil for no traces
	Names     conversation.Names // of the installation, and of the shard where there are several databases

	Target       time.Duration // of a transaction; 50 ms
	MinRows      int           // the pace's smallest row limit; purge.DefaultMinRows
	MaxRows      int           // and its largest; purge.DefaultMaxRows
	PerDeletion  int           // messages that one deletion may lose in the express lane (--express-rows); DefaultExpressRows
	BatchSize    int           // deletions in one express batch; 512
	ExpressLanes int           // express batches at a time; DefaultExpressLanes
	LongLanes    int           // large deletions at a time; LongConcurrency, or 2 without permits
	Isolated     int           // deletions at a time that run isolated: they failed before, and may take long; 2
	MaxAttempts  int           // real failures that end a deletion; DefaultMaxAttempts
	Grace        time.Duration // what a statement in flight may still take at a stop; 5 s

	Limits purge.Limits // thresholds of the throttles; zero takes one off
	// LongConcurrency is the number of permits that all workers share; 0 for no permits.
	LongConcurrency   int
	ForegroundBackoff float64       // how many times as long as a batch the long lane waits while other clients are busy; 0 for not
	SlowBatch         time.Duration // from when a batch of the long lane is slow; twice Target
	WatchEvery        time.Duration // the longest time between two samples of the database; 1 s

	// Of shared logs.
	ErasePoll  time.Duration // the longest time between two looks for what other workers have left; 3 s
	SweepEvery time.Duration // from one look for floors that have risen without a command to the next; 40 s
}

// Defaults of [Config] that others need to know.
const (
	DefaultExpressRows  = 1000
	DefaultExpressLanes = 2 // more gained nothing (bench, S1)
	DefaultMaxAttempts  = 10
)

func (c Config) withDefaults() Config {
	def := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&c.MinRows, purge.DefaultMinRows)
	def(&c.MaxRows, purge.DefaultMaxRows)
	def(&c.PerDeletion, DefaultExpressRows)
	def(&c.BatchSize, 512)
	def(&c.ExpressLanes, DefaultExpressLanes)
	def(&c.LongLanes, c.LongConcurrency)
	def(&c.LongLanes, 2)
	def(&c.Isolated, 2)
	def(&c.MaxAttempts, DefaultMaxAttempts)
	if c.Target <= 0 {
		c.Target = purge.DefaultTarget
	}
	if c.ErasePoll <= 0 {
		c.ErasePoll = erasePoll
	}
	if c.SweepEvery <= 0 {
		c.SweepEvery = sweepEvery
	}
	if c.Grace <= 0 {
		c.Grace = 5 * time.Second
	}
	return c
}

func (c Config) pace() purge.Pace {
	return purge.Pace{Target: c.Target, Slow: c.SlowBatch, Min: c.MinRows, Max: c.MaxRows}
}

// errStopping is the cause of every context that a stop ends.
var errStopping = errors.New("the worker is stopping")

// Handler works on deliveries from [Handler.Start] to [Handler.Stop]. Safe for concurrent
// use.
type Handler struct {
	cfg          Config
	queue        *queue
	express      *pacer
	watcher      *watcher
	detector     *faultDetector
	eraser       *eraser
	enumerations *enumerations
	// lettersMu is held by whoever uses up the room for letters about malformed commands.
	lettersMu  sync.Mutex
	lockHolder lockHolder
	// One for each deletion that runs alone, isolated or in the long lane, or is in the wait
	// queue.
	singles, isolated, longRuns, waitQueue chan struct{}
	// pageRounds is held by a page of an enumeration in an express round.
	pageRounds sync.Mutex

	stopping   context.Context // done at once at a stop: start nothing new
	stop       context.CancelCauseFunc
	working    context.Context // done after the grace: give statements up
	giveUp     context.CancelCauseFunc
	goroutines sync.WaitGroup // all that Stop waits for
	outages    atomic.Int64   // since the last success
	// contended is when a try last got no permit, in nanoseconds since 1970.
	contended atomic.Int64
}

// New returns a handler that does nothing until [Handler.Start].
func New(cfg Config) *Handler {
	cfg = cfg.withDefaults()
	h := &Handler{
		cfg: cfg, queue: newQueue(), express: newPacer(cfg.pace(), cfg.Metrics.BatchLimit.WithLabelValues(expressLane)),
		singles: make(chan struct{}, cfg.ExpressLanes), isolated: make(chan struct{}, cfg.Isolated),
		longRuns: make(chan struct{}, cfg.LongLanes), waitQueue: make(chan struct{}, waitQueueLength),
	}
	h.stopping, h.stop = context.WithCancelCause(context.Background())
	h.working, h.giveUp = context.WithCancelCause(context.Background())
	h.detector = newFaultDetector(h)
	h.eraser = newEraser(h)
	h.enumerations = newEnumerations(h.stopping)
	h.watcher = &watcher{
		store: cfg.Store, gate: cfg.Gate, metrics: cfg.Metrics, log: cfg.Log, changed: make(chan struct{}),
		busy: func() bool { return len(h.longRuns) > 0 }, unavailable: h.unavailable,
		monitor: purge.Monitor{
			Limits: cfg.Limits, Interval: cfg.WatchEvery, ForegroundBackoff: cfg.ForegroundBackoff, Noise: cfg.pace().Noise(cfg.LongConcurrency),
		},
	}
	cfg.Metrics.BatchLimit.WithLabelValues(longLane).Set(float64(h.deletionPace().full.limit))
	for _, reason := range purge.ThrottleReasons() {
		cfg.Metrics.Throttled.WithLabelValues(string(reason)).Set(0)
		cfg.Metrics.ThrottledSeconds.WithLabelValues(string(reason)).Add(0)
	}
	return h
}

// Start finds out whether an operator has paused the lanes, which takes two seconds at
// most, and starts the loops, which only Stop ends. The caller must call Stop.
func (h *Handler) Start() {
	h.watch()
	if h.cfg.Store.Hides() {
		h.eraser.start()
	}
	for range h.cfg.ExpressLanes {
		h.goroutines.Go(h.expressLoop)
	}
}

// watch takes the first sample, and starts the watcher.
func (h *Handler) watch() {
	h.watcher.sample(h.stopping)
	h.goroutines.Go(func() { h.watcher.run(h.stopping) })
}

// Throttled returns what throttles the worker's lanes, in one line; "" for nothing.
// The worker is ready nevertheless: it works as it should.
func (h *Handler) Throttled() string { return h.watcher.summary() }

// Handle takes a delivery and returns at once; its slot is settled later, from
// another goroutine. It must not be called after Stop.
func (h *Handler) Handle(d bus.Delivery, s bus.Slot) {
	e := h.accept(d, s)
	e.describe()
	if e.enumeration != nil {
		e.enumeration.start()
		return
	}
	h.queue.push(e)
}

// Stop ends the work: no statement is begun any more, what is in flight may take
// the grace, and every delivery is settled, those that aren't finished for
// redelivery at once. It returns when the last goroutine has ended. A second call
// waits too.
func (h *Handler) Stop() {
	h.stop(errStopping)
	h.queue.close()
	grace := time.AfterFunc(h.cfg.Grace, func() { h.giveUp(errStopping) })
	defer grace.Stop()
	h.goroutines.Wait()
	if left := append(h.queue.drain(), h.detector.drain()...); len(left) > 0 {
		h.expressRound(left, false)
		h.goroutines.Wait()
	}
	h.giveUp(errStopping)
}
