package handler

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// gateDeletions is the gate's reason while different deletions fail one after the other.
	gateDeletions = "deletions"
	// probeMinWait and probeMaxWait bound the wait after a probed deletion that failed.
	// Where the detector is wrong, a deletion that would succeed waits as long.
	probeMinWait, probeMaxWait = 50 * time.Millisecond, 800 * time.Millisecond
	// probeIdleTimeout is how long probing goes on without a deletion to try. By then
	// other workers have finished all that failed here.
	probeIdleTimeout = 5 * time.Second
	// examineTimeout ends an examination of a database that doesn't answer. A fault
	// is reported again for faultTTL, and its absence for healthyTTL, without another
	// examination, which costs some 100 ms.
	examineTimeout, faultTTL, healthyTTL = 5 * time.Second, time.Second, 5 * time.Second
)

// faultDetector decides by evidence whether an ambiguous error is a deletion's own
// fault or the infrastructure's. While it is the infrastructure's, the detector
// probes: it runs one deletion at a time. Safe for concurrent use.
type faultDetector struct {
	h     *Handler
	busy  atomic.Int64 // express rounds that run, and deletions that run alone or wait to
	probe atomic.Bool  // the detector probes

	mu       sync.Mutex // guards what follows
	evidence purge.Evidence
	probing  chan struct{} // closed when probing stops; nil while the detector doesn't probe
	failures []*task       // failed while probing; to be tried again
	retrying bool          // one of the failures runs now

	examining sync.Mutex // guards what follows
	examined  time.Time  // the last examination
	found     error      // by it
}

func newFaultDetector(h *Handler) *faultDetector {
	return &faultDetector{h: h}
}

// failedBefore reports whether a task has failed before, so that it runs isolated.
func (f *faultDetector) failedBefore(t *task) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.evidence.FailedBefore(t.d.Key)
}

// track makes the success of others count as evidence about a task that is yet to be
// tried alone.
func (f *faultDetector) track(t *task, others purge.Tables) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.evidence.Track(time.Now(), t.d.Key, others)
}

// succeeded notes that rows of tables were deleted, and that these deletions are finished.
func (f *faultDetector) succeeded(tables purge.Tables, finished ...purge.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.evidence.Empty() {
		f.evidence.Succeeded(time.Now(), tables, finished...)
		if f.stopProbing() {
			f.h.cfg.Log.Info("a deletion succeeded; pulling commands again")
		}
	}
}

