package replay

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/lethe-im/lethe/internal/purge"
)

// outagePatience is how long a replay waits for infrastructure that fail: a
// database that is restarted just now comes back within it.
const outagePatience = 30 * time.Second

// persist calls op again while the infrastructure are at fault, for a while.
func persist[T any](ctx context.Context, log *slog.Logger, op func() (T, error)) (T, error) {
	told := false
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(outagePatience))
	return backoff.RetryNotifyWithData(func() (T, error) {
		v, err := op()
		if fault, cause := purge.FaultOf(err); err != nil && (fault != purge.Infrastructure || !passing(cause)) {
			return v, backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithContext(wait, ctx), func(err error, _ time.Duration) {
		if !told {
			log.Warn("waiting for the infrastructure", "patience", outagePatience, "error", err)
		}
		told = true
	})
}

// passing says that a fault of the infrastructure may heal within half a minute,
// without a hand.
func passing(cause string) bool {
	switch cause {
	case "connection", "server", "timeout", "unavailable":
		return true
	}
	return false
}
