package handler

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// lookTimeout ends a look at a database that doesn't answer.
	lookTimeout = 2 * time.Second
	// longestBlind is the longest time between two looks while they fail.
	longestBlind = 5 * time.Second
	// slowMemory is how long the last slow batch is remembered: one that isn't
	// slow, on another deletion, doesn't mean that the database is quick again.
	slowMemory = 3 * time.Second
	// smallMemory is how long large deletions yield in full after a small one:
	// somebody waits for each of them, and another may follow.
	smallMemory = time.Second
)

// throttles know what holds this worker's lanes back. The operator's pauses are
// looked for about once a second, the figures of the other throttles too while there
// is long work. Safe for concurrent use.
type throttles struct {
	h       *Handler
	looking sync.Mutex // one look at a time; guards trail, traffic and blind
	trail   purge.Trail
	traffic purge.Traffic                 // others'
	blind   map[purge.ThrottleReason]bool // throttles whose figures were reported as unreadable

	mu      sync.Mutex // guards what follows
	now     purge.Throttles
	pauses  []purge.Pause
	looked  time.Time // the last look at all figures
	failing int       // looks in a row
	owed    float64   // purge.Traffic's share
	small   time.Time // when the last small deletion was finished
	slow    time.Time // the last slow batch
	permits string    // which sessions have permits without a batch, for people; "" for none
	since   map[purge.ThrottleReason]time.Time
	changed chan struct{} // closed and replaced when a throttle comes or goes
}

func newThrottles(h *Handler) *throttles {
	for _, cause := range purge.ThrottleReasons() {
		h.cfg.Metrics.Throttled.WithLabelValues(string(cause)).Set(0)
		h.cfg.Metrics.ThrottledSeconds.WithLabelValues(string(cause)).Add(0)
	}
	noise := h.long.pace.Noise(h.cfg.LongConcurrency)
	return &throttles{h: h, traffic: purge.Traffic{Noise: noise}, blind: map[purge.ThrottleReason]bool{}, since: map[purge.ThrottleReason]time.Time{}, changed: make(chan struct{})}
}

// watch looks again and again until the worker stops.
func (b *throttles) watch() {
	for {
		b.h.pauseFor(b.interval())
		if b.h.stopping.Err() != nil {
			return
		}
		b.look()
	}
}

// interval is the time until the next look, spread so that replicas don't all
// look at once. It grows while looks fail.
func (b *throttles) interval() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	every := time.Duration((0.8 + 0.2*spread()) * float64(b.h.cfg.WatchEvery))
	return min(max(longestBlind, every), every<<min(b.failing, 10))
}

// fresh looks now, if there is no recent look at all figures.
func (b *throttles) fresh() {
	b.mu.Lock()
	recent := time.Since(b.looked) < b.h.cfg.WatchEvery
	b.mu.Unlock()
	if !recent {
		b.look()
	}
}

// look looks at the database and takes over what it finds.
func (b *throttles) look() {
	b.looking.Lock()
	defer b.looking.Unlock()
	ctx, cancel := context.WithTimeout(b.h.stopping, lookTimeout)
	defer cancel()
	all := len(b.h.places) > 0
	f, err := b.h.cfg.Store.Watch(ctx, b.h.cfg.Limits, all)
	if b.h.stopping.Err() != nil {
		return
	}
	if err != nil {
		if b.failed(err) {
			b.h.pause(err)
		}
		return
	}
	b.reportUnread(f.Unread)
	now := time.Now()
	if _, unread := f.Unread[purge.ForegroundLoad]; !unread {
		b.traffic.Note(now, f.Transactions)
	}
	if len(f.Standbys) > 0 {
		b.trail.Note(now, f.Position)
	}
	for _, s := range f.Standbys {
		if lag := b.trail.Lag(now, s.Replayed); lag >= f.ReplicaLag {
			f.ReplicaLag, f.Standby = lag, s.Name
		}
	}
	b.found(now, f, all)
}

// found judges what a look has found.
func (b *throttles) found(at time.Time, f purge.Figures, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failing > 0 {
		b.h.cfg.Log.Info("the database can be watched again")
	}
	b.failing, b.pauses, b.owed = 0, f.Pauses, b.traffic.Share()
	b.h.cfg.Metrics.ForegroundBackoff.Set(b.yields(at))
	b.forgetSlow()
	if all {
		b.looked = at
	}
	b.permitsHeld(f.PermitHolders)
	b.change(b.h.cfg.Limits.Judge(b.now, f))
}

// failed notes that a sample failed. That stops no work in flight: the figures are left
// out, and of the pauses the last known ones hold. It reports whether the worker should
// take no more: the database is away, also for a worker that has nothing to do, or it
// hides an operator's pause.
func (b *throttles) failed(err error) (away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failing++; b.failing == 1 {
		b.h.cfg.Log.Warn("the database can't be watched; going on without the throttles' figures until it can", "error", err)
	}
	b.change(purge.Limits{}.Judge(nil, purge.Figures{Pauses: b.pauses}))
	fault, cause := purge.FaultOf(err)
	late := errors.Is(err, context.DeadlineExceeded) && fault != purge.Contention // our own connections may all be in use
	return fault == purge.Infrastructure && cause == "permission" || b.failing > 1 && (late || fault == purge.Infrastructure)
}

// reportUnread tells once of each throttle that has no figures.
func (b *throttles) reportUnread(unread map[purge.ThrottleReason]string) {
	for cause, why := range unread {
		if !b.blind[cause] {
			b.blind[cause] = true
			b.h.cfg.Log.Warn("a throttle has no figures and is left out", "cause", string(cause), "why", why)
		}
	}
}

