package handler

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/lethe-im/lethe/internal/purge"
)

// maxContended is how often a call is repeated in place that met a lock or a
// deadlock. Each try has waited for the target already.
const maxContended = 3

// persist tries a call of the store again, for a short while, when that may
// heal it.
func (h *Handler) persist(call func() error) error {
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(20*time.Millisecond),
		backoff.WithMaxInterval(500*time.Millisecond), backoff.WithMaxElapsedTime(2*time.Second))
	var last error
	contended := 0
	_ = backoff.Retry(func() error { // it returns what last holds, or that the worker stops
		last = call()
		fault, cause := purge.FaultOf(last)
		if fault == purge.Contention {
			contended++
		}
		if last == nil || contended > maxContended || !purge.Transient(fault, cause) {
			return backoff.Permanent(last)
		}
		h.cfg.Metrics.Retries.WithLabelValues(cause).Inc()
		return last
	}, backoff.WithContext(b, h.stopping))
	if last == nil {
		h.troubles.Store(0)
	}
	return last
}

// pauseFor waits, but not beyond a stop.
func (h *Handler) pauseFor(d time.Duration) {
	select {
	case <-time.After(d):
	case <-h.stopping.Done():
	}
}

// sleepUnless is pauseFor, and ends early when over is closed.
func (h *Handler) sleepUnless(over <-chan struct{}, d time.Duration) {
	select {
	case <-time.After(d):
	case <-over:
	case <-h.stopping.Done():
	}
}

// active reports whether neither over is closed nor the worker stops.
func (h *Handler) active(over <-chan struct{}) bool {
	select {
	case <-over:
		return false
	case <-h.stopping.Done():
		return false
	default:
		return true
	}
}

// pause keeps the worker from taking new commands until a probe says that the
// database serves it again. Each outage since the last success doubles the wait
// before the first probe, for a fault that a probe can't see.
func (h *Handler) pause(err error) {
	const cause = "database"
	if !h.cfg.Gate.Close(cause, err.Error()) {
		return
	}
	h.cfg.Log.Error("database unavailable; not pulling commands", "error", err)
	first := min(5*time.Second, 100*time.Millisecond<<min(h.troubles.Add(1), 10))
	h.lanes.Go(func() {
		b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(first),
			backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
		wait := func() bool {
			select {
			case <-time.After(b.NextBackOff()):
				return true
			case <-h.stopping.Done():
				return false
			}
		}
		for wait() {
			ctx, cancel := context.WithTimeout(h.stopping, 10*time.Second)
			err := h.cfg.Store.Probe(ctx)
			cancel()
			if err == nil {
				h.cfg.Log.Info("database available; pulling commands again")
				h.cfg.Gate.Open(cause)
				return
			}
			h.cfg.Gate.Close(cause, err.Error())
		}
	})
}
