package handler

import (
	"slices"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/purge"
)

// maxBlocked is how many express batches may find a deletion blocked by a lock
// before it is set back. A sender's transaction takes milliseconds.
const maxBlocked = 4

// expressLane takes what has gathered, again and again. What it has taken when an
// operator pauses all lanes stays in hand, with its heartbeats.
func (h *Handler) expressLane() {
	size := func() int { return h.express.deletions(h.cfg.BatchSize) }
	for {
		entries := h.queue.take(size)
		if entries == nil {
			return
		}
		if !h.brakes.awaitExpress() {
			for _, e := range entries {
				h.handBack(e)
			}
			continue
		}
		r := &round{h: h}
		r.run(entries)
	}
}

// purge runs tasks in one statement. Where that fails through the fault of one
// of them, the batch is halved until that one stands alone: one bad deletion
// must not fail its neighbours. It reports whether any of them got through.
func (r *round) purge(tasks []*task) bool {
	res, err := r.express(tasks)
	fault, _ := purge.FaultOf(err)
	first, second := tasks[:len(tasks)/2], tasks[len(tasks)/2:]
	switch {
	case err == nil:
		spent := res.BudgetSpent
		if slices.Contains(res.Finished, true) {
			r.h.brakes.smallDone()
		}
		for i, t := range tasks {
			r.sort(t, res.Records[i], res.Finished[i], spent)
		}
		return true
	case fault == purge.Own && len(tasks) > 1:
		ok := r.purge(first)
		return r.purge(second) || ok
	case fault == purge.Own:
		r.failAttempt(tasks[0], err)
		return true
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

// express is one call of the store. After a wait for a lock in vain it passes
// over locked rows.
func (r *round) express(tasks []*task) (res purge.Result, err error) {
	h := r.h
	batch := purge.Batch{Deletions: make([]purge.Deletion, len(tasks)), Budget: purge.Budget{PerDeletion: h.cfg.PerDeletion, Rows: h.express.rows()}}
	for i, t := range tasks {
		batch.Deletions[i] = t.d
		batch.Again = batch.Again || t.again
		redelivered := t.job.delivery.Deliveries > 1
		batch.Reclaim = batch.Reclaim || redelivered || t.again || t.d.Retry > 0
		batch.SkipLocked = batch.SkipLocked || redelivered || t.tries > 0
	}
	span := h.beginBatch(tasks)
	err = h.persist(func() error {
		start := time.Now()
		var err error
		res, err = h.cfg.Store.Express(h.working, batch)
		if err != nil {
			fault, _ := purge.FaultOf(err)
			h.express.failed(batch.Budget.Rows, time.Since(start), err)
			batch.SkipLocked = batch.SkipLocked || fault == purge.Contention
			batch.Again = true // if the connection broke, it may have been committed
			return err
		}
		h.measure(batch, res, time.Since(start))
		return nil
	})
	endBatch(span, res, err)
	return res, err
}

func (h *Handler) measure(b purge.Batch, res purge.Result, took time.Duration) {
	h.express.took(b.Budget.Rows, took, res.BudgetSpent || full(res.Rows, b.Budget.Rows))
	h.express.saw(worked(res), res.Rows)
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
		h.queue.push(entry{job: t.job, tasks: []*task{t}})
	case rec.Mine && !large && budgetSpent:
		h.queue.push(entry{job: t.job, tasks: []*task{t}})
	case rec.Mine && !large && t.tries < maxBlocked:
		t.tries++
		h.cfg.Metrics.Retries.WithLabelValues("blocked").Inc()
		wait := 2 * time.Millisecond << (2 * t.tries)
		h.lanes.Go(func() {
			h.pauseFor(wait)
			h.queue.push(entry{job: t.job, tasks: []*task{t}})
		})
	case rec.Mine && !large:
		h.setBackBlocked(t, rec)
	case !rec.Mine && rec.LeaseLeft > 0:
		h.cfg.Metrics.Retries.WithLabelValues("leased").Inc()
		h.park(t, purge.ParkDelay(rec.LeaseLeft, spread()))
	default:
		h.enterLong(t, rec.Mine)
	}
}
