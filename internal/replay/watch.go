package replay

import (
	"context"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
)

// longestWait is how long a batch that is throttled waits until it asks again.
const longestWait = time.Second

// throttled samples the database when a sample is due, and waits while something throttles.
func (r *run) throttled(ctx context.Context) error {
	for {
		if r.monitor.Due(time.Now()) {
			r.sample(ctx)
		}
		if _, stop := r.monitor.Stop(); !stop {
			return nil
		}
		if err := sleep(ctx, longestWait); err != nil {
			return err
		}
	}
}

// sample reads the figures once. A sample that fails throttles nothing, as in a worker;
// the batches themselves see a pause.
func (r *run) sample(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, purge.SampleTimeout)
	defer cancel()
	f, err := r.Store.Watch(limited, r.Limits, true)
	now := time.Now()
	if err != nil {
		r.report(r.monitor.Failed(now, err))
		return
	}
	r.report(r.monitor.Sampled(now, f, true))
}

func (r *run) report(report purge.Report) {
	for _, n := range report.Notes {
		if n.Warn {
			r.Log.Warn(n.Message, n.Attrs...) //nolint:sloglint // a constant of the monitor's
		} else {
			r.Log.Info(n.Message, n.Attrs...) //nolint:sloglint // a constant of the monitor's
		}
	}
}

// throttledBy waits as long as the database itself has kept a batch from running: by a pause,
// after a slow batch, for other clients, or for want of a permit.
func (r *run) throttledBy(ctx context.Context, h purge.Throttled) error {
	switch h.Reason {
	case purge.NoPermit:
		return sleep(ctx, time.Duration((0.5+retry.Random())*float64(50*time.Millisecond)))
	case purge.ForegroundLoad:
		return sleep(ctx, h.Left)
	case purge.SlowBatch:
		r.report(r.monitor.Batch(time.Now(), true, h.Detail))
	default:
		r.sample(ctx) // which stops the next batch before it goes to the database
	}
	if h.Left <= 0 || h.Left > longestWait {
		h.Left = longestWait
	}
	return sleep(ctx, h.Left)
}

// sleep waits, or returns the error of a stop.
func sleep(ctx context.Context, d time.Duration) error {
	if retry.Sleep(ctx, d); ctx.Err() != nil {
		return &purge.FaultError{Fault: purge.Stopping, Cause: "stopping", Err: errInterrupted}
	}
	return nil
}
