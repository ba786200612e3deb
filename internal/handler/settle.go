package handler

import (
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/crash"
	"github.com/lethe-im/lethe/internal/purge"
)

// settle ends jobs whose tasks are all closed.
func (h *Handler) settle(jobs []*job) {
	outcomes := make([]bus.Outcome, len(jobs))
	omitted := make([]bool, len(jobs))
	var letters announcements
	room := letterRoom{h: h}
	for i, j := range jobs {
		outcomes[i] = j.outcome()
		if outcomes[i].Verdict != bus.Reject {
			continue
		}
		if omitted[i] = malformed(outcomes[i].Reason) && !room.take(j.delivery); !omitted[i] {
			letters.add(j, letter(j))
		}
	}
	err := h.announce(letters)
	room.release()
	if lettersFull(err) && len(jobs) > 1 { // one at a time, so that only those wait that need a letter
		for _, j := range jobs {
			h.settle([]*job{j})
		}
		return
	}
	crash.Point("before_ack")
	for i, j := range jobs {
		o := outcomes[i]
		switch {
		case o.Verdict != bus.Reject:
		case lettersFull(err) && malformed(o.Reason):
			h.rejected(j, o.Reason, true)
		case lettersFull(err):
			o = h.awaitLetterRoom(j)
		case err != nil && !omitted[i]:
			o = bus.Outcome{Verdict: bus.Retry}
		default:
			h.rejected(j, o.Reason, omitted[i])
		}
		j.end(o)
	}
}

// park ends a task that must be delivered again after delay. As long as another
// one of its command is in the long lane, perhaps for hours, the delivery stays in
// hand: then it is only the task that comes again.
func (h *Handler) park(t *task, delay time.Duration) {
	if t.job.othersLong(t) && h.stopping.Err() == nil {
		h.lanes.Go(func() {
			h.pauseFor(delay)
			t.again, t.tries = true, 0
			h.queue.push(single(t))
		})
		return
	}
	if t.job.park(delay) {
		h.settle([]*job{t.job})
	}
}

// setBackBlocked hands back a small deletion whose rows somebody holds for longer
// than a sender does. It doesn't wait in the long lane, whose places are for what
// is long.
func (h *Handler) setBackBlocked(t *task, rec purge.Record) {
	h.cfg.Metrics.Retries.WithLabelValues("lock").Inc()
	h.tellProgress(t, rec, rec.CursorSeq, string(purge.Lock))
	h.lanes.Go(func() {
		h.releaseBlocked(t, 0)
		h.park(t, purge.DeferDelay(time.Second, spread()))
	})
}

// setBack hands a task back after an error that isn't its own.
func (h *Handler) setBack(t *task, err error) {
	t.job.trouble(err)
	fault, cause := purge.FaultOf(err)
	switch fault {
	case purge.Infrastructure:
		h.pause(err)
		h.cfg.Metrics.Retries.WithLabelValues(cause).Inc()
		h.park(t, purge.DeferDelay(2*time.Second, spread()))
	case purge.Contention:
		h.cfg.Metrics.Retries.WithLabelValues(cause).Inc()
		h.releaseBlocked(t, 0)
		h.park(t, purge.DeferDelay(time.Second, spread()))
	case purge.Command, purge.Ambiguous: // not even its failure could be counted
		if h.detector.failed([]failedTask{{task: t, err: err}}, 1)[0].Fault == purge.Infrastructure {
			h.detector.retryLater(t)
			return
		}
		h.cfg.Metrics.Retries.WithLabelValues(cause).Inc()
		h.cfg.Log.Error("deletion set back", append(t.attrs(), "error", err)...)
		h.park(t, purge.DeferDelay(0, spread()))
	case purge.Stopping:
		h.release(t, 0)
		h.park(t, 0)
	}
}

// attempt is what the ledger shall keep of a failed attempt.
func (h *Handler) attempt(cause error) purge.Failure {
	return purge.Failure{
		Reason: string(conversation.ReasonAttemptsExhausted), Message: cause.Error(), Err: cause.Error(), MaxAttempts: h.cfg.MaxAttempts,
	}
}
