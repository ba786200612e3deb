package handler

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/crash"
	"github.com/lethe-im/lethe/internal/purge"
)

// dispatcher carries out the next moves of deletions that were tried, gathers what has
// become final, publishes that and settles the deliveries of which nothing is left.
type dispatcher struct {
	h            *Handler
	announced    announcements
	ended        []*task      // final or refused, once announced is stored
	refused      []*job       // whole commands
	unattributed []failedTask // whose fault that is is decided when everything has been tried
	trouble      bool         // something failed
}

// failedTask is a task that has failed alone.
type failedTask struct {
	*task
	facts  purge.Facts
	others purge.Tables // as in [purge.FailedTry]
	began  time.Time    // the try that failed
}

// errNotEntered is the error of a deletion of which the ledger keeps no row, or no lease, after
// tries to take it up.
var errNotEntered = errors.New("the ledger keeps neither the deletion nor its lease: check the triggers of lethe.deletions")

// dispatch carries out the next move of a deletion after a try that began at began, and
// the moves that follow from it. It reports whether the deletion stays with the caller,
// who tries it again after the move's delay.
func (d *dispatcher) dispatch(t *task, f purge.Facts, began time.Time) (m purge.Move, stays bool) {
	h := d.h
	for {
		m = purge.Next(f)
		if m.Retry != "" {
			h.cfg.Metrics.Retries.WithLabelValues(m.Retry).Inc()
		}
		d.trouble = d.trouble || f.Failed
		switch m.Kind {
		case purge.Continue, purge.Wait:
			return m, true
		case purge.Inspect:
			f = d.inspect(t, f)
			continue
		case purge.Fail:
			f = d.fail(t, f)
			continue
		case purge.Attribute:
			if !f.Failed {
				t.err = errNotEntered
				f = f.After(t.err)
			}
			d.unattributed = append(d.unattributed, failedTask{task: t, facts: f, began: began})
		case purge.Publish:
			d.final(t)
		case purge.Refuse:
			d.refuseTask(t)
		case purge.EnterLong:
			h.enterLong(t)
		case purge.Isolate:
			h.isolate(t, m.Delay)
		case purge.Probe:
			if f.Failed {
				h.cfg.Log.Warn("deletion failed like others; not counted as an attempt", append(t.attrs(), "attempts", f.Record.Attempts, "error", t.err)...)
			}
			h.detector.retryLater(t)
		case purge.Defer:
			d.deferTask(t, f, m)
		}
		return m, false
	}
}

// inspect finds out why a deletion makes no progress: a trigger or a rule keeps its rows,
// or another transaction holds a lock.
func (d *dispatcher) inspect(t *task, f purge.Facts) purge.Facts {
	kept, err := d.h.cfg.Store.Kept(d.h.working, t.d)
	if fault, _ := purge.FaultOf(err); err != nil && fault != purge.Contention {
		t.err = err
		return f.After(err)
	}
	f.Inspected, f.Kept = true, kept.Any()
	switch {
	case kept.Missing != "":
		t.err = kept
		d.h.cfg.Log.Warn("what the plan looks up is missing", append(t.attrs(), "missing", kept.Missing)...)
	case f.Kept:
		t.err = kept
		d.h.cfg.Log.Warn("rows are still there after their delete", append(t.attrs(), "table", kept.Table, "rows", kept.Rows, "first_seq", kept.Seq)...)
	}
	return f
}

