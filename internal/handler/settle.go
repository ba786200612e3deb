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
	var letters []bus.Announcement
	for i, j := range jobs {
		outcomes[i] = j.outcome()
		if outcomes[i].Verdict == bus.Reject {
			letters = append(letters, letter(j))
		}
	}
	err := h.announce(letters)
	crash.Point("before_ack")
	for i, j := range jobs {
		o := outcomes[i]
		switch {
		case o.Verdict == bus.Reject && err != nil:
			o = bus.Outcome{Verdict: bus.Retry}
		case o.Verdict == bus.Reject:
			h.cfg.Metrics.DeadLetters.WithLabelValues(string(o.Reason)).Inc()
			h.cfg.Log.Warn("command given up", "app", j.app, "command", j.command, "reason", o.Reason, "error", j.why().message)
		}
		j.place.Settle(o)
	}
}

// park ends a task that must be delivered again after delay.
func (h *Handler) park(t *task, delay time.Duration) {
	if t.job.park(delay) {
		h.settle([]*job{t.job})
	}
}

// setBack hands a task back after an error that isn't its own.
func (h *Handler) setBack(t *task, err error) {
	fault, cause := purge.FaultOf(err)
	switch fault {
	case purge.Surroundings:
		h.pause(err)
		h.cfg.Metrics.Retries.WithLabelValues(cause).Inc()
		h.park(t, purge.ParkDelay(2*time.Second, spread()))
	case purge.Contention:
		h.cfg.Metrics.Retries.WithLabelValues(cause).Inc()
		h.release(t, 0)
		h.park(t, purge.ParkDelay(time.Second, spread()))
	default: // stopping
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
