package handler

import (
	"errors"
	"slices"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/purge"
)

// maxBlocked is how many express batches may find a deletion blocked by a lock
// before it is set back. A sender's transaction takes milliseconds.
const maxBlocked = 4

// expressLane takes what has gathered, again and again. What it has taken when an
// operator pauses all lanes stays in flight, with its heartbeats.
func (h *Handler) expressLane() {
	size := func() int { return h.express.deletions(h.cfg.BatchSize) }
	for {
		entries := h.queue.take(size)
		if entries == nil {
			return
		}
		if !h.watcher.awaitExpress(h.stopping) {
			for _, e := range entries {
				h.handBack(e)
			}
			continue
		}
		h.detector.busy.Add(1)
		r := &round{h: h}
		r.run(entries)
		h.detector.busy.Add(-1)
	}
}

// fanOut is into how many parts a batch is divided that timed out. Each part with a
// bad deletion takes as long again, so that eight halvings would be too many.
const fanOut = 16

// maxGroupFailures is how many tries of a group may fail, with no success, before the
// rest of it is not tried: enough to show that the infrastructure is at fault.
const maxGroupFailures = 8

// purge runs tasks in one statement. Where that fails, and it may be the fault of
// one of them, the batch is divided until that one is alone: one bad deletion must
// neither fail the others nor make them wait. It reports whether any of them
// succeeded.
func (r *round) purge(tasks []*task) bool {
	if r.others == 0 && (len(r.failed) >= maxGroupFailures || r.slow > maxGroupFailures) {
		r.untried = append(r.untried, tasks...)
		return false
	}
	res, err := r.express(tasks)
	fault, cause := purge.FaultOf(err)
	first, second := tasks[:len(tasks)/2], tasks[len(tasks)/2:]
	switch {
	case err == nil:
		r.committed(tasks, res)
		return true
	case fault.MayBeCommand():
		return r.divide(tasks, err, cause == purge.StatementTimeout)
	case fault == purge.Contention && len(tasks) > 1:
		if r.purge(first) {
			r.purge(second)
			return true
		}
		r.setBack(second, err) // a lock on a whole table, say: one try for each would take minutes
		return false
	}
	r.setBack(tasks, err)
	return false
}

// committed notes that a batch was committed, and sorts its tasks.
func (r *round) committed(tasks []*task, res purge.Result) {
	if slices.Contains(res.Finished, true) {
		r.h.watcher.smallFinished()
	}
	r.others |= res.Tables
	r.h.detector.succeeded(res.Tables, finished(tasks, res)...)
	for i, t := range tasks {
		r.sort(t, res.Records[i], res.Finished[i], res.BudgetSpent)
	}
}

// finished are the keys of the tasks that a batch has finished.
func finished(tasks []*task, res purge.Result) []purge.Key {
	var keys []purge.Key
	for i, t := range tasks {
		if res.Finished[i] {
			keys = append(keys, t.d.Key)
		}
	}
	return keys
}

// divide tries the parts of a batch that failed with an error that may be one
// deletion's own fault. A deletion that failed alone is decided on at the end of the
// round; one that timed out first runs isolated, with more time.
func (r *round) divide(tasks []*task, err error, slow bool) bool {
	t := tasks[0]
	if slow {
		r.slow++
	} else if found := r.h.detector.examine(); found != nil {
		r.setBack(tasks, found)
		return false
	}
	switch {
	case len(tasks) > 1 && slow:
		return r.parts(tasks, fanOut)
	case len(tasks) > 1:
		return r.parts(tasks, 2)
	case slow && !r.isolated:
		t.again = true
		r.h.detector.track(t, r.others)
		r.h.detector.runIsolated(t, 0)
	default:
		r.failed = append(r.failed, failedTask{task: t, err: err, began: r.began})
	}
	return false
}

// parts purges tasks in n parts.
func (r *round) parts(tasks []*task, n int) (ok bool) {
	for part := range slices.Chunk(tasks, (len(tasks)+n-1)/n) {
		ok = r.purge(part) || ok
	}
	return ok
}

// express is one call of the store. After a wait for a lock in vain it passes
// over locked rows.
func (r *round) express(tasks []*task) (res purge.Result, err error) {
	h := r.h
	known := false
	batch := purge.Batch{Deletions: make([]purge.Deletion, len(tasks)), Budget: purge.Budget{PerDeletion: h.cfg.PerDeletion, Rows: h.express.rows()}}
	for i, t := range tasks {
		batch.Deletions[i] = t.d
		redelivered := t.job.delivery.Deliveries > 1
		known = known || redelivered || t.again || t.d.Retry > 0
		batch.SkipLocked = batch.SkipLocked || redelivered || t.tries > 0
	}
	if r.isolated {
		batch.Isolated, batch.Budget.Rows = true, h.cfg.MinRows // few rows, that may take long
	} else {
		batch.Timeout = h.batchTimeout(r.slow > 0)
	}
	span := h.beginBatch(tasks)
	err = h.persist(func() error {
		start := time.Now()
		r.began = start
		var err error
		if known {
			res, err = h.steps(batch)
		} else {
			res, err = h.cfg.Store.Bulk(h.working, batch)
		}
		if err != nil {
			fault, _ := purge.FaultOf(err)
			if !r.isolated {
				h.express.failed(batch.Budget.Rows, time.Since(start), err)
			}
			batch.SkipLocked = batch.SkipLocked || fault == purge.Contention
			return err
		}
		h.measure(batch, res, time.Since(start))
		return nil
	})
	endBatch(span, res, err)
	return res, err
}

