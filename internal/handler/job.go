package handler

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
)

// job is one delivery in flight, and so one command.
type job struct {
	delivery bus.Delivery
	slot     bus.Slot
	trace    conversation.Trace // what its messages name
	traceID  string             // for the log; "" for none
	span     trace.Span         // nil if it isn't recorded
	storedAt time.Time          // the time of the boundary
	// who the command says it is from, as far as it can be read
	app, user, command, device string
	whole                      *job // the command's, of a page of an enumeration; nil of a delivery

	mu       sync.Mutex    // guards what follows
	open     int           // tasks that have not ended
	long     []*task       // those in the long lane
	deferred bool          // a task needs a redelivery
	delay    time.Duration // the shortest that a deferred task asked for
	refused  bool          // the whole command failed
	failure  *failure      // the first
	cause    string        // of the last fault, for the span
	// unfinished are the deletions of a page that are not final; nil of a delivery.
	unfinished map[purge.Key]bool
}

// failure is why a command or one of its deletions failed.
type failure struct {
	reason  conversation.Reason
	message string
}

// task is one deletion of a job. One goroutine at a time has it.
type task struct {
	job     *job
	d       purge.Deletion
	since   time.Time // for the log
	lane    string    // for the log and the metrics
	batches int
	erased  int64 // messages, of an erasure

	refusal      *failure     // why the whole command can't be carried out
	incompatible error        // the id can't be a key of the plan's tables
	rec          purge.Record // what the ledger said last
	taken        bool         // a try may have taken the lease
	newlyFinal   bool         // the last try made it final
	low          int64        // nothing is left at and below it
	tries        int          // in a row without progress
	err          error        // of the last try that failed
	isolated     bool         // it runs alone, with few rows and more time
	probed       bool         // the detector runs it to find out whether the infrastructure is at fault
}

const expressLane, longLane = "express", "long"

// facts are those that the task knows by itself.
func (h *Handler) facts(t *task) purge.Facts {
	return purge.Facts{
		Long: t.lane == longLane, Isolated: t.isolated, Stopping: h.stopping.Err() != nil, Random: retry.Random(),
		Record: t.rec, Large: t.rec.MessagesDeleted >= int64(h.cfg.PerDeletion), Tries: t.tries,
		Refused: t.refusal != nil, Incompatible: t.incompatible != nil, Probing: !t.probed && h.detector.probes(),
	}
}

// failedFacts are the facts after a call about the task has failed. It notes the error. That a trigger keeps rows is nobody else's fault, whatever becomes of others.
func (h *Handler) failedFacts(t *task, err error) purge.Facts {
	t.err = err
	f, kept := h.facts(t), purge.Kept{}
	if errors.As(err, &kept) {
		f.Inspected, f.Kept = true, true
		return f
	}
	return f.After(err)
}

// of is the job of the whole command.
func (j *job) of() *job {
	if j.whole != nil {
		return j.whole
	}
	return j
}

// isRefused reports whether the whole command failed.
func (j *job) isRefused() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.refused
}

// unfinishedKeys are the deletions of a page that are not final.
func (j *job) unfinishedKeys() []purge.Key {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Collect(maps.Keys(j.unfinished))
}

// fail notes a failure of the job; the first one counts.
func (j *job) fail(f failure) {
	j = j.of()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failure == nil {
		j.failure = &f
	}
}

// refuse notes that the whole command failed. It reports whether it is the
// first to say so.
func (j *job) refuse(f failure) bool {
	j = j.of()
	j.mu.Lock()
	defer j.mu.Unlock()
	first := !j.refused
	j.refused, j.failure = true, &f
	return first
}

// endFinal ends the task of a deletion that is final or refused. It reports whether it was the last one.
func (j *job) endFinal(k purge.Key) (last bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.unfinished, k)
	j.open--
	return j.open == 0
}

// endDeferred ends a task that must be delivered again. It reports whether it was the
// last one.
func (j *job) endDeferred(delay time.Duration) (last bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.deferred || delay < j.delay {
		j.delay = delay
	}
	j.deferred = true
	j.open--
	return j.open == 0
}

// enterLong notes that a task is in the long lane, leaveLong that it has left it.
func (j *job) enterLong(t *task) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.long = append(j.long, t)
}

func (j *job) leaveLong(t *task) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.long = slices.DeleteFunc(j.long, func(other *task) bool { return other == t })
}

// othersLong reports whether a task other than t is in the long lane.
func (j *job) othersLong(t *task) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.long, func(other *task) bool { return other != t })
}

// outcome decides what becomes of a delivery whose tasks have all ended. A
// Reject needs its dead letter first.
func (j *job) outcome() bus.Outcome {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.deferred:
		return bus.Outcome{Verdict: bus.Retry, Delay: j.delay}
	case j.failure != nil:
		return bus.Outcome{Verdict: bus.Reject, Reason: j.failure.reason}
	}
	return bus.Outcome{Verdict: bus.Done}
}

// why returns the first failure; nil if there is none.
func (j *job) why() *failure {
	j = j.of()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failure
}
