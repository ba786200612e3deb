package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// retentionEvery is how often the ledger is looked through.
	retentionEvery = time.Hour
	// retentionBatch is the most commands that one transaction forgets.
	retentionBatch = 1000
)

// expirer forgets old commands; *repo.Repo satisfies it.
type expirer interface {
	Expire(ctx context.Context, olderThan time.Duration, limit int) (removed int, err error)
}

// retention makes the ledger forget what has been final for longer than age: at
// once, and then each hour.
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
		r.look(ctx)
		select {
		case <-time.After(pauseOf(rand.Float64())):
		case <-ctx.Done():
			return nil
		}
	}
}

// look goes through the ledger once.
func (r retention) look(ctx context.Context) {
	n, err := r.store.Expire(ctx, r.age, retentionBatch)
	r.expired.Add(float64(n))
	switch {
	case ctx.Err() != nil: // stopped
	case err != nil:
		r.log.Warn("ledger not looked through to the end; trying again later", "forgotten", n, "error", err)
	case n > 0:
		r.log.Info("ledger has forgotten old commands", "forgotten", n)
	}
}

// pauseOf is an hour, give or take a tenth by spread in [0, 1), so that replicas
// which started together don't stay together.
func pauseOf(spread float64) time.Duration {
	return time.Duration((0.9 + 0.2*spread) * float64(retentionEvery))
}