// steps works on deletions that the ledger may know, one by one.
func (h *Handler) steps(b purge.Batch) (purge.Result, error) {
	n := len(b.Deletions)
	res := purge.Result{Records: make([]purge.Record, n), Finished: make([]bool, n), Deleted: make([]int, n)}
	for i, d := range b.Deletions {
		part := purge.Part{Claim: true, Finish: true, Limit: min(b.Budget.PerDeletion, b.Budget.Rows), Timeout: b.Timeout}
		step, err := h.cfg.Store.Step(h.working, d, part)
		if err != nil {
			return purge.Result{}, err
		}
		res.Records[i], res.Finished[i], res.Deleted[i] = step.Record, step.Finished, step.Messages
		res.Rows, res.Tables = res.Rows+step.Rows, res.Tables|step.Tables
		res.BudgetSpent = res.BudgetSpent || step.Full
		if step.Finished {
			res.Tables |= step.Record.Removed()
		}
	}
	return res, nil
}

// batchTimeout is how long a statement of the express lane may take: far longer than
// its target, and so short that a few bad deletions, whose batch is tried in parts,
// delay the others by less than a second. A part has less to do than the batch.
func (h *Handler) batchTimeout(part bool) time.Duration {
	if part {
		return max(h.cfg.Target, 50*time.Millisecond)
	}
	return max(4*h.cfg.Target, 200*time.Millisecond)
}

func (h *Handler) measure(b purge.Batch, res purge.Result, took time.Duration) {
	if !b.Isolated {
		h.express.took(b.Budget.Rows, took, res.BudgetSpent || full(res.Rows, b.Budget.Rows))
		h.express.saw(worked(res), res.Rows)
	}
	h.cfg.Metrics.BatchSeconds.WithLabelValues("express").Observe(took.Seconds())
	h.cfg.Metrics.BatchRows.WithLabelValues("express").Observe(float64(res.Rows))
	messages := 0
	for _, n := range res.Deleted {
		messages += n
	}
	h.cfg.Metrics.Messages.WithLabelValues("express").Add(float64(messages))
}

// full says that a batch came so near to its limit that its duration measures
// that: as many deletions as should fill it seldom do so to the last row.
func full(rows, limit int) bool { return 5*rows >= 4*limit }

// worked returns how many deletions a batch has done something for. Those that
// the budget cut off say nothing about how many rows a deletion has.
func worked(res purge.Result) (n int) {
	for i, finished := range res.Finished {
		if finished || res.Deleted[i] > 0 {
			n++
		}
	}
	return n
}

// sort decides where a deletion goes after a batch. What has lost as much as the
// express lane takes off one deletion, in however many batches, is for the long
// lane; what is smaller never needs a place there.
func (r *round) sort(t *task, rec purge.Record, finished, budgetSpent bool) {
	h := r.h
	t.again = true
	t.spent++
	large := rec.MessagesDeleted >= int64(h.cfg.PerDeletion)
	tries := maxBlocked
	if rec.Attempts > 0 { // what has blocked it before was no sender
		tries = 1
	}
	switch {
	case rec.Reused:
		r.refuseTask(t, failure{
			conversation.ReasonCommandIDReused,
			"command_id has been used for a command with other content: a new command needs a new command_id",
		})
	case rec.Final():
		r.final(t, rec, finished)
	case rec.State == "" && t.tries < maxBlocked:
		// The ledger knows the command and not this deletion of it: the batch
		// was halved after an error. The long way enters it.
		t.tries++
		r.goOn(t)
	case rec.State == "":
		r.failed = append(r.failed, failedTask{task: t, err: errNotEntered})
	case rec.Mine && !large && budgetSpent:
		r.goOn(t)
	case rec.Mine && !large && t.tries < tries:
		t.tries++
		h.cfg.Metrics.Retries.WithLabelValues("blocked").Inc()
		wait := 2 * time.Millisecond << (2 * t.tries)
		h.lanes.Go(func() {
			h.pauseFor(wait)
			r.goOn(t)
		})
	case rec.Mine && !large:
		r.blocked(t, rec)
	case !rec.Mine && rec.LeaseLeft > 0:
		h.cfg.Metrics.Retries.WithLabelValues("leased").Inc()
		h.park(t, purge.DeferDelay(rec.LeaseLeft, spread()))
	default:
		h.enterLong(t, rec.Mine)
	}
}

// errNotEntered is the error of a deletion for which the ledger has no row after the batch that enters it.
var errNotEntered = errors.New("the ledger has no row for the deletion after its insert: check the triggers of lethe.deletions")

// goOn continues a deletion in another batch.
func (r *round) goOn(t *task) {
	switch {
	case r.isolated && r.probing:
		r.h.detector.retryLater(t)
	case r.isolated:
		r.h.detector.runIsolated(t, 0)
	default:
		r.h.queue.push(single(t))
	}
}

// blocked finds out why a small deletion makes no progress: a trigger or a rule keeps
// its rows, which counts as an attempt, or another transaction holds a lock.
func (r *round) blocked(t *task, rec purge.Record) {
	kept, err := r.h.cfg.Store.Kept(r.h.working, t.d)
	fault, _ := purge.FaultOf(err)
	switch {
	case err == nil && kept.Rows > 0:
		r.kept(t, kept)
	case err == nil, fault == purge.Contention:
		r.h.setBackBlocked(t, rec)
	case fault.MayBeCommand():
		r.failed = append(r.failed, failedTask{task: t, err: err})
	default:
		r.setBack([]*task{t}, err)
	}
}
