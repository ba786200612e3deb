package handler

import (
	"slices"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

// bulk is one express round: it takes up and finishes many small deletions in one
// transaction. Where that fails, it finds the deletions that fail, so that they neither
// fail nor delay the others.
type bulk struct {
	dispatcher
	probed  bool         // of one deletion, which the detector runs
	others  purge.Tables // from which rows were deleted since the group was first tried
	slow    int          // batches that timed out
	untried []*task      // of a group of which every try failed
}

const (
	// fanOut is into how many parts a batch is divided that timed out. Each part with a
	// bad deletion takes as long again, so that eight halvings would be too many.
	fanOut = 16
	// maxGroupFailures is how many tries of a group may fail, with no success, before the
	// rest of it is not tried: enough to show that the infrastructure is at fault.
	maxGroupFailures = 8
)

// group tries tasks. For each that fails it notes from which tables rows of the
// others were deleted since the first try of all of them. Where the plan needs a
// transaction for each, all continue alone.
func (b *bulk) group(tasks []*task) {
	if b.h.cfg.Store.Single() {
		for _, t := range tasks {
			b.next(t, b.h.facts(t))
		}
		return
	}
	if len(tasks) == 0 {
		return
	}
	b.try(tasks)
	for i := range b.unattributed {
		b.unattributed[i].others |= b.others
	}
}

// try runs tasks in one transaction. Where that fails, and it may be the fault of
// one of them, the batch is divided until that one is alone. It reports whether any of
// them succeeded.
func (b *bulk) try(tasks []*task) (ok bool) {
	if b.others == 0 && (len(b.unattributed) >= maxGroupFailures || b.slow > maxGroupFailures) {
		b.untried = append(b.untried, tasks...)
		return false
	}
	res, began, err := b.batch(tasks)
	fault, cause := purge.FaultOf(err)
	first, second := tasks[:len(tasks)/2], tasks[len(tasks)/2:]
	switch {
	case err == nil:
		b.committed(tasks, res)
		return true
	case fault.MayBeCommand():
		return b.divide(tasks, err, began, cause == purge.StatementTimeout)
	case fault == purge.Contention && len(tasks) > 1:
		if b.try(first) {
			b.try(second)
			return true
		}
		b.failAll(second, err) // a lock on a whole table, say: one try for each would take minutes
		return false
	}
	b.failAll(tasks, err)
	return false
}

// divide tries the parts of a batch that failed with an error that may be one
// deletion's own fault.
func (b *bulk) divide(tasks []*task, err error, began time.Time, slow bool) bool {
	if slow {
		b.slow++
	} else if found := b.h.detector.examine(); found != nil {
		b.failAll(tasks, found)
		return false
	}
	switch {
	case len(tasks) > 1 && slow:
		return b.parts(tasks, fanOut)
	case len(tasks) > 1:
		return b.parts(tasks, 2)
	case slow:
		b.h.detector.track(tasks[0], b.others)
	}
	b.dispatch(tasks[0], b.h.failedFacts(tasks[0], err), began) // after an error that may be its own it never stays
	return false
}

// parts tries tasks in n parts.
func (b *bulk) parts(tasks []*task, n int) (ok bool) {
	for part := range slices.Chunk(tasks, (len(tasks)+n-1)/n) {
		ok = b.try(part) || ok
	}
	return ok
}

// failAll ends the try of tasks by an error that isn't one deletion's own. The call was
// repeated in place: they count as having had all tries, so that a locked one is deferred.
func (b *bulk) failAll(tasks []*task, err error) {
	for _, t := range tasks {
		t.tries = purge.MaxTries + 1
		b.next(t, b.h.failedFacts(t, err))
	}
}

// committed notes what a transaction has done to its tasks.
func (b *bulk) committed(tasks []*task, res purge.Result) {
	if slices.Contains(res.Finished, true) {
		b.h.watcher.smallFinished()
	}
	b.others |= res.Tables
	b.h.detector.succeeded(res.Tables, finished(tasks, res)...)
	for i, t := range tasks {
		t.rec, t.newlyFinal, t.taken = res.Records[i], res.Finished[i], t.taken || res.Records[i].Mine
		t.batches++
		progress := t.rec.Mine && (res.BudgetSpent || res.Deleted[i] > 0)
		if t.rec.Mine && !progress {
			t.tries++
		}
		f := b.h.facts(t)
		f.Progress = progress
		b.next(t, f)
	}
}

// next carries out the next move. What is to be tried again continues alone.
func (b *bulk) next(t *task, f purge.Facts) {
	m, stays := b.dispatch(t, f, time.Now())
	switch {
	case stays && b.probed:
		b.trouble = b.h.single(t, m.Delay) || b.trouble
	case stays:
		b.h.startSingle(t, m.Delay)
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

// batch carries out one batch. After waiting for a lock in vain it is repeated, and passes
// over locked rows.
func (b *bulk) batch(tasks []*task) (res purge.Result, began time.Time, err error) {
	h := b.h
	batch := purge.Batch{
		Listed:    !slices.ContainsFunc(tasks, func(t *task) bool { return t.job.whole == nil }),
		Deletions: deletions(tasks), Budget: purge.Budget{PerDeletion: h.cfg.PerDeletion, Rows: h.express.rows()}, Timeout: h.batchTimeout(b.slow > 0),
	}
	span := h.beginBatch(tasks)
	res, err = retryInPlace(h, maxContended, func() (purge.Result, error) {
		began = time.Now()
		res, err := h.cfg.Store.Bulk(h.working, batch)
		if err != nil {
			fault, _ := purge.FaultOf(err)
			h.express.failed(batch.Budget.Rows, time.Since(began), err)
			batch.SkipLocked = batch.SkipLocked || fault == purge.Contention
			return res, err
		}
		h.measure(batch.Budget, res, time.Since(began))
		return res, nil
	})
	endBatch(span, res.Rows, err)
	return res, began, err
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

// measure notes what a bulk transaction has done, in took.
func (h *Handler) measure(budget purge.Budget, res purge.Result, took time.Duration) {
	h.express.took(budget.Rows, took, res.BudgetSpent || full(res.Rows, budget.Rows))
	h.express.saw(worked(res), res.Rows)
	messages := 0
	for _, n := range res.Deleted {
		messages += n
	}
	h.observe(expressLane, res.Rows, int64(messages), took)
}

// observe puts a transaction that deleted something into the metrics.
func (h *Handler) observe(lane string, rows int, messages int64, took time.Duration) {
	h.cfg.Metrics.BatchSeconds.WithLabelValues(lane).Observe(took.Seconds())
	h.cfg.Metrics.BatchRows.WithLabelValues(lane).Observe(float64(rows))
	h.cfg.Metrics.Messages.WithLabelValues(lane).Add(float64(max(0, messages)))
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
