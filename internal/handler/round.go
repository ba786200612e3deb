package handler

import (
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/crash"
	"github.com/lethe-im/lethe/internal/purge"
)

// round is one turn of the express lane: what it found out, to be announced
// together and settled after that.
type round struct {
	h         *Handler
	announced announcements
	closed    []*task // final, once announced is stored
	refused   []*job  // whole commands
	outage    error   // what the infrastructure have failed with

	isolated bool         // of one deletion that failed before, outside the lanes: it may take long
	long     bool         // the end of a deletion's time in the long lane
	probing  bool         // of one deletion, while the infrastructure is at fault
	trouble  bool         // something failed or was set back
	failed   []failedTask // alone; whose fault that is is decided at the end of the round
	others   purge.Tables // from which rows were deleted since the current group was first tried
	began    time.Time    // the last batch
	slow     int          // batches of that group that timed out
	untried  []*task      // of a group of which every try failed
}

func (r *round) run(entries []entry) {
	var tasks []*task
	for _, e := range entries {
		if len(e.tasks) == 0 {
			r.refuse(e.job)
		}
		tasks = append(tasks, e.tasks...)
	}
	tasks = r.reopen(r.failUnfit(r.failUnencodable(r.isolateFailed(tasks))))
	known, fresh := apart(tasks)
	for _, tasks := range [][]*task{known, fresh} {
		switch {
		case r.outage != nil:
			r.setBack(tasks, r.outage) // it would take as long to fail again
		case len(tasks) > 0:
			r.group(tasks)
		}
	}
	r.attribute()
	crash.Point("after_commit")
	r.conclude()
}

// isolateFailed runs the tasks that have failed before isolated, and returns the
// others.
func (r *round) isolateFailed(tasks []*task) []*task {
	if r.isolated || r.probing {
		return tasks
	}
	others := tasks[:0]
	for _, t := range tasks {
		if r.h.detector.failedBefore(t) {
			r.h.detector.runIsolated(t, 0)
		} else {
			others = append(others, t)
		}
	}
	return others
}

// group purges tasks. For each that fails it notes from which tables rows of the
// others were deleted since the first try of all of them.
func (r *round) group(tasks []*task) {
	before := len(r.failed)
	r.others, r.slow = 0, 0
	r.purge(tasks)
	for i := range r.failed {
		if i >= before {
			r.failed[i].others = 0
		}
		r.failed[i].others |= r.others
	}
}

// self is how many of the detector's busy rounds this one is: rounds of the long lane
// are not among them.
func (r *round) self() int64 {
	if r.long {
		return 0
	}
	return 1
}

// attribute finds out whose fault the failures are, when everything has been tried,
// and enters them in the ledger as attempts or not.
func (r *round) attribute() {
	if len(r.failed) > 0 {
		attributions := r.h.detector.failed(r.failed, r.self())
		for i, t := range r.failed {
			t.job.trouble(t.err)
			f := r.h.attempt(t.err)
			f.Unproven = !attributions[i].Proven
			f.Uncounted, f.TakeBack = attributions[i].Fault != purge.Command, attributions[i].TakeBack
			r.fail(t.task, f, attributions[i].Fault)
		}
	}
	for _, t := range r.untried {
		r.h.queue.push(single(t))
	}
}

// apart divides tasks into those that the ledger may know and those that come
// for the first time: one of the former would send all of its batch the long way.
func apart(tasks []*task) (known, fresh []*task) {
	for _, t := range tasks {
		if t.again || t.d.Retry > 0 || t.job.delivery.Deliveries > 1 {
			known = append(known, t)
		} else {
			fresh = append(fresh, t)
		}
	}
	return known, fresh
}

// refuse gives a whole command up.
func (r *round) refuse(j *job) {
	if a, ok := refusal(j); ok {
		r.announced.add(j, a)
	}
	r.refused = append(r.refused, j)
}

// failUnencodable gives up the deletions with an id that the database, and so the
// ledger, can't store, and returns the others.
func (r *round) failUnencodable(tasks []*task) []*task {
	ds := make([]purge.Deletion, len(tasks))
	for i, t := range tasks {
		ds[i] = t.d
	}
	var found map[int]purge.Unencodable
	err := r.h.persist(func() error {
		var err error
		found, err = r.h.cfg.Store.Unencodable(r.h.working, ds)
		return err
	})
	if err != nil {
		r.setBack(tasks, err)
		return nil
	}
	if len(found) == 0 {
		return tasks
	}
	fit := tasks[:0]
	for i, t := range tasks {
		u, bad := found[i]
		switch {
		case !bad:
			fit = append(fit, t)
		case u.Whole:
			r.refuseTask(t, failure{conversation.ReasonIncompatibleID, u.Err.Error()})
		default:
			r.final(t, purge.Record{
				Key: t.d.Key, User: t.d.User, Device: t.d.Device, State: purge.Failed, FailedAt: time.Now(),
				Reason: string(conversation.ReasonIncompatibleID), Message: u.Err.Error(),
			}, true)
		}
	}
	return fit
}