// fail enters a failure in the ledger. After the last attempt the deletion is given up.
func (d *dispatcher) fail(t *task, f purge.Facts) purge.Facts {
	t.job.trouble(t.err)
	failure := purge.Failure{
		Reason: string(conversation.ReasonAttemptsExhausted), Message: t.err.Error(), Err: t.err.Error(), MaxAttempts: d.h.cfg.MaxAttempts,
	}
	if f.Incompatible {
		failure.Reason, failure.MaxAttempts = string(refusalOf(t.err)), 1
	}
	if a := f.Attribution; a != nil {
		failure.Unproven, failure.Uncounted, failure.TakeBack = !a.Proven, a.Fault != purge.Command, a.TakeBack
	}
	rec, err := retryInPlace(d.h, maxContended, func() (purge.Record, error) { return d.h.cfg.Store.Fail(d.h.working, t.d, failure) })
	d.trouble = true
	if err != nil {
		t.err = err
		f = f.After(err)
		f.Unentered = true
		return f
	}
	t.rec, t.newlyFinal = rec, rec.State == purge.Failed
	f.Record, f.Entered = rec, true
	return f
}

// attribute finds out whose fault the failures are, after everything has been tried.
// self is how many of the detector's busy tries are the caller's.
func (d *dispatcher) attribute(self int64) {
	failed := d.unattributed
	d.unattributed = nil
	if len(failed) == 0 {
		return
	}
	found := d.h.detector.examine()
	if found == nil {
		for i, a := range d.h.detector.failed(failed, self) {
			failed[i].facts.Attribution = &a
		}
	}
	for _, t := range failed {
		if found != nil {
			t.err = found
			t.facts = t.facts.After(found)
		}
		d.dispatch(t.task, t.facts, t.began)
	}
	d.attribute(self) // those that could not be entered in the ledger
}

// final notes a deletion that needs no more work.
func (d *dispatcher) final(t *task) {
	d.h.logFinal(t)
	d.ended = append(d.ended, t)
	if t.d.Erasure() {
		return // nobody has asked for it; the eraser tells whom it concerns
	}
	if t.rec.State == purge.Failed {
		t.job.fail(failure{conversation.Reason(t.rec.Reason), t.rec.Message})
	}
	d.announced.add(t.job, event(t.job, t.rec))
}

const reused = "command_id has been used for a command with other content: a new command needs a new command_id"

// refuseTask gives up a task's whole command, and announces that once.
func (d *dispatcher) refuseTask(t *task) {
	f := failure{conversation.ReasonCommandIDReused, reused}
	if t.refusal != nil {
		f = *t.refusal
	}
	first := t.job.refuse(f)
	if a, ok := refusalEvent(t.job); ok && first {
		d.announced.add(t.job, a)
	}
	d.ended = append(d.ended, t)
}

// refuse gives up a command that was refused before it had tasks, and announces that.
func (d *dispatcher) refuse(j *job) {
	if a, ok := refusalEvent(j); ok {
		d.announced.add(j, a)
	}
	d.refused = append(d.refused, j)
}

// deferTask carries out the move Defer: it logs why, releases the lease and defers the
// command.
func (d *dispatcher) deferTask(t *task, f purge.Facts, m purge.Move) {
	h := d.h
	switch {
	case f.Failed && f.Fault == purge.Stopping:
	case m.Unavailable:
		h.unavailable(t.err)
	case f.Unentered:
		h.cfg.Log.Error("failure of a deletion can't be entered in the ledger; command deferred", append(t.attrs(), "error", t.err)...)
	case f.Entered:
		h.cfg.Log.Warn("deletion failed; retrying", append(t.attrs(), "attempt", f.Record.Attempts, "error", t.err)...)
	}
	if f.Failed && !f.Entered {
		t.job.trouble(t.err)
	}
	if !t.taken || f.Entered || m.Unavailable {
		h.redeliver(t, m)
		return
	}
	h.goroutines.Go(func() {
		h.release(t, m.Retry == purge.RetryLock)
		h.redeliver(t, m)
	})
}

