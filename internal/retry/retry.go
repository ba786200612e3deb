// Package retry repeats calls and lets time pass: the one place that knows how.
package retry

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Policy says how a call is repeated: after waits that begin with First, grow to at most
// Max, each with jitter, for Total in all; zero means until the context ends.
type Policy struct {
	First, Max, Total time.Duration
}

// Do calls op until it succeeds, again reports that its error is not worth another try,
// the policy's total has passed or ctx has ended. It returns op's last value and error.
func Do[T any](ctx context.Context, p Policy, op func() (T, error), again func(error) bool) (T, error) {
	waits := p.waits()
	for {
		v, err := op()
		if err == nil || ctx.Err() != nil || !again(err) {
			return v, err
		}
		wait := waits.NextBackOff()
		if wait == backoff.Stop {
			return v, err
		}
		if Sleep(ctx, wait); ctx.Err() != nil {
			return v, err
		}
	}
}

func (p Policy) waits() backoff.BackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(p.First), backoff.WithMaxInterval(p.Max), backoff.WithMaxElapsedTime(p.Total))
}

// Sleep waits for d, but not longer than until ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Random returns a number in [0, 1) for jitter.
func Random() float64 { return rand.Float64() } //nolint:gosec // no secret