// change replaces the throttles and tells of those that come and go. It is called
// with mu held.
func (b *throttles) change(now purge.Throttles) {
	was := b.now
	b.now = now
	for _, throttle := range now {
		b.begin(throttle)
	}
	for _, throttle := range was {
		if _, still := now.Of(throttle.Cause); !still {
			b.end(throttle.Cause)
		}
	}
	b.pull()
}

// pull keeps the worker from taking commands while all lanes are paused.
func (b *throttles) pull() {
	if throttle, paused := b.now.Of(purge.Paused); paused && b.allPaused() {
		b.h.cfg.Gate.Hold(string(purge.Paused), throttle.Detail)
	} else {
		b.h.cfg.Gate.Open(string(purge.Paused))
	}
}

// allPaused is called with mu held.
func (b *throttles) allPaused() bool {
	for _, p := range b.pauses {
		if p.Lane == purge.AllLanes {
			return true
		}
	}
	return false
}

// begin tells that something holds, if that is new. It is called with mu held.
func (b *throttles) begin(throttle purge.Throttle) {
	if _, known := b.since[throttle.Cause]; known {
		return
	}
	b.since[throttle.Cause] = time.Now()
	b.h.cfg.Metrics.Throttled.WithLabelValues(string(throttle.Cause)).Set(1)
	b.h.cfg.Log.Warn("held back", "cause", string(throttle.Cause), "why", throttle.Detail)
	b.wake()
}

// end tells that a cause has gone, if it was there. It is called with mu held.
func (b *throttles) end(cause purge.ThrottleReason) {
	since, known := b.since[cause]
	if !known {
		return
	}
	delete(b.since, cause)
	b.h.cfg.Metrics.Throttled.WithLabelValues(string(cause)).Set(0)
	b.h.cfg.Log.Info("no longer held back", "cause", string(cause), "after", time.Since(since).Round(time.Millisecond))
	b.wake()
}

// wake is called with mu held.
func (b *throttles) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// batch notes whether a batch of the long lane was slow, here or in another
// worker, and so rests are under way; detail says how slow.
func (b *throttles) batch(slow bool, detail string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slow {
		b.forgetSlow()
		return
	}
	b.slow = time.Now()
	b.begin(purge.Throttle{Cause: purge.SlowBatch, Detail: detail})
}

// permitsHeld notes which sessions have permits of the long lane without a batch. What is left
// of the permits still serves, so that it is no throttle. It is called with mu held.
func (b *throttles) permitsHeld(holders []string) {
	if b.permits = strings.Join(holders, "; "); b.permits == "" {
		b.end(purge.PermitsHeld)
		return
	}
	b.begin(purge.Throttle{Cause: purge.PermitsHeld, Detail: b.permits})
}

// noPermit returns why a batch has got no permit: "" if others' batches have them all.
func (b *throttles) noPermit() purge.ThrottleReason {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.permits != "" {
		return purge.PermitsHeld
	}
	return ""
}

// detail returns what is known of a cause, for people; "" for nothing.
func (b *throttles) detail(cause purge.ThrottleReason) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cause == purge.PermitsHeld {
		return b.permits
	}
	throttle, _ := b.now.Of(cause)
	return throttle.Detail
}

// forgetSlow is called with mu held.
func (b *throttles) forgetSlow() {
	if time.Since(b.slow) > slowMemory {
		b.end(purge.SlowBatch)
	}
}

// long returns the weightiest of what holds the long lane back, "" for nothing,
// and what is closed when that changes. The rests after slow batches are not
// among it: those the batches find in the database.
func (b *throttles) long() (purge.ThrottleReason, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.now) == 0 {
		return "", b.changed
	}
	return b.now[0].Cause, b.changed
}

// yield returns how many times as long as each batch the long lane shall rest, for
// the sake of others who are at work.
func (b *throttles) yield() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.yields(time.Now())
}

// yields is yield with mu held.
func (b *throttles) yields(at time.Time) float64 {
	if at.Sub(b.small) < smallMemory {
		return b.h.cfg.ForegroundBackoff
	}
	return b.owed * b.h.cfg.ForegroundBackoff
}

// smallDone notes that a small deletion has been finished.
func (b *throttles) smallDone() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.small = time.Now()
}

// awaitExpress waits while all lanes are paused. It reports false when the worker
// stops before that ends.
func (b *throttles) awaitExpress() bool {
	for {
		b.mu.Lock()
		paused, changed := b.allPaused(), b.changed
		b.mu.Unlock()
		if !paused {
			return true
		}
		select {
		case <-changed:
		case <-b.h.stopping.Done():
			return false
		}
	}
}

// Held returns what holds the worker's lanes back, in one line; "" for nothing.
// The worker is ready all the same: it is as it should be.
func (h *Handler) Held() string {
	h.throttles.mu.Lock()
	defer h.throttles.mu.Unlock()
	lines := make([]string, 0, len(h.throttles.now)+1)
	for _, throttle := range h.throttles.now {
		lines = append(lines, string(throttle.Cause)+" ("+strings.ReplaceAll(throttle.Detail, "\n", " ")+")")
	}
	if _, slow := h.throttles.since[purge.SlowBatch]; slow {
		lines = append(lines, string(purge.SlowBatch))
	}
	if h.throttles.permits != "" {
		lines = append(lines, string(purge.PermitsHeld)+" ("+h.throttles.permits+")")
	}
	return strings.Join(lines, ", ")
}
