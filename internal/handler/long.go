package handler

import (
	"context"
	"errors"
	"math"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/crash"
	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// lockPatience is how long a deletion may wait for locks in the long lane
	// before it gives its place to another one.
	lockPatience = 3 * time.Second
	// lineLength is how many deletions wait in a worker for a place in its long
	// lane, and lineFor how long: many that are a little too large for the express
	// lane pass in that time. Then others shall have the chance.
	lineLength, lineFor = 64, 2 * time.Second
	// maxIdle is how many tries in a row may remove nothing before the lane finds out why.
	maxIdle = 3
	// progressEvery is the least time between two progress messages.
	progressEvery = time.Second
)

// enterLong moves a task to the long lane. leased says that the task holds its
// lease.
func (h *Handler) enterLong(t *task, leased bool) {
	if h.stopping.Err() == nil {
		select {
		case h.places <- struct{}{}:
			h.lanes.Go(func() { h.runLong(t) })
			return
		default:
		}
	}
	h.lanes.Go(func() { h.waitLong(t, leased) })
}

// runLong is a task's time in the long lane; it has a place there.
func (h *Handler) runLong(t *task) {
	defer func() { <-h.places }()
	t.lane = "long"
	t.job.place.Leave()
	t.job.enterLong(t)
	defer t.job.leaveLong(t)
	l := &longRun{h: h, t: t}
	l.run()
}

// waitLong waits in line for a place in the long lane. A task that gets none, or
// finds the line full, is set back, so that another worker may have it: waiting
// is no failure.
func (h *Handler) waitLong(t *task, leased bool) {
	start := time.Now()
	placed := h.standInLine(t)
	h.noteLine(t, start, placed)
	if placed {
		h.runLong(t)
		return
	}
	delay := time.Duration(0)
	if h.stopping.Err() == nil {
		h.cfg.Metrics.Retries.WithLabelValues("long_lane_full").Inc()
		delay = purge.DeferDelay(0, spread())
	}
	if leased {
		h.release(t, 0)
	}
	h.park(t, delay)
}

// standInLine reports whether the task has a place in the long lane now.
func (h *Handler) standInLine(t *task) bool {
	select {
	case h.line <- struct{}{}:
	default:
		return false
	}
	defer func() { <-h.line }()
	t.job.place.Leave()
	limit := time.NewTimer(lineFor)
	defer limit.Stop()
	select {
	case h.places <- struct{}{}:
		return true
	case <-limit.C:
	case <-h.stopping.Done():
	}
	return false
}

// longRun is one deletion's time in the long lane.
type longRun struct {
	h       *Handler
	t       *task
	rec     purge.Record
	low     int64 // nothing is left at and below it
	trail   trail
	pacer   *pacer    // of the batch in flight
	blocked time.Time // since when it has waited for a lock; zero if it doesn't
	told    time.Time // the last progress
	news    bool      // this run has finished the deletion
	cap     int       // a smaller row limit after a lock; 0 for none
	idle    int       // tries in a row that found rows and removed none
	sparse  bool      // the last step's

	waits  purge.ThrottleReason // what the ledger says that it waits for
	renew  time.Time            // when the lease is to be renewed while no batch does it
	before time.Duration        // of the last batch

	span trace.Span // nil if the command isn't recorded
	ran  int        // batches of this run
}

func (l *longRun) run() {
	l.beginSpan()
	err := l.claim()
	if err == nil {
		err = l.work()
	}
	l.endSpan(err)
	switch {
	case err != nil:
		l.end(err)
	case l.rec.Final():
		if l.news {
			l.h.detector.succeeded(l.rec.Removed(), l.t.d.Key)
		}
		l.conclude(func(r *round) { r.final(l.t, l.rec, l.news) })
	case l.rec.Mine: // a stop
		l.h.release(l.t, l.low)
		l.h.park(l.t, 0)
	default:
		l.h.cfg.Metrics.Retries.WithLabelValues("leased").Inc()
		l.h.park(l.t, purge.DeferDelay(l.rec.LeaseLeft, spread()))
	}
}

// claim takes the deletion's lease.
func (l *longRun) claim() error {
	start := time.Now()
	err := l.h.persist(func() error {
		var err error
		l.rec, err = l.h.cfg.Store.Claim(l.h.working, l.t.d)
		return err
	})
	l.note("claim", start, err)
	if err != nil {
		return err
	}
	l.low, l.told = l.rec.CursorSeq, time.Now()
	l.trail.swept = l.low
	l.renew = time.Now().Add(l.rec.LeaseLeft / 3)
	l.h.watcher.fresh(l.h.stopping)
	return nil
}