// failed returns whose fault the failures are, in their order. self is how many of
// the busy rounds are the caller's.
func (f *faultDetector) failed(ts []failedTask, self int64) []purge.Attribution {
	tries, pending := make([]purge.FailedTry, len(ts)), !f.h.queue.empty() || f.busy.Load() > self
	for i, t := range ts {
		needs, err := f.h.cfg.Store.Tables(f.h.working, t.d)
		if err != nil {
			needs = purge.MessagesTable // as almost every deletion
		}
		tries[i] = purge.FailedTry{Key: t.d.Key, Needs: needs, Others: t.others, OthersPending: pending, Began: t.began}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	attributions := f.evidence.Failed(time.Now(), tries...)
	if f.evidence.Shared() {
		f.startProbing(ts[len(ts)-1].err)
	}
	return attributions
}

// startProbing closes the gate with err as the reason, and starts to probe unless
// the detector does already. It is called with mu held.
func (f *faultDetector) startProbing(err error) {
	f.h.cfg.Gate.Close(gateDeletions, fmt.Sprintf("different deletions fail one after the other, and none succeeds: %v", err))
	if f.probing != nil || f.h.stopping.Err() != nil {
		return
	}
	probing := make(chan struct{})
	f.probing = probing
	f.probe.Store(true)
	f.h.queue.suspend(true)
	f.h.cfg.Log.Error("different deletions fail one after the other; not pulling commands, trying one deletion at a time", "error", err)
	f.h.goroutines.Go(func() { f.probeNew(probing) })
	f.h.goroutines.Go(func() { f.probeFailures(probing) })
}

// stopProbing stops to probe if the evidence allows it, and reports whether it did.
// It is called with mu held.
func (f *faultDetector) stopProbing() bool {
	if f.probing == nil || f.evidence.Shared() {
		return false
	}
	close(f.probing)
	f.probing = nil
	f.probe.Store(false)
	for _, t := range f.failures {
		f.h.queue.push(entryOf(t))
	}
	f.failures = nil
	f.h.queue.suspend(false)
	f.h.cfg.Gate.Open(gateDeletions)
	return true
}

// probes reports whether the detector probes.
func (f *faultDetector) probes() bool { return f.probe.Load() }

// retryLater keeps a task in flight while the infrastructure is at fault, until the
// detector tries it.
func (f *faultDetector) retryLater(t *task) {
	t.tries, t.lane, t.probed = 0, expressLane, false
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.probing == nil {
		f.h.queue.push(entryOf(t))
		return
	}
	f.failures = append(f.failures, t)
}

// probeNew tries deletions that have not failed yet, one at a time. Where none is in
// flight, it lets the worker pull commands.
func (f *faultDetector) probeNew(probing <-chan struct{}) {
	wait, idle := probeMinWait, time.Now()
	for f.h.active(probing) {
		e, found := f.h.queue.one()
		if !found {
			f.h.cfg.Gate.Try(gateDeletions)
			if time.Since(idle) > probeIdleTimeout {
				f.stopIfNoneLeft()
			}
			f.h.sleepUnless(probing, probeMinWait)
			continue
		}
		f.h.cfg.Gate.Untry(gateDeletions)
		idle = time.Now()
		wait = f.try(e, false, probing, wait)
	}
}

// probeFailures tries the deletions that failed while probing, one at a time.
func (f *faultDetector) probeFailures(probing <-chan struct{}) {
	wait := probeMinWait
	for f.h.active(probing) {
		t := f.nextFailure()
		if t == nil {
			f.h.sleepUnless(probing, probeMinWait)
			continue
		}
		wait = f.try(entryOf(t), true, probing, wait)
	}
}

// try runs one deletion, and returns how long to wait after the next one that
// fails. If this one fails it waits before it returns. failed says that it has failed before.
func (f *faultDetector) try(e entry, failed bool, probing <-chan struct{}, wait time.Duration) time.Duration {
	f.h.watcher.awaitExpress(f.h.stopping)
	for _, t := range e.tasks {
		t.probed, t.isolated = true, failed
	}
	f.busy.Add(1)
	trouble := failed // it may fail later, in the long lane
	if failed {
		f.h.single(e.tasks[0], 0)
	} else {
		trouble = f.h.expressRound([]entry{e}, true)
	}
	f.busy.Add(-1)
	if !trouble {
		return probeMinWait
	}
	f.h.sleepUnless(probing, wait)
	return min(2*wait, probeMaxWait)
}

func (f *faultDetector) nextFailure() *task {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retrying = len(f.failures) > 0
	if !f.retrying {
		return nil
	}
	t := f.failures[0]
	f.failures = f.failures[1:]
	return t
}

// stopIfNoneLeft stops to probe where no deletion is left to try.
func (f *faultDetector) stopIfNoneLeft() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.retrying && len(f.failures) == 0 {
		f.evidence.ForgetUndecided()
		if f.stopProbing() {
			f.h.cfg.Log.Info("no deletion is left that failed; pulling commands again")
		}
	}
}

// drain returns the tasks that wait to be tried again, after the goroutines have ended.
func (f *faultDetector) drain() []entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	left := make([]entry, len(f.failures))
	for i, t := range f.failures {
		left[i] = entryOf(t)
	}
	f.failures = nil
	return left
}

// examine asks the database whether any deletion would fail: whether it accepts the
// worker's statements, and whether the plan fits its tables. nil if nothing is wrong.
// A recent answer is reused.
func (f *faultDetector) examine() error {
	f.examining.Lock()
	defer f.examining.Unlock()
	if age := time.Since(f.examined); f.found != nil && age < faultTTL || f.found == nil && age < healthyTTL {
		return f.found
	}
	ctx, cancel := context.WithTimeout(f.h.working, examineTimeout)
	defer cancel()
	f.found = f.h.cfg.Store.Examine(ctx)
	f.examined = time.Now()
	if fault, _ := purge.FaultOf(f.found); fault != purge.Infrastructure {
		f.found = nil
	}
	return f.found
}
