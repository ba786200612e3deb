package handler

import (
	"fmt"
	"math"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-im/lethe/internal/crash"
	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// waitQueueLength is how many deletions of a worker wait for room in its long lane, and
	// waitQueueTimeout for how long: many that are a little too large for the express
	// lane pass in that time. Then other workers have the chance.
	waitQueueLength, waitQueueTimeout = 64, 2 * time.Second
	// progressInterval is the shortest time between two progress messages.
	progressInterval = time.Second
	// maxLongTargets is how many times the target a statement of the long lane may take
	// where fewer rows are possible.
	maxLongTargets = 20
	// contention is for how long permits count as contended after a try that got none.
	contention = time.Second
	// reportedTries is how many tries without progress are not worth a word: a sender's.
	reportedTries = 3
)

// enterLong takes a deletion into the long lane when there is room, and runs it there. If
// there is none for too long it is deferred.
func (h *Handler) enterLong(t *task) {
	h.goroutines.Go(func() {
		l := &longRun{dispatcher: dispatcher{h: h}, t: t, pace: h.deletionPace()}
		if start := time.Now(); !h.awaitRoom(t) {
			h.noteWaitQueue(t, start, false)
			f := h.facts(t)
			f.NoRoom = true
			l.dispatch(t, f, start)
			l.publish()
			return
		}
		defer func() { <-h.longRuns }()
		t.lane, t.isolated, t.tries = longLane, false, 0
		t.job.slot.Leave()
		t.job.enterLong(t)
		defer t.job.leaveLong(t)
		l.run()
	})
}

// awaitRoom waits for room in the long lane. It reports false where the wait queue is
// full, the wait too long, or the worker stops.
func (h *Handler) awaitRoom(t *task) bool {
	select {
	case h.longRuns <- struct{}{}:
		return true
	default:
	}
	select {
	case h.waitQueue <- struct{}{}:
	default:
		return false
	}
	defer func() { <-h.waitQueue }()
	t.job.slot.Leave()
	start, timeout := time.Now(), time.NewTimer(waitQueueTimeout)
	defer timeout.Stop()
	select {
	case h.longRuns <- struct{}{}:
		h.noteWaitQueue(t, start, true)
		return true
	case <-timeout.C:
	case <-h.stopping.Done():
	}
	return false
}

// longRun is one deletion's time in the long lane.
type longRun struct {
	dispatcher
	t *task

	claimed   bool
	renew     time.Time            // when the lease is to be renewed while no batch does it
	waits     purge.ThrottleReason // what the ledger says that it waits for
	throttle  purge.ThrottleReason // what kept the last batch from running
	changed   <-chan struct{}      // closed when that may have ended; nil where that is not known
	blocked   time.Time            // since when it has met locks; zero if it doesn't
	reported  time.Time            // the last progress
	pace      *deletionPace
	cap       int           // a smaller row limit after a lock or a timeout; 0 for none
	limit     int           // of the last batch
	before    time.Duration // that the last batch took
	sparse    bool          // see [purge.Part]
	noPermits int           // tries in a row that got no permit
	marks     deadEntries
	marking   <-chan struct{} // closed when what marks beside a batch has ended; nil for none
	finishing bool            // nothing is known to be left

	span trace.Span // nil if the command isn't recorded
	ran  int        // batches
}

// run takes the deletion from batch to batch until it leaves the long lane.
func (l *longRun) run() {
	l.beginSpan()
	for {
		f, began := l.step()
		rec, err := l.t.rec, l.t.err // which belong to others once the deletion has left
		m, stays := l.dispatch(l.t, f, began)
		if stays {
			l.wait(m)
			continue
		}
		if !f.Failed && !f.Kept {
			err = nil
		}
		l.attribute(0)
		l.endSpan(rec, err)
		l.publish()
		return
	}
}

// step is one try: the claim, a batch, or the end.
func (l *longRun) step() (f purge.Facts, began time.Time) {
	h, began := l.h, time.Now()
	l.throttle, l.changed = "", nil
	switch {
	case h.stopping.Err() != nil:
		return h.facts(l.t), began
	case !l.claimed && !l.t.d.Erasure():
		return l.claim(), began
	}
	if throttle, changed := h.watcher.longThrottle(); throttle.Reason != "" {
		if !l.claimed {
			return l.claim(), began
		}
		l.changed = changed
		return l.throttled(purge.Throttled{Reason: throttle.Reason}), began
	}
	if l.finishing {
		f = l.finish()
	} else {
		f = l.batch()
	}
	if f.Failed && f.Fault == purge.Contention {
		if l.blocked.IsZero() {
			l.noteWait(string(purge.Lock))
			l.blocked = began
		}
		f.Blocked = began.Sub(l.blocked)
		l.report(string(purge.Lock))
	}
	return f, began
}