// work removes batch after batch, until the deletion is final, the lease is lost
// or the worker stops.
func (l *longRun) work() error {
	for l.rec.Mine && !l.rec.Final() && l.h.stopping.Err() == nil {
		if err := l.next(); err != nil && !l.wait(err) {
			return err
		}
	}
	return nil
}

// next removes one batch or finishes, unless something holds the long lane back.
func (l *longRun) next() error {
	if throttle, changed := l.h.watcher.stop(); throttle.Reason != "" {
		return l.hold(throttle.Reason, 0, changed)
	}
	return l.advance()
}

// advance removes one batch, or finishes.
func (l *longRun) advance() error {
	if l.t.d.KeepHistory {
		return l.finish()
	}
	yield := l.h.watcher.backoff()
	l.pacer = l.h.pacerFor(yield)
	limit, start := l.limit(), time.Now()
	part := purge.Part{Long: true, Low: l.low, Limit: limit, Sparse: l.sparse, ForegroundBackoff: yield}
	part.MarkFrom, part.MarkTo = l.trail.next(distance)
	step, err := l.h.cfg.Store.Step(l.h.working, l.t.d, part)
	if step.Throttled.Reason == "" {
		l.trail.done(part.MarkTo) // after an error too: what can't be walked over is left to the proof
	}
	if err != nil {
		l.pacer.failed(limit, time.Since(start), err)
		if _, cause := purge.FaultOf(err); cause == purge.StatementTimeout && limit > l.h.cfg.MinRows {
			l.cap = max(l.h.cfg.MinRows, limit/4) // fewer rows may do
			return nil
		}
		return err
	}
	if step.Throttled.Reason != "" {
		return l.kept(step.Throttled)
	}
	took := time.Since(start)
	l.sparse = step.Sparse
	before := l.rec.MessagesDeleted
	l.rec, l.waits = step.Record, ""
	l.renew = time.Now().Add(l.rec.LeaseLeft / 3)
	if !step.Record.Mine {
		return nil
	}
	l.trail.add(step.Low)
	l.low, l.cap = step.Low, 2*l.cap
	if step.Rows > 0 { // where nothing is left, the finish may still wait for a lock
		l.blocked = time.Time{}
	}
	l.t.spent++
	l.noteBatch(start, limit, step.Rows)
	l.pacer.took(step.Measured(limit), took, step.Full)
	l.h.cfg.Metrics.BatchSeconds.WithLabelValues("long").Observe(took.Seconds())
	l.h.cfg.Metrics.BatchRows.WithLabelValues("long").Observe(float64(step.Rows))
	l.h.cfg.Metrics.Messages.WithLabelValues("long").Add(float64(max(0, step.Record.MessagesDeleted-before)))
	l.tell("")
	l.rest(limit, took)
	crash.Point("in_batch")
	switch {
	case step.Rows > 0:
		l.idle = 0
		l.h.detector.succeeded(step.Tables)
	case !step.Empty:
		if err := l.stuck(); err != nil {
			return err
		}
	}
	if step.Empty {
		return l.finish()
	}
	if yield > 0 {
		return l.yield(time.Duration(yield * float64(took)))
	}
	return nil
}

// finish is prove, with a span of its own.
func (l *longRun) finish() error {
	start := time.Now()
	err := l.prove()
	l.note("finish", start, err)
	return err
}

// prove finishes the deletion, or starts over for what has appeared below its
// boundary meanwhile. Claiming first renews the lease and makes the batches
// durable, so that the rest of the trail can be marked, and the finishing
// transaction, which holds the conversation's row, has little left to write.
func (l *longRun) prove() error {
	if rec, err := l.h.cfg.Store.Claim(l.h.working, l.t.d); err != nil || !rec.Mine {
		l.rec.Mine = err != nil && l.rec.Mine
		return err
	}
	l.sweep()
	rec, err := l.h.cfg.Store.Finish(l.h.working, l.t.d)
	if err != nil {
		return err
	}
	l.rec, l.news = rec, rec.State == purge.Done
	if rec.Mine && !rec.Final() {
		l.low = math.MinInt64 // a foreign schema may have seqs below 1
		return l.stuck()
	}
	return nil
}

