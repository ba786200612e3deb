package handler

import (
	"context"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
)

// maxContended is how often a call is repeated in place that met a lock or a
// deadlock. Each try has waited for the target already.
const maxContended = 3

// inPlace bounds how long a call of the store is repeated in place.
var inPlace = retry.Policy{First: 20 * time.Millisecond, Max: 500 * time.Millisecond, Total: 2 * time.Second}

// retryInPlace calls the store, and again for a short while where that may help; after a lock
// or a deadlock at most contended times more.
func retryInPlace[T any](h *Handler, contended int, call func() (T, error)) (T, error) {
	v, err := retry.Do(h.stopping, inPlace, call, func(err error) bool {
		fault, cause := purge.FaultOf(err)
		if fault == purge.Contention {
			contended--
		}
		again := purge.Transient(fault, cause) && contended >= 0
		if again {
			h.cfg.Metrics.Retries.WithLabelValues(cause).Inc()
		}
		return again
	})
	if err == nil {
		h.outages.Store(0)
	}
	return v, err
}

const (
	// gateDatabase is the gate's reason while the database is unavailable.
	gateDatabase = "database"
	// maxProbeInterval is the longest wait between two probes, probeTimeout ends one.
	maxProbeInterval, probeTimeout = 5 * time.Second, 10 * time.Second
)

// unavailable keeps the worker from pulling commands until a probe says that the
// database serves it again. Each outage since the last success doubles the wait
// before the first probe, for a fault that a probe can't see.
func (h *Handler) unavailable(err error) {
	if !h.cfg.Gate.Close(gateDatabase, err.Error()) {
		return
	}
	h.cfg.Log.Error("database unavailable; not pulling commands", "error", err)
	first := min(maxProbeInterval, 100*time.Millisecond<<min(h.outages.Add(1), 10))
	h.goroutines.Go(func() {
		retry.Sleep(h.stopping, first)
		probe := func() (struct{}, error) {
			ctx, cancel := context.WithTimeout(h.stopping, probeTimeout)
			defer cancel()
			return struct{}{}, h.cfg.Store.Probe(ctx)
		}
		_, err := retry.Do(h.stopping, retry.Policy{First: first, Max: maxProbeInterval}, probe, func(err error) bool {
			h.cfg.Gate.Close(gateDatabase, err.Error())
			return true
		})
		if err == nil {
			h.cfg.Log.Info("database available; pulling commands again")
			h.cfg.Gate.Open(gateDatabase)
		}
	})
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

// sleepUnless waits, and ends early when over is closed or the worker stops.
func (h *Handler) sleepUnless(over <-chan struct{}, d time.Duration) {
	select {
	case <-time.After(d):
	case <-over:
	case <-h.stopping.Done():
	}
}