// refuseTask gives up a task's whole command, and announces that once.
func (r *round) refuseTask(t *task, f failure) {
	first := t.job.refuse(f)
	if a, ok := refusal(t.job); ok && first {
		r.announced.add(t.job, a)
	}
	r.closed = append(r.closed, t)
}

// failUnfit gives up the deletions whose ids can't be keys of the plan's
// tables, and returns the others.
func (r *round) failUnfit(tasks []*task) []*task {
	fit := tasks[:0]
	for _, t := range tasks {
		if t.unfit == nil {
			fit = append(fit, t)
			continue
		}
		r.fail(t, purge.Failure{Reason: string(conversation.ReasonIncompatibleID), Message: t.unfit.Error(), Err: t.unfit.Error(), MaxAttempts: 1}, purge.Command)
	}
	return fit
}

// reopen reopens what an operator retries, before the batch looks at it.
func (r *round) reopen(tasks []*task) []*task {
	var retried []purge.Deletion
	for _, t := range tasks {
		if t.d.Retry > 0 && !t.again {
			retried = append(retried, t.d)
		}
	}
	if len(retried) == 0 {
		return tasks
	}
	err := r.h.persist(func() error { return r.h.cfg.Store.Reopen(r.h.working, retried) })
	fault, _ := purge.FaultOf(err)
	switch {
	case err == nil:
		return tasks
	case fault.MayBeCommand() && len(tasks) > 1:
		return append(r.reopen(tasks[:len(tasks)/2:len(tasks)/2]), r.reopen(tasks[len(tasks)/2:])...)
	case fault.MayBeCommand():
		r.failed = append(r.failed, failedTask{task: tasks[0], err: err})
	default:
		r.setBack(tasks, err)
	}
	return nil
}

// final notes a deletion that needs no more work. news says that it became
// final just now, and is not only told again.
func (r *round) final(t *task, rec purge.Record, news bool) {
	r.h.logFinal(t, rec, news)
	if rec.State == purge.Failed {
		t.job.fail(failure{conversation.Reason(rec.Reason), rec.Message})
	}
	r.announced.add(t.job, event(t.job, rec))
	r.closed = append(r.closed, t)
}

// kept counts an attempt of a deletion whose rows a trigger or a rule keeps.
func (r *round) kept(t *task, kept purge.Kept) {
	t.job.trouble(kept)
	r.h.cfg.Log.Warn("rows are still there after their delete", append(t.attrs(), "table", kept.Table, "rows", kept.Rows, "first_seq", kept.Seq)...)
	r.fail(t, r.h.attempt(kept), purge.Command)
}

// fail enters a failure in the ledger. After the last attempt the deletion is given up;
// before that it is deferred. If the failure isn't the deletion's own fault, or may not
// be, the deletion stays in flight.
func (r *round) fail(t *task, f purge.Failure, whose purge.Fault) {
	r.trouble = true
	var rec purge.Record
	err := r.h.persist(func() error {
		var err error
		rec, err = r.h.cfg.Store.Fail(r.h.working, t.d, f)
		return err
	})
	switch {
	case err != nil:
		r.h.setBack(t, err)
	case rec.Reused:
		r.sort(t, rec, false, false)
	case rec.Final():
		r.final(t, rec, rec.State == purge.Failed)
	case whose == purge.Ambiguous:
		t.again, t.tries = true, 0
		r.h.detector.runIsolated(t, isolatedRetryDelay)
	case whose == purge.Infrastructure:
		r.h.cfg.Log.Warn("deletion failed like others; not counted as an attempt", append(t.attrs(), "attempts", rec.Attempts, "error", f.Err)...)
		r.h.cfg.Metrics.Retries.WithLabelValues("shared").Inc()
		r.h.detector.retryLater(t)
	default:
		r.h.cfg.Log.Warn("deletion failed; retrying", append(t.attrs(), "attempt", rec.Attempts, "error", f.Err)...)
		r.h.cfg.Metrics.Retries.WithLabelValues("failure").Inc()
		r.h.park(t, purge.RetryDelay(rec.Attempts, spread()))
	}
}

func (r *round) setBack(tasks []*task, err error) {
	r.trouble = true
	if fault, _ := purge.FaultOf(err); fault == purge.Infrastructure {
		r.outage = err
	}
	for _, t := range tasks {
		r.h.setBack(t, err)
	}
}

// conclude announces what has become final and settles the deliveries of which
// nothing is left to do. Events first, then the dead letters, then the
// acknowledgement: a crash in between repeats, and loses nothing.
func (r *round) conclude() {
	h := r.h
	if err := h.announce(r.announced); err != nil {
		for _, t := range r.closed {
			h.park(t, 0)
		}
		for _, j := range r.refused {
			j.end(bus.Outcome{Verdict: bus.Retry})
		}
		return
	}
	crash.Point("after_publish")
	finished := r.refused
	for _, t := range r.closed {
		if t.job.close() {
			finished = append(finished, t.job)
		}
	}
	h.settle(finished)
}
