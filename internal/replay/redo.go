package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
)

const (
	// firstLimit is small enough for 50 ms on a slow disk; the pace finds the right one.
	firstLimit = 2000
	// maxCounted is how many shared logs a dry run knows the count of.
	maxCounted = 4096
	// maxEarly is how many erasures wait for their deletions. A worker re-emits those beyond.
	maxEarly = 4096
	// maxTries is after how many failures in a row, without a batch between them,
	// a deletion is left to the next replay.
	maxTries = 5
	// lockTimeout is how long a deletion waits for a row that another transaction has locked.
	lockTimeout = 30 * time.Second
	// idleTimeout is how long the tries of a deletion may change nothing: another replay
	// may work on it, and a try that waits for its locks has no time left for deletes.
	idleTimeout = 5 * time.Second
)

// again does again what a page of events reports, as far as something is left of it.
func (r *run) again(ctx context.Context, all []purge.Reported) error {
	var fit, erased []purge.Reported
	everyone := map[purge.Key]bool{} // the commands whose erasure is in fit
	for _, d := range all {
		if d.Kind == purge.ReportedDeleted {
			r.Events++
		}
		if d.HistoryKept {
			r.HistoryKept++
		}
		if err := r.Store.Replayable(d); err != nil {
			r.fail(d, err)
			continue
		}
		fit = append(fit, d)
		if d.Kind == purge.ReportedErased {
			erased = append(erased, d)
		}
		command := purge.Key{App: d.App, Command: d.Command, Conversation: d.Conversation}
		if e, ok := everyones(d); ok && !everyone[command] {
			everyone[command] = true
			fit = append(fit, e)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	due, err := persist(ctx, r.Log, func() ([]bool, error) { return r.Store.Due(ctx, fit) })
	if err != nil {
		return err
	}
	worked := len(erased) > 0
	for i, d := range fit {
		if !due[i] {
			continue
		}
		if err := r.one(ctx, d); err != nil {
			return err
		}
		worked = true
	}
	if !worked || r.DryRun {
		return nil
	}
	if erased = append(r.early, erased...); len(erased) > 0 {
		r.early, err = persist(ctx, r.Log, func() ([]purge.Reported, error) { return r.Store.RedoTold(ctx, erased) })
		if err != nil {
			return err
		}
		r.early = r.early[max(0, len(r.early)-maxEarly):]
	}
	_, err = persist(ctx, r.Log, func() (struct{}, error) { return struct{}{}, r.Store.Sync(ctx) })
	return err
}

// one does one again, or counts it. The error ends the replay; one that is
// its own is noted, and the next one follows.
func (r *run) one(ctx context.Context, d purge.Reported) error {
	var err error
	was := r.Messages
	if r.DryRun {
		err = r.count(ctx, d)
	} else {
		err = r.redo(ctx, d)
	}
	fault, cause := purge.FaultOf(err)
	switch {
	case err == nil:
		r.done(d)
		r.Log.Debug("event replayed", append(named(d), "messages", r.Messages-was, "dry_run", r.DryRun)...)
	case fault == purge.Infrastructure || fault == purge.Stopping || ctx.Err() != nil,
		fault == purge.Ambiguous && (cause == "permission" || cause == "configuration"): // about every one is likely
		return err
	default:
		r.fail(d, err)
	}
	return nil
}

// done counts what was done again.
func (r *run) done(d purge.Reported) {
	switch d.Kind {
	case purge.ReportedErased:
		r.Erasures++
	case purge.ReportedDeleted:
		r.Replayed++
		if !d.Erased {
			r.Hidden++
		}
	case purge.ReportedAllDeleted: // its deletions are counted
	}
}

// types are the events' types.
var types = [...]string{
	purge.ReportedDeleted: conversation.TypeDeleted, purge.ReportedErased: conversation.TypeErased, purge.ReportedAllDeleted: conversation.TypeAllDeleted,
}

// fail notes what could not be done again.
func (r *run) fail(d purge.Reported, err error) {
	r.Failed++
	r.Log.Error("event not replayed", append(named(d), "error", err)...)
}

func named(d purge.Reported) []any {
	return []any{"type", types[d.Kind], "app", d.App, "user", d.User, "command", d.Command, "conversation", d.Conversation, "through_seq", d.ThroughSeq}
}

// redo takes a deletion to its end. Where one batch is enough, it finishes in the same
// transaction. After several, a query that locks nothing first marks the dead index
// entries that they have left, so that the finishing transaction, which holds the
// conversation's row, is short.
func (r *run) redo(ctx context.Context, d purge.Reported) error {
	low, finish := int64(math.MinInt64), true // a foreign schema may have seqs below 1
	var idle time.Time                        // since when no try has changed anything; zero if one has
	for tries := 0; ; {
		res, err := r.batch(ctx, d, low, finish)
		if err != nil || res.Finished {
			return err
		}
		r.progress()
		if res.Rows == 0 && res.Low == low || finish && res.Reached {
			if tries++; idle.IsZero() {
				idle = time.Now()
			}
			if tries > maxTries && time.Since(idle) > idleTimeout { // something stays, or comes back each time
				return fmt.Errorf("not finished after %s that changed nothing", purge.Count(tries, "try", "tries"))
			}
			if err := sleep(ctx, min(time.Second, 10*time.Millisecond<<min(tries, 7))); err != nil {
				return err
			}
			res.Low = math.MinInt64
		} else {
			tries, idle = 0, time.Time{}
		}
		low, finish = res.Low, false
		if !res.Reached {
			continue
		}
		if _, err := persist(ctx, r.Log, func() ([]bool, error) { return r.Store.Due(ctx, []purge.Reported{d}) }); err != nil {
			return err
		}
		finish = true
	}
}

// batch deletes one batch once nothing throttles it, and waits for locks.
func (r *run) batch(ctx context.Context, d purge.Reported, low int64, finish bool) (purge.Step, error) {
	blocked, tries := time.Time{}, 0
	for limit := r.limit; ; {
		if err := r.throttled(ctx); err != nil {
			return purge.Step{}, err
		}
		start := time.Now()
		res, err := persist(ctx, r.Log, func() (purge.Step, error) {
			return r.Store.Redo(ctx, d, purge.Part{Long: true, Low: low, Limit: limit, Sparse: r.sparse, Finish: finish})
		})
		switch fault, _ := purge.FaultOf(err); {
		case err == nil && res.Throttled.Reason == "":
			r.note(ctx, res, limit, time.Since(start))
			return res, nil
		case err == nil:
			if err := r.throttledBy(ctx, res.Throttled); err != nil {
				return purge.Step{}, err
			}
			continue
		case fault == purge.Contention:
			if blocked.IsZero() {
				blocked = time.Now()
				r.Log.Info("waiting for a locked row", append(named(d), "error", err)...)
			}
			if time.Since(blocked) > lockTimeout {
				return purge.Step{}, fmt.Errorf("another transaction has locked a row of it for %v: %w", lockTimeout, err)
			}
		case fault.MayBeCommand():
			if tries++; tries >= maxTries {
				return purge.Step{}, err
			}
			r.limit = r.Pace.Clamp(limit / 4)
		default:
			return purge.Step{}, err
		}
		limit = r.Pace.Clamp(limit / 4) // stops short of what is in the way
		if err := sleep(ctx, time.Duration(1+tries)*50*time.Millisecond); err != nil {
			return purge.Step{}, err
		}
	}
}

// note counts what a batch has done, and measures it.
func (r *run) note(ctx context.Context, res purge.Step, limit int, took time.Duration) {
	r.Messages += int64(res.Messages)
	r.Rows += int64(res.Rows)
	if res.RowRemoved {
		r.Rows++
		r.Conversations++
	}
	r.limit, r.sparse = r.Pace.Next(res.Measured(limit), took, res.Full), res.Sparse
	wait := r.Pace.SlowBackoff(limit, took, r.before)
	r.before = took
	if wait <= 0 {
		return
	}
	detail := fmt.Sprintf("a batch of %s of a replay took %v", purge.Count(limit, "row"), took.Round(time.Millisecond))
	if err := r.Store.ThrottleSlowBatch(ctx, wait, detail); err != nil {
		r.Log.Debug("slow batch not noted for all workers", "error", err)
	}
}

// count counts what would be removed, in batches as well.
func (r *run) count(ctx context.Context, d purge.Reported) error {
	low := int64(math.MinInt64)
	log := purge.Key{App: d.App, Conversation: d.Conversation}
	if through, ok := r.counted[log]; ok && d.Kind == purge.ReportedErased {
		low = through
	}
	for full := low < d.ThroughSeq && !d.HistoryKept && d.Kind != purge.ReportedAllDeleted; full; {
		start := time.Now()
		res, err := persist(ctx, r.Log, func() (purge.Step, error) { return r.Store.Count(ctx, d, low, r.limit) })
		if err != nil {
			return err
		}
		r.Messages += int64(res.Messages)
		low, full = res.Low, res.Full
		r.limit = r.Pace.Next(r.limit, time.Since(start), full)
		r.progress()
	}
	if d.Kind == purge.ReportedErased {
		if len(r.counted) >= maxCounted {
			clear(r.counted)
		}
		r.counted[log] = max(low, d.ThroughSeq)
	}
	return nil
}

// progress says how far the replay has come, now and then.
func (r *run) progress() {
	if time.Since(r.reported) < progressEvery {
		return
	}
	r.reported = time.Now()
	r.Log.Info("progress", "sequence", r.at, "last_sequence", r.Last, "events", r.Events, "replayed", r.Replayed, "erasures", r.Erasures,
		"messages", r.Messages, "malformed", r.Malformed, "failed", r.Failed)
}

// errInterrupted is why a wait ended early.
var errInterrupted = errors.New("interrupted")

// outage bounds how long a replay waits for infrastructure that fails: a database that
// is being restarted comes back within it.
var outage = retry.Policy{First: 100 * time.Millisecond, Max: 2 * time.Second, Total: 30 * time.Second}

// persist repeats op while the infrastructure fails in a way that may end by itself.
func persist[T any](ctx context.Context, log *slog.Logger, op func() (T, error)) (T, error) {
	logged := false
	return retry.Do(ctx, outage, op, func(err error) bool {
		fault, cause := purge.FaultOf(err)
		if fault != purge.Infrastructure || !purge.Transient(fault, cause) {
			return false
		}
		if !logged {
			log.Warn("infrastructure unavailable; trying again", "timeout", outage.Total, "error", err)
		}
		logged = true
		return true
	})
}
