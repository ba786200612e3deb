package handler

import (
	"time"

	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
)

// startSingle runs single beside the express loops, so that no other deletion waits for it:
// for one that the ledger knows, that a lock blocks, or that the budget cut off.
func (h *Handler) startSingle(t *task, delay time.Duration) {
	h.detector.busy.Add(1)
	h.goroutines.Go(func() {
		defer h.detector.busy.Add(-1)
		h.single(t, delay)
	})
}

// shortLockTimeout is how long a deletion alone waits for a lock: one lock may block
// hundreds, and each is tried again after a wait in which it holds nothing.
const shortLockTimeout = 5 * time.Millisecond

// isolate is startSingle for a deletion that has failed and may take long: few run at a
// time, with few rows and more time.
func (h *Handler) isolate(t *task, delay time.Duration) {
	t.isolated, t.lane, t.tries = true, expressLane, 0
	h.startSingle(t, delay)
}

// single takes a small deletion from step to step, after a delay, until it is final or
// continues elsewhere. It reports whether something failed.
func (h *Handler) single(t *task, delay time.Duration) (trouble bool) {
	d := dispatcher{h: h}
	for stays := true; stays; {
		retry.Sleep(h.stopping, delay)
		f, began := h.singleStep(t)
		var m purge.Move
		m, stays = d.dispatch(t, f, began)
		delay = m.Delay
	}
	d.attribute(1)
	d.publish()
	return d.trouble
}

// singleStep takes the deletion up, if that has not been done, and removes and finishes
// what one transaction can.
func (h *Handler) singleStep(t *task) (purge.Facts, time.Time) {
	running := h.singles
	part := purge.Part{
		Claim: true, Finish: true, Limit: min(h.cfg.PerDeletion, h.express.rows()), Timeout: h.batchTimeout(false), LockTimeout: shortLockTimeout,
	}
	if t.isolated {
		running = h.isolated
		part.Limit, part.Timeout, part.LockTimeout = min(part.Limit, h.cfg.MinRows), 0, 0
	}
	select {
	case running <- struct{}{}:
		defer func() { <-running }()
	case <-h.stopping.Done():
	}
	if !h.watcher.awaitExpress(h.stopping) || h.stopping.Err() != nil {
		return h.facts(t), time.Now()
	}
	t.taken = true
	span := h.beginBatch([]*task{t})
	var began time.Time
	step, err := retryInPlace(h, 0, func() (purge.Step, error) {
		began = time.Now()
		return h.cfg.Store.Step(h.working, t.d, part)
	})
	endBatch(span, step.Rows, err)
	if err != nil {
		if fault, _ := purge.FaultOf(err); fault == purge.Contention {
			t.tries++
		}
		return h.failedFacts(t, err), began
	}
	h.observe(expressLane, step.Rows, int64(step.Messages), time.Since(began))
	h.stepped(t, step)
	if step.Finished {
		h.watcher.smallFinished()
	}
	f := h.facts(t)
	f.Progress = step.Record.Mine && step.Progress()
	f.Large = f.Large || step.Record.Mine && step.Passed && !t.isolated
	return f, began
}

// stepped notes what a step has done to a deletion.
func (h *Handler) stepped(t *task, step purge.Step) {
	t.rec, t.newlyFinal, t.low = step.Record, step.Finished, step.Low
	t.batches++
	if t.d.Erasure() {
		t.erased += int64(step.Messages)
		h.cfg.Metrics.MessagesErased.Add(float64(step.Messages))
	}
	switch {
	case step.Finished:
		h.detector.succeeded(step.Tables|step.Record.Removed(), t.d.Key)
	case step.Rows > 0:
		h.detector.succeeded(step.Tables)
	}
	if step.Progress() {
		t.tries = 0
	} else {
		t.tries++
	}
}
