package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/telemetry"
)

const (
	// backlogEvery is how often the backlog is sampled, by five small requests.
	backlogEvery = 10 * time.Second
	// backlogTimeout bounds one sample.
	backlogTimeout = 5 * time.Second
)

// backlogSource knows how much work there is; *broker.Broker satisfies it.
type backlogSource interface {
	Backlog(ctx context.Context) (bus.Backlog, error)
}

// backlogWatch keeps the metrics of the backlog up to date.
type backlogWatch struct {
	source backlogSource
	shown  *telemetry.Backlog
	every  time.Duration // the longest time between two samples
	log    *slog.Logger
}

// run works until ctx ends, and returns nil. Errors are logged only, once until
// the next success: nothing depends on it.
func (w backlogWatch) run(ctx context.Context) error {
	known := true
	for {
		err := w.sample(ctx)
		switch {
		case ctx.Err() != nil: // stopped
		case err == nil && !known:
			w.log.Info("backlog known again")
		case err != nil && known:
			w.log.Warn("backlog unknown; leaving out its metrics", "error", err)
		}
		known = err == nil
		select {
		case <-time.After(time.Duration((0.8 + 0.2*rand.Float64()) * float64(w.every))): // so that replicas don't ask together
		case <-ctx.Done():
			return nil
		}
	}
}

// sample asks once and shows what it has found; nothing after an error.
func (w backlogWatch) sample(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
	defer cancel()
	found, err := w.source.Backlog(ctx)
	if err != nil {
		w.shown.Forget()
		return err
	}
	w.shown.Set(found)
	return nil
}

const (
	// retentionEvery is how often expired commands are removed from the ledger.
	retentionEvery = time.Hour
	// retentionBatch is how many commands one transaction removes at most.
	retentionBatch = 1000
)

// expirer removes old commands; *repo.Repo satisfies it.
type expirer interface {
	Expire(ctx context.Context, olderThan time.Duration, limit int) (removed int, err error)
}

// retention removes from the ledger what has been final for longer than age: at once,
// and then each hour.
type retention struct {
	store   expirer
	age     time.Duration
	expired prometheus.Counter
	log     *slog.Logger
}

// run works until ctx ends, and returns nil. Errors are logged only: nothing
// depends on it.
func (r retention) run(ctx context.Context) error {
	for {
		r.expire(ctx)
		select {
		case <-time.After(jittered(retentionEvery, rand.Float64())):
		case <-ctx.Done():
			return nil
		}
	}
}

// expire goes through the ledger once.
func (r retention) expire(ctx context.Context) {
	n, err := r.store.Expire(ctx, r.age, retentionBatch)
	r.expired.Add(float64(n))
	switch {
	case ctx.Err() != nil: // stopped
	case err != nil:
		r.log.Warn("could not remove all expired commands from the ledger; retrying later", "removed", n, "error", err)
	case n > 0:
		r.log.Info("removed expired commands from the ledger", "removed", n)
	}
}

// jittered is d, give or take a tenth by jitter in [0, 1), so that replicas which
// started together don't stay together.
func jittered(d time.Duration, jitter float64) time.Duration {
	return time.Duration((0.9 + 0.2*jitter) * float64(d))
}