// redeliver ends a task that must be delivered again after the move's delay. As long as another
// one of its command is in the long lane, perhaps for hours, or the command goes from page to page,
// the delivery stays in flight: then only the task is tried again.
func (h *Handler) redeliver(t *task, m purge.Move) {
	if (t.job.othersLong(t) || t.job.whole != nil && !m.Unavailable) && h.stopping.Err() == nil {
		h.startSingle(&task{job: t.job, d: t.d, since: t.since, lane: expressLane, batches: t.batches, incompatible: t.incompatible}, m.Delay)
		return
	}
	if t.job.endDeferred(m.Delay) {
		h.settle([]*job{t.job})
	}
}

// publish stores what has become final and settles the deliveries of which nothing is
// left to do. Events first, then the dead letters, then the acknowledgement: a crash in
// between repeats, and loses nothing.
func (d *dispatcher) publish() {
	h := d.h
	crash.Point("after_commit")
	if err := h.announce(d.announced); err != nil {
		for _, t := range d.ended {
			h.redeliver(t, purge.Move{})
		}
		for _, j := range d.refused {
			j.settle(bus.Outcome{Verdict: bus.Retry})
		}
		return
	}
	crash.Point("after_publish")
	h.eraser.finished(d.ended)
	finished := d.refused
	for _, t := range d.ended {
		if t.job.endFinal(t.d.Key) {
			finished = append(finished, t.job)
		}
	}
	h.settle(finished)
}

const (
	// releaseTimeout bounds what is written and asked about a deletion that is released.
	releaseTimeout = 2 * time.Second
	// lockLogInterval is the shortest time between two lines of the log about locks, and
	// how long the answer to who holds them is reused: one lock may block thousands.
	lockLogInterval = time.Second
)

// release gives up the lease of a task, so that another worker can continue at once. If
// it fails the lease expires by itself. locked says that another transaction's lock
// blocks the deletion: the ledger, the log and the progress say so, and who that is
// where it is known.
func (h *Handler) release(t *task, locked bool) {
	ctx, cancel := context.WithTimeout(h.working, releaseTimeout)
	defer cancel()
	var err error
	if locked {
		h.reportProgress(t, string(purge.Lock))
		err = h.cfg.Store.Release(ctx, t.d, t.low, purge.Lock, h.lockDetail(ctx, t))
	} else {
		err = h.cfg.Store.Release(ctx, t.d, t.low, "", "")
	}
	if err != nil {
		h.cfg.Log.Warn("lease not released; it expires by itself", append(t.attrs(), "error", err)...)
	}
}

// lockHolder is who blocked deletions last. Safe for concurrent use.
type lockHolder struct {
	mu      sync.Mutex // guards what follows; held while the database is asked
	asked   time.Time
	session string // for people; "" if it isn't known
}

// lockDetail says who holds the lock that a deletion waits for, as far as that is known.
func (h *Handler) lockDetail(ctx context.Context, t *task) (detail string) {
	b := &h.lockHolder
	b.mu.Lock()
	defer b.mu.Unlock()
	asks := time.Since(b.asked) >= lockLogInterval
	if asks {
		b.session, b.asked = h.cfg.Store.Blocker(ctx), time.Now()
	}
	if b.session != "" {
		detail = "oldest transaction with locks on these tables: " + b.session
	}
	if asks {
		h.cfg.Log.Warn("deletion waits for a lock", append(t.attrs(), "waiting_for", purge.Lock, "waiting_detail", detail)...)
	}
	return detail
}

// reportProgress publishes how far a deletion has come. Nobody waits for an erasure.
func (h *Handler) reportProgress(t *task, waitingFor string) {
	if t.d.Erasure() {
		return
	}
	rec := t.rec
	h.cfg.Publisher.Progress(conversation.Deleting{
		CommandID: t.d.Command, AppID: t.d.App, UserID: t.d.User, ConversationID: t.d.Conversation,
		ThroughSeq: rec.ThroughSeq, PurgedThroughSeq: max(0, min(max(t.low, rec.CursorSeq), rec.ThroughSeq)),
		MessagesDeleted: rec.MessagesDeleted, WaitingFor: waitingFor,
	}, t.job.trace)
}