// stuck notes a try that found something left and removed nothing. A few are a
// sender's; then it finds out whether a trigger or a rule keeps rows, which is an
// attempt. Otherwise it waits a little longer each time.
func (l *longRun) stuck() error {
	if l.idle++; l.idle >= maxIdle {
		kept, err := l.h.cfg.Store.Kept(l.h.working, l.t.d)
		if err != nil {
			return err
		}
		if kept.Rows > 0 {
			return kept
		}
		l.tell("lock")
	}
	l.h.pauseFor(min(time.Second, 5*time.Millisecond<<min(l.idle, 10)))
	return nil
}

// sweep walks over what is left of the trail, a batch's piece at a time. All
// batches must be on the disk. An error leaves the rest to the proof.
func (l *longRun) sweep() {
	for from, to := l.trail.next(0); from < to; from, to = l.trail.next(0) {
		if err := l.h.cfg.Store.Mark(l.h.working, l.t.d, from, to); err != nil {
			return
		}
		l.trail.done(to)
	}
}

// wait reports whether a step that failed may simply be tried again, after a
// pause: somebody holds a row, and has not held it for too long. The next batch
// is smaller, so that it stops short of the row.
func (l *longRun) wait(err error) bool {
	fault, cause := purge.FaultOf(err)
	if fault != purge.Contention {
		return false
	}
	l.h.cfg.Metrics.Retries.WithLabelValues(cause).Inc()
	now := time.Now()
	if l.blocked.IsZero() {
		l.noteWait(string(purge.Lock))
		l.blocked = now
	}
	if now.Sub(l.blocked) > lockPatience {
		return false
	}
	l.cap = max(l.h.cfg.MinRows, l.limit()/4)
	l.tell(string(purge.Lock))
	l.h.pauseFor(min(500*time.Millisecond, 20*time.Millisecond+now.Sub(l.blocked)/4))
	return true
}

// limit is the lane's row limit, or less close to a row that somebody holds.
func (l *longRun) limit() int {
	rows := l.pacer.rows()
	if l.cap <= 0 || l.cap >= rows {
		l.cap = 0
		return rows
	}
	return l.cap
}

// end gives the place up after an error.
func (l *longRun) end(err error) {
	var kept purge.Kept
	if errors.As(err, &kept) {
		l.conclude(func(r *round) { r.kept(l.t, kept) })
		return
	}
	fault, _ := purge.FaultOf(err)
	if fault.MayBeCommand() {
		found := l.h.detector.examine()
		if found == nil {
			l.conclude(func(r *round) {
				r.failed = []failedTask{{task: l.t, err: err}}
				r.attribute()
			})
			return
		}
		err = found
	}
	if fault == purge.Contention {
		l.h.releaseBlocked(l.t, l.low)
	} else {
		l.h.release(l.t, l.low)
	}
	l.h.setBack(l.t, err)
}

// conclude announces and settles like the express lane.
func (l *longRun) conclude(add func(*round)) {
	r := &round{h: l.h, long: true}
	add(r)
	crash.Point("after_commit")
	r.conclude()
}

// tell publishes the progress, at most once a second.
func (l *longRun) tell(waitingFor string) {
	if time.Since(l.told) < progressEvery {
		return
	}
	l.told = time.Now()
	l.h.tellProgress(l.t, l.rec, l.low, waitingFor)
}

// tellProgress says how far a deletion has come; nothing is left at and below low.
func (h *Handler) tellProgress(t *task, rec purge.Record, low int64, waitingFor string) {
	h.cfg.Publisher.Progress(conversation.Deleting{
		CommandID: rec.Command, AppID: rec.App, UserID: rec.User, ConversationID: rec.Conversation,
		ThroughSeq: rec.ThroughSeq, PurgedThroughSeq: max(0, min(low, rec.ThroughSeq)),
		MessagesDeleted: rec.MessagesDeleted, WaitingFor: waitingFor,
	}, t.job.trace)
}

// release gives the lease back, so that another worker can go on at once. If it
// fails the lease runs out by itself.
func (h *Handler) release(t *task, low int64) {
	ctx, cancel := context.WithTimeout(h.working, 2*time.Second)
	defer cancel()
	if err := h.cfg.Store.Release(ctx, t.d, low, "", ""); err != nil {
		h.cfg.Log.Warn("lease not given back; it runs out by itself", append(t.attrs(), "error", err)...)
	}
}