// wait lets the move's delay pass, or less if what throttles ends.
func (l *longRun) wait(m purge.Move) {
	h := l.h
	if m.Shrink {
		l.cap = max(h.cfg.MinRows, l.limit/4)
	}
	if m.Delay <= 0 {
		return
	}
	began, timer := time.Now(), time.NewTimer(m.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.changed:
	case <-h.stopping.Done():
	}
	switch waited := time.Since(began).Seconds(); {
	case l.throttle == purge.ForegroundLoad:
		h.cfg.Metrics.ForegroundBackoffSeconds.Add(waited)
	case l.throttle != "" && l.waits != "":
		h.cfg.Metrics.ThrottledSeconds.WithLabelValues(string(l.waits)).Add(waited)
	}
}

// claim takes the deletion's lease.
func (l *longRun) claim() purge.Facts {
	h, t, start := l.h, l.t, time.Now()
	rec, err := retryInPlace(h, maxContended, func() (purge.Record, error) { return h.cfg.Store.Claim(h.working, t.d) })
	l.note("claim", start, err)
	if err != nil {
		return h.failedFacts(t, err)
	}
	t.taken, t.low = true, rec.CursorSeq
	l.begun(rec)
	f := h.facts(t)
	f.Progress = true
	return f
}

// begun notes the record of a deletion whose lease was just taken.
func (l *longRun) begun(rec purge.Record) {
	l.claimed, l.reported, l.marks.marked = true, time.Now(), l.t.low
	l.renewed(rec)
	l.h.watcher.refresh(l.h.stopping)
}

// renewed notes the record of a deletion whose lease was just renewed.
func (l *longRun) renewed(rec purge.Record) {
	l.t.rec = rec
	l.renew = time.Now().Add(rec.LeaseLeft / 3)
}

// throttled notes what keeps the deletion from running, and renews its lease.
func (l *longRun) throttled(by purge.Throttled) purge.Facts {
	h, t, waits := l.h, l.t, by.Reason
	switch by.Reason {
	case purge.ForegroundLoad:
		waits = "" // which is ordinary, and not reported
	case purge.NoPermit:
		waits = ""
		l.noPermits++
		h.contended.Store(time.Now().UnixNano())
		if h.watcher.detail(purge.PermitsHeld) != "" {
			waits = purge.PermitsHeld
		}
	case purge.SlowBatch:
		h.watcher.observeBatch(true, by.Detail)
	default:
		if l.changed == nil { // the database knew before the last sample: the next batch doesn't ask it
			h.watcher.sample(h.stopping)
			_, l.changed = h.watcher.longThrottle()
		}
	}
	if waits != l.waits || time.Now().After(l.renew) {
		rec, err := h.cfg.Store.Renew(h.working, t.d, t.low, waits, h.watcher.detail(waits))
		if err != nil {
			return h.failedFacts(t, err)
		}
		if waits != l.waits {
			l.noteWait(string(waits))
		}
		l.waits = waits
		l.renewed(rec)
	}
	l.report(string(waits))
	l.throttle = by.Reason
	f := h.facts(t)
	f.Throttle, f.Left, f.NoPermits = by.Reason, by.Left, l.noPermits
	return f
}

// batch removes one batch. An erasure's first batch takes its lease, too, and finishes it if that was all: most
// logs are small.
func (l *longRun) batch() purge.Facts {
	h, t := l.h, l.t
	backoff := h.watcher.backoff()
	pace := l.pace.of(backoff > 0)
	if l.limit = pace.limit; l.cap >= l.limit {
		l.cap = 0
	}
	if l.cap > 0 {
		l.limit = l.cap
	}
	part := purge.Part{
		Claim: !l.claimed, Finish: !l.claimed, Long: true, Low: t.low, Limit: l.limit, Sparse: l.sparse, ForegroundBackoff: backoff,
	}
	t.taken = true
	from, to := l.marks.next(markDistance)
	if backoff > 0 {
		part.MarkFrom, part.MarkTo = from, to // other clients need the second core
	} else {
		l.markBeside(from, to)
	}
	if l.limit > h.cfg.MinRows { // fewer rows may take less
		part.Timeout = max(maxLongTargets*h.cfg.Target, time.Second)
	}
	start := time.Now()
	step, err := h.cfg.Store.Step(h.working, t.d, part)
	took := time.Since(start)
	if err != nil {
		l.marks.done(to) // what can't be marked is left to the proof
		f := h.failedFacts(t, err)
		f.Shrinkable = l.limit > h.cfg.MinRows
		if f.Cause == purge.StatementTimeout {
			l.pace.took(pace, l.limit, took, true)
		}
		return f
	}
	switch {
	case step.Throttled.Reason != "" && !l.claimed:
		return l.claim()
	case step.Throttled.Reason != "":
		return l.throttled(step.Throttled)
	}
	l.marks.done(to)
	l.noPermits = 0
	h.stepped(t, step)
	l.waits = ""
	if part.Claim {
		l.begun(step.Record)
	} else {
		l.renewed(step.Record)
	}
	if !step.Record.Mine {
		return h.facts(t)
	}
	l.marks.add(step.Low)
	l.sparse, l.cap, l.finishing = step.Sparse, 2*l.cap, step.Reached || step.Empty
	if step.Progress() {
		l.blocked = time.Time{}
	}
	l.pace.took(pace, step.Measured(l.limit), took, step.Full)
	l.noteBatch(start, l.limit, step.Rows)
	h.observe(longLane, step.Rows, int64(step.Messages), took)
	crash.Point("in_batch")
	f := h.facts(t)
	f.Progress, f.Contended = step.Progress() || l.finishing, time.Since(time.Unix(0, h.contended.Load())) < contention
	l.backOff(&f, pace.Pace, took, backoff)
	return f
}

