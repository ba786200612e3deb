package replay

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// lookEvery is the time between two looks at the database.
	lookEvery = time.Second
	// lookTimeout ends a look at a database that doesn't answer.
	lookTimeout = 2 * time.Second
)

// throttles hold the batches of a replay back for the same reasons as a worker's
// large deletions. The zero value, with a log, holds nothing.
type throttles struct {
	log    *slog.Logger
	trail  purge.Trail
	now    purge.Throttles
	looked time.Time
	// permits are the sessions that have permits without a batch, for people.
	permits []string
	told    string // the cause that was last logged
	blind   bool   // it was logged that samples fail or figures are hidden
}

// await looks about once a second, and waits while something holds.
func (b *throttles) await(ctx context.Context, r *run) error {
	for {
		if time.Since(b.looked) >= lookEvery {
			b.look(ctx, r)
		}
		if len(b.now) == 0 {
			if len(b.permits) == 0 {
				b.tell("")
			}
			return nil
		}
		b.tell(reasons(b.now))
		if err := pause(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// look judges the figures of this moment. A look that fails holds nothing, as in
// a worker; the batches themselves see a pause.
func (b *throttles) look(ctx context.Context, r *run) {
	limited, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	f, err := r.Store.Watch(limited, r.Limits, true)
	b.looked = time.Now()
	if err != nil {
		b.now = nil
		if !b.blind {
			b.log.Warn("the database can't be watched; going on without the throttles' figures", "error", err)
		}
		b.blind = true
		return
	}
	for cause, why := range f.Unread {
		if !b.blind {
			b.log.Warn("a throttle has no figures and is left out", "cause", string(cause), "why", why)
		}
	}
	b.blind = b.blind || len(f.Unread) > 0
	if len(f.Standbys) > 0 {
		b.trail.Note(b.looked, f.Position)
	}
	for _, s := range f.Standbys {
		if lag := b.trail.Lag(b.looked, s.Replayed); lag >= f.ReplicaLag {
			f.ReplicaLag, f.Standby = lag, s.Name
		}
	}
	b.now, b.permits = r.Limits.Judge(b.now, f), f.PermitHolders
}

// held waits as long as the database itself has kept a batch from running: by a
// pause, a rest, or for want of a place in the budget that
// the workers share.
func (b *throttles) held(ctx context.Context, h purge.Throttled) error {
	if h.Reason == purge.NoPermit {
		if len(b.permits) > 0 {
			b.tell(string(purge.PermitsHeld) + " (" + strings.Join(b.permits, "; ") + ")")
		}
		return pause(ctx, 50*time.Millisecond)
	}
	if h.Reason == purge.ForegroundLoad {
		return pause(ctx, h.Left)
	}
	b.tell(strings.TrimSuffix(string(h.Reason)+" ("+h.Detail+")", " ()"))
	left := h.Left
	if left <= 0 || left > lookEvery {
		left = lookEvery
	}
	b.looked = time.Time{} // the next look says whether it is over
	return pause(ctx, left)
}

// tell says once what holds the batches, and once that nothing does any more.
func (b *throttles) tell(held string) {
	if held == b.told {
		return
	}
	// The figures change from look to look; the cause is what matters.
	if cause, _, _ := strings.Cut(held, " "); held != "" && strings.HasPrefix(b.told, cause) {
		return
	}
	b.told = held
	if held == "" {
		b.log.Info("no longer held back")
		return
	}
	b.log.Info("held back; going on by itself when that ends", "by", held)
}

func reasons(bs purge.Throttles) string {
	all := make([]string, len(bs))
	for i, b := range bs {
		all[i] = string(b.Cause) + " (" + b.Detail + ")"
	}
	return strings.Join(all, ", ")
}
