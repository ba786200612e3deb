package handler

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
	"github.com/lethe-im/lethe/internal/telemetry"
)

// watchStore is what the watcher needs of the database.
type watchStore interface {
	Watch(ctx context.Context, limits purge.Limits, all bool) (purge.Figures, error)
}

// watcher takes the samples for the monitor: of the operator's pauses about once a
// second, of the other throttles' figures too while there is long work. It keeps the
// metrics and the gate as the monitor decides. Safe for concurrent use.
type watcher struct {
	store       watchStore
	gate        *Gate
	metrics     *telemetry.Metrics
	log         *slog.Logger
	busy        func() bool // there is long work
	unavailable func(error) // the worker must not pull commands
	sampling    sync.Mutex  // one sample at a time

	mu      sync.Mutex // guards what follows
	monitor purge.Monitor
	changed chan struct{} // closed and replaced when a throttle begins or ends
}

// run samples again and again until ctx ends.
func (w *watcher) run(ctx context.Context) {
	for {
		w.mu.Lock()
		wait := w.monitor.Next(retry.Random())
		w.mu.Unlock()
		if retry.Sleep(ctx, wait); ctx.Err() != nil {
			return
		}
		w.sample(ctx)
	}
}

// refresh samples now, if there is no recent sample of all figures.
func (w *watcher) refresh(ctx context.Context) {
	w.mu.Lock()
	due := w.monitor.Due(time.Now())
	w.mu.Unlock()
	if due {
		w.sample(ctx)
	}
}

// sample reads the figures once.
func (w *watcher) sample(ctx context.Context) {
	w.sampling.Lock()
	defer w.sampling.Unlock()
	limited, cancel := context.WithTimeout(ctx, purge.SampleTimeout)
	defer cancel()
	all := w.busy()
	f, err := w.store.Watch(limited, w.monitor.Limits, all)
	if ctx.Err() != nil {
		return
	}
	if report := w.observe(func(m *purge.Monitor, now time.Time) purge.Report {
		if err != nil {
			return m.Failed(now, err)
		}
		return m.Sampled(now, f, all)
	}); report.Unavailable {
		w.unavailable(err)
	}
}

// observe lets the monitor take something in, and publishes what it changes.
func (w *watcher) observe(take func(*purge.Monitor, time.Time) purge.Report) purge.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	report := take(&w.monitor, now)
	for _, n := range report.Notes {
		if n.Warn {
			w.log.Warn(n.Message, n.Attrs...) //nolint:sloglint // a constant of the monitor's
		} else {
			w.log.Info(n.Message, n.Attrs...) //nolint:sloglint // a constant of the monitor's
		}
	}
	for _, reason := range report.Began {
		w.metrics.Throttled.WithLabelValues(string(reason)).Set(1)
	}
	for _, reason := range report.Ended {
		w.metrics.Throttled.WithLabelValues(string(reason)).Set(0)
	}
	w.metrics.ForegroundBackoff.Set(w.monitor.Backoff(now))
	if throttle, paused := w.monitor.PausedAll(); paused {
		w.gate.Pause(string(purge.Paused), throttle.Detail)
	} else {
		w.gate.Open(string(purge.Paused))
	}
	if len(report.Began)+len(report.Ended) > 0 {
		close(w.changed)
		w.changed = make(chan struct{})
	}
	return report
}

// observeBatch notes whether a batch of the long lane was slow, here or in another worker.
func (w *watcher) observeBatch(slow bool, detail string) {
	w.observe(func(m *purge.Monitor, now time.Time) purge.Report { return m.Batch(now, slow, detail) })
}

// smallFinished notes that a small deletion has been finished.
func (w *watcher) smallFinished() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.monitor.SmallFinished(time.Now())
}

// longThrottle returns what stops the long lane, with no reason for nothing, and what is closed
// when that changes.
func (w *watcher) longThrottle() (purge.Throttle, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	throttle, _ := w.monitor.Stop()
	return throttle, w.changed
}

// detail returns what is known about a throttle, for people; "" if it isn't there.
func (w *watcher) detail(reason purge.ThrottleReason) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	throttle, _ := w.monitor.Throttles().Of(reason)
	return throttle.Detail
}

// backoff returns how many times as long as each batch the long lane waits after it.
func (w *watcher) backoff() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.monitor.Backoff(time.Now())
}

// awaitExpress waits while all lanes are paused. It reports false when ctx ends before.
func (w *watcher) awaitExpress(ctx context.Context) bool {
	for {
		w.mu.Lock()
		_, paused := w.monitor.PausedAll()
		changed := w.changed
		w.mu.Unlock()
		if !paused {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// summary is what throttles the worker's lanes, in one line; "" for nothing.
func (w *watcher) summary() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for _, t := range w.monitor.Throttles() {
		lines = append(lines, string(t.Reason)+" ("+strings.ReplaceAll(t.Detail, "\n", " ")+")")
	}
	return strings.Join(lines, ", ")
}