// markBeside marks dead index entries while the batch runs, on another connection: in the batch's
// own transaction that takes 0.2 of its 0.75 us a row. It waits for the one before, and
// what can't be marked is left to the proof.
func (l *longRun) markBeside(from, to int64) {
	if from == to {
		return
	}
	l.awaitMarked()
	marked := make(chan struct{})
	l.marking = marked
	h, d := l.h, l.t.d
	h.goroutines.Go(func() {
		defer close(marked)
		_ = h.cfg.Store.Mark(h.working, d, from, to)
	})
	l.marks.done(to)
}

// awaitMarked waits for what markBeside has begun.
func (l *longRun) awaitMarked() {
	if l.marking != nil {
		<-l.marking
		l.marking = nil
	}
}

// backOff says in f, or for all workers in the database, for how long the long lane waits
// after a batch: all of it after slow ones, this deletion for the sake of other clients.
func (l *longRun) backOff(f *purge.Facts, pace purge.Pace, took time.Duration, backoff float64) {
	h := l.h
	wait := pace.SlowBackoff(l.limit, took, l.before)
	l.before = took
	if wait > 0 {
		l.report(string(purge.SlowBatch))
	} else {
		l.report("")
	}
	detail := fmt.Sprintf("a batch of %s took %v; --target is %v", purge.Count(l.limit, "row"), took.Round(time.Millisecond), h.cfg.Target)
	h.watcher.observeBatch(wait > 0, detail)
	if wait > 0 {
		err := h.cfg.Store.ThrottleSlowBatch(h.working, wait, detail)
		if err == nil {
			return // the next batch of any worker finds it
		}
		h.cfg.Log.Debug("slow batch not noted for all workers; waiting alone", "error", err)
		f.Throttle, f.Left = purge.SlowBatch, wait
		return
	}
	if backoff > 0 && f.Progress && !l.finishing {
		l.throttle = purge.ForegroundLoad
		f.Throttle, f.Left = purge.ForegroundLoad, max(time.Duration(backoff*float64(took)), time.Millisecond)
	}
}

// finish proves that nothing is left and finishes the deletion, or starts over for what
// has appeared below its boundary. Claiming first renews the lease and makes the batches
// durable, so that the rest of the dead index entries can be marked, and the finishing
// transaction, which holds the conversation's row, has little left to write.
func (l *longRun) finish() purge.Facts {
	h, t, start := l.h, l.t, time.Now()
	rec, err := h.cfg.Store.Claim(h.working, t.d)
	if err == nil && rec.Mine {
		l.awaitMarked()
		l.mark()
		rec, err = h.cfg.Store.Finish(h.working, t.d)
	}
	l.note("finish", start, err)
	if err != nil {
		return h.failedFacts(t, err)
	}
	l.renewed(rec)
	t.newlyFinal = rec.State == purge.Done
	if t.newlyFinal {
		h.detector.succeeded(rec.Removed(), t.d.Key)
	}
	if rec.Mine && !rec.Final() {
		l.finishing, t.low = false, math.MinInt64 // a foreign schema may have seqs below 1
		t.tries++
	}
	return h.facts(t)
}

// mark marks the dead index entries that are left, a batch's piece at a time. All
// batches must be on the disk. An error leaves the rest to the proof.
func (l *longRun) mark() {
	for from, to := l.marks.next(0); from < to; from, to = l.marks.next(0) {
		if err := l.h.cfg.Store.Mark(l.h.working, l.t.d, from, to); err != nil {
			return
		}
		l.marks.done(to)
	}
}

// report publishes the progress, at most once a second.
func (l *longRun) report(waitingFor string) {
	if waitingFor == "" && l.t.tries >= reportedTries {
		waitingFor = string(purge.Lock)
	}
	if time.Since(l.reported) < progressInterval {
		return
	}
	l.reported = time.Now()
	l.h.reportProgress(l.t, waitingFor)
}
