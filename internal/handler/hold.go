package handler

import (
	"fmt"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
)

// longestHold is how long a deletion that is held back looks neither at its lease
// nor at whether anything still holds it.
const longestHold = time.Second

// hold keeps a deletion where it is, with its lease and its place, until what
// holds the long lane changes, for left (0: not known) or for a second.
func (l *longRun) hold(cause purge.ThrottleReason, left time.Duration, changed <-chan struct{}) error {
	if cause != l.waits || time.Now().After(l.renew) {
		rec, err := l.h.cfg.Store.Renew(l.h.working, l.t.d, l.low, cause, l.h.watcher.detail(cause))
		if err != nil {
			return err
		}
		if cause != l.waits {
			l.noteWait(string(cause))
		}
		l.rec, l.waits = rec, cause
		l.renew = time.Now().Add(rec.LeaseLeft / 3)
		if !rec.Mine {
			return nil
		}
	}
	l.tell(string(cause))
	if left <= 0 || left > longestHold {
		left = longestHold
	}
	began := time.Now()
	select {
	case <-changed:
	case <-time.After(left):
	case <-l.h.stopping.Done():
	}
	if cause != "" {
		l.h.cfg.Metrics.ThrottledSeconds.WithLabelValues(string(cause)).Add(time.Since(began).Seconds())
	}
	return nil
}

// kept is what a batch does that the database itself has kept from running: it
// got no turn in the budget of all replicas, or an operator or another worker has
// said so since the last look.
func (l *longRun) kept(held purge.Throttled) error {
	never := (<-chan struct{})(nil)
	switch held.Reason {
	case purge.NoPermit:
		l.h.cfg.Metrics.Retries.WithLabelValues(string(purge.NoPermit)).Inc()
		reason := purge.ThrottleReason("") // others' batches have them all
		if l.h.watcher.detail(purge.PermitsHeld) != "" {
			reason = purge.PermitsHeld
		}
		if l.waits == reason && time.Now().Before(l.renew) {
			retry.Sleep(l.h.stopping, time.Duration(retry.Random()*float64(100*time.Millisecond)))
			return nil
		}
		return l.hold(reason, time.Millisecond, never) // for the lease, too
	case purge.ForegroundLoad:
		return l.yield(held.Left)
	case purge.SlowBatch:
		l.h.watcher.batch(true, held.Detail)
		return l.hold(held.Reason, held.Left, never)
	default:
		l.h.watcher.sample(l.h.stopping) // which stops the next batch before it goes to the database
		_, changed := l.h.watcher.stop()
		return l.hold(held.Reason, held.Left, changed)
	}
}

// yield waits out a rest for the sake of others, after a batch of this worker or
// of another one.
func (l *longRun) yield(left time.Duration) error {
	left = min(max(left, time.Millisecond), longestHold)
	l.h.cfg.Metrics.ForegroundBackoffSeconds.Add(left.Seconds())
	return l.hold("", left, nil)
}

// rest lets the long lane of all workers rest after a slow batch; if it can't be
// noted, this deletion does alone.
func (l *longRun) rest(limit int, took time.Duration) {
	rest := l.pacer.pace.Rest(limit, took, l.before)
	l.before = took
	detail := fmt.Sprintf("a batch of %s took %v; --target is %v", purge.Count(limit, "row"), took.Round(time.Millisecond), l.h.cfg.Target)
	l.h.watcher.batch(rest > 0, detail)
	if rest <= 0 {
		return
	}
	if err := l.h.cfg.Store.ThrottleSlowBatch(l.h.working, rest, detail); err != nil {
		l.h.cfg.Log.Debug("a rest for all workers not noted; resting alone", "error", err)
		retry.Sleep(l.h.stopping, rest)
	}
}
