package handler

import (
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
)

// expressLoop takes what has gathered, again and again. What it has taken when an
// operator pauses all lanes stays in flight, with its heartbeats.
func (h *Handler) expressLoop() {
	size := func() int { return h.express.deletions(h.cfg.BatchSize) }
	for {
		entries := h.queue.take(size)
		if entries == nil {
			return
		}
		h.watcher.awaitExpress(h.stopping)
		h.detector.busy.Add(1)
		h.expressRound(entries, false)
		h.detector.busy.Add(-1)
	}
}

// expressRound takes commands to their end, as far as one transaction does: take up and
// finish all deletions together, publish the outcomes, acknowledge the commands. What is
// known to the ledger, large, locked or cut off by the budget continues elsewhere. It reports
// whether something failed. probed says that the detector runs the round.
func (h *Handler) expressRound(entries []entry, probed bool) (trouble bool) {
	b := &bulk{dispatcher: dispatcher{h: h}, probed: probed}
	if h.stopping.Err() == nil {
		b.group(b.admit(entries))
	} else {
		b.deferAll(entries)
	}
	b.attribute(1)
	for _, t := range b.untried {
		h.queue.push(entryOf(t))
	}
	b.publish()
	return b.trouble
}

// deferAll returns commands to the stream at a stop.
func (b *bulk) deferAll(entries []entry) {
	for _, e := range entries {
		if len(e.tasks) == 0 {
			e.job.settle(bus.Outcome{Verdict: bus.Retry})
		}
		for _, t := range e.tasks {
			b.next(t, b.h.facts(t))
		}
	}
}

// admit refuses and fails what can't be worked on, reopens what an operator retries, isolates
// what has failed before, and returns the other deletions.
func (b *bulk) admit(entries []entry) []*task {
	var tasks []*task
	for _, e := range entries {
		if len(e.tasks) == 0 {
			b.refuse(e.job)
		}
		for _, t := range e.tasks {
			switch {
			case t.d.Erasure():
				b.next(t, b.h.facts(t)) // alone
			case t.incompatible != nil:
				t.err = t.incompatible
				b.next(t, b.h.facts(t))
			default:
				tasks = append(tasks, t)
			}
		}
	}
	var admitted []*task
	for _, t := range b.reopen(b.encodable(tasks)) {
		if !b.probed && b.h.detector.failedBefore(t) {
			b.h.isolate(t, 0)
		} else {
			admitted = append(admitted, t)
		}
	}
	return admitted
}

// encodable ends the deletions with an id that the database, and so the ledger, can't
// store, and returns the others.
func (b *bulk) encodable(tasks []*task) []*task {
	ds := deletions(tasks)
	found, err := retryInPlace(b.h, maxContended, func() (map[int]purge.Unencodable, error) { return b.h.cfg.Store.Unencodable(b.h.working, ds) })
	if err != nil {
		b.failAll(tasks, err)
		return nil
	}
	if len(found) == 0 {
		return tasks
	}
	var good []*task
	for i, t := range tasks {
		u, bad := found[i]
		switch {
		case !bad:
			good = append(good, t)
			continue
		case u.Whole:
			t.refusal = &failure{conversation.ReasonIncompatibleID, u.Err.Error()}
		default:
			t.newlyFinal, t.rec = true, purge.Record{
				Key: t.d.Key, Device: t.d.Device, State: purge.Failed, FailedAt: time.Now(),
				Reason: string(conversation.ReasonIncompatibleID), Message: u.Err.Error(),
			}
		}
		b.next(t, b.h.facts(t))
	}
	return good
}

// reopen reopens what an operator retries, before the batch reads the ledger.
func (b *bulk) reopen(tasks []*task) []*task {
	var retried []purge.Deletion
	for _, t := range tasks {
		if t.d.Retry > 0 && !t.taken {
			retried = append(retried, t.d)
		}
	}
	if len(retried) == 0 {
		return tasks
	}
	_, err := retryInPlace(b.h, maxContended, func() (struct{}, error) { return struct{}{}, b.h.cfg.Store.Reopen(b.h.working, retried) })
	fault, _ := purge.FaultOf(err)
	switch {
	case err == nil:
		return tasks
	case fault.MayBeCommand() && len(tasks) > 1:
		return append(b.reopen(tasks[:len(tasks)/2:len(tasks)/2]), b.reopen(tasks[len(tasks)/2:])...)
	}
	b.failAll(tasks, err)
	return nil
}

func deletions(tasks []*task) []purge.Deletion {
	ds := make([]purge.Deletion, len(tasks))
	for i, t := range tasks {
		ds[i] = t.d
	}
	return ds
}
