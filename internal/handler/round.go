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
	outage    error   // what the surroundings have failed with

	apart   bool         // of one suspect, which may take its time
	long    bool         // the end of a deletion's time in the long lane
	trial   bool         // of one deletion, while the infrastructure is at fault
	trouble bool         // something failed or was set back
	failed  []failedTask // alone, to be judged when all have been tried
	others  purge.Tables // of which rows went since the group of tasks in hand was first tried
	began   time.Time    // the last batch
	slow    int          // batches of that group that took too long
	untried []*task      // of a group of which nothing gets through
}

func (r *round) run(entries []entry) {
	var tasks []*task
	for _, e := range entries {
		if len(e.tasks) == 0 {
			r.refuse(e.job)
		}
		tasks = append(tasks, e.tasks...)
	}
	tasks = r.reopen(r.failUnfit(r.failUnencodable(r.innocent(tasks))))
	known, fresh := apart(tasks)
	for _, tasks := range [][]*task{known, fresh} {
		switch {
		case r.outage != nil:
			r.setBack(tasks, r.outage) // it would take as long to fail again
		case len(tasks) > 0:
			r.group(tasks)
		}
	}
	r.judge()
	crash.Point("after_commit")
	r.conclude()
}

// innocent returns the tasks that haven't failed before, and has the others tried
// apart from them.
func (r *round) innocent(tasks []*task) []*task {
	if r.apart || r.trial {
		return tasks
	}
	innocent := tasks[:0]
	for _, t := range tasks {
		if r.h.jury.suspect(t) {
			r.h.jury.tryApart(t, 0)
		} else {
			innocent = append(innocent, t)
		}
	}
	return innocent
}

// group purges tasks, and notes for those that fail what became of the others:
// whatever got through since the first try of all of them.
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

// self is how many of the busy the round is: one in the long lane isn't among them.
func (r *round) self() int64 {
	if r.long {
		return 0
	}
	return 1
}

// judge finds out whose the failures are, when everything has been tried, and
// counts them or not.
func (r *round) judge() {
	if len(r.failed) > 0 {
		verdicts := r.h.jury.failed(r.failed, r.self())
		for i, t := range r.failed {
			t.job.trouble(t.err)
			f := r.h.attempt(t.err)
			f.Unproven = !verdicts[i].Proven
			f.Uncounted, f.TakeBack = verdicts[i].Fault != purge.Own, verdicts[i].TakeBack
			r.fail(t.task, f, verdicts[i].Fault)
		}
	}
	for _, t := range r.untried {
		r.h.queue.push(entry{job: t.job, tasks: []*task{t}})
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

// failUnencodable gives up the deletions that have an id which the database can't
// store, and so neither its ledger, and returns the others.
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

// refuseTask gives a task's whole command up, and tells of it once.
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
		r.fail(t, purge.Failure{Reason: string(conversation.ReasonIncompatibleID), Message: t.unfit.Error(), Err: t.unfit.Error(), MaxAttempts: 1}, purge.Own)
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
	case fault.MayBeOwn() && len(tasks) > 1:
		return append(r.reopen(tasks[:len(tasks)/2:len(tasks)/2]), r.reopen(tasks[len(tasks)/2:])...)
	case fault.MayBeOwn():
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

// kept counts an attempt of a deletion of which a trigger or a rule keeps rows.
func (r *round) kept(t *task, kept purge.Kept) {
	t.job.trouble(kept)
	r.h.cfg.Log.Warn("rows stay although they were deleted", append(t.attrs(), "table", kept.Table, "rows", kept.Rows, "first_seq", kept.Seq)...)
	r.fail(t, r.h.attempt(kept), purge.Own)
}

// fail enters a failure in the ledger; the deletion is given up if it was the
// last attempt, or else comes back later; one whose fault it isn't, or may not be,
// stays in hand.
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
		r.h.jury.tryApart(t, againAfter)
	case whose == purge.Surroundings:
		r.h.cfg.Log.Warn("deletion failed as others do; not counted as an attempt", append(t.attrs(), "attempts", rec.Attempts, "error", f.Err)...)
		r.h.cfg.Metrics.Retries.WithLabelValues("shared").Inc()
		r.h.jury.wait(t)
	default:
		r.h.cfg.Log.Warn("deletion failed; it is tried again", append(t.attrs(), "attempt", rec.Attempts, "error", f.Err)...)
		r.h.cfg.Metrics.Retries.WithLabelValues("failure").Inc()
		r.h.park(t, purge.RetryDelay(rec.Attempts, spread()))
	}
}

func (r *round) setBack(tasks []*task, err error) {
	r.trouble = true
	if fault, _ := purge.FaultOf(err); fault == purge.Surroundings {
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
