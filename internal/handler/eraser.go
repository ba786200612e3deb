package handler

import (
	"context"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/crash"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
)

// eraserStore is what the eraser needs of the database. See *repo.Repo for what the
// methods promise.
type eraserStore interface {
	// Hides reports whether deletions hide: whether the plan's messages are a shared log with
	// members.
	Hides() bool
	LogOf(k purge.Key) purge.Key
	Raisable(ctx context.Context, ks []purge.Key) ([]purge.Key, error)
	RaiseFloor(ctx context.Context, app, conversation string) (purge.Raised, error)
	ReopenErasure(ctx context.Context, app, conversation string) error
	Erasure(ctx context.Context, app, conversation string) (purge.Erasure, error)
	Erasures(ctx context.Context, limit int) ([]purge.Key, error)
	Untold(ctx context.Context, limit int) ([]purge.Key, error)
	PinErased(ctx context.Context, k purge.Key, limit int) ([]purge.Record, error)
	MarkErased(ctx context.Context, recs []purge.Record) error
	TakeSweep(ctx context.Context, every time.Duration) (taken bool, err error)
	Sweep(ctx context.Context, after purge.Key, limit int) (risen []purge.Key, next purge.Key, err error)
}

const (
	// openPage is how many open erasures, and untold ones, a worker takes from the database at
	// a time, and floorPage how many floors are checked in one statement. Members of tellPage logs are
	// told at a time, toldPage of one log.
	openPage, floorPage, tellPage, toldPage = 1000, 200, 20, 1000
	// erasePoll is the default of [Config.ErasePoll], and sweepEvery that of [Config.SweepEvery]:
	// with the wait until a worker begins, less than the minute in which a floor that rises
	// without a command is noticed.
	erasePoll, sweepEvery = 3 * time.Second, 40 * time.Second
	// sweepBackoff is how many times as long as a page took a sweep waits after it at first. A log takes
	// 20 us, so that 100,000 of them are a twentieth of a core, and a million half a core.
	sweepBackoff = 19
)

// eraser does what follows when members have hidden messages of a shared log: it raises
// the floor, has what is at or below it erased in the long lane, and then publishes
// conversation.erased for each deletion that is covered. All of it is found again in the
// database after a crash: its queues only save the wait for that.
type eraser struct {
	h       *Handler
	store   eraserStore
	hidden  *keyQueue     // a member has just hidden messages: the floor may rise
	open    *keyQueue     // to be erased
	erased  *keyQueue     // erased, and members are to be told
	running chan struct{} // one for each erasure that runs
}

func newEraser(h *Handler) *eraser {
	return &eraser{
		h: h, store: h.cfg.Store, hidden: newKeyQueue(), open: newKeyQueue(), erased: newKeyQueue(), running: make(chan struct{}, h.cfg.LongLanes),
	}
}

// start starts the loops, which end when the worker stops.
func (e *eraser) start() {
	for _, loop := range []func(){e.raiseHidden, e.eraseOpen, e.tellErased, e.poll, e.sweep} {
		e.h.goroutines.Go(loop)
	}
}

// logOf is the key of a shared log, as the command spelled the conversation's id.
func logOf(k purge.Key) purge.Key { return purge.Key{App: k.App, Conversation: k.Conversation} }

// finished takes up what deletions have hidden, once their events are stored. One for everyone opens the erasure itself, after the last.
func (e *eraser) finished(tasks []*task) {
	for _, t := range tasks {
		if rec := t.rec; rec.State == purge.Done && !rec.Erased && rec.ErasedAt.IsZero() && rec.Scope != purge.ScopeEveryone {
			e.hidden.push(logOf(rec.Key))
		}
	}
}

// raiseHidden raises the floors of shared logs of which a member has hidden messages.
func (e *eraser) raiseHidden() {
	for {
		ks := e.hidden.take(e.h.stopping, floorPage)
		if len(ks) == 0 || !e.h.watcher.awaitExpress(e.h.stopping) {
			return
		}
		risen, err := storeCall(e, func() ([]purge.Key, error) { return e.store.Raisable(e.h.working, ks) })
		e.failed("floors of shared logs not checked; a later sweep tries again", err)
		for _, k := range risen {
			e.raise(k, "hide")
		}
	}
}

// raise raises the floor of a shared log, and queues its erasure if there is something to
// erase. What fails is left to the sweep.
func (e *eraser) raise(k purge.Key, by string) {
	raised, err := storeCall(e, func() (purge.Raised, error) { return e.store.RaiseFloor(e.h.working, k.App, k.Conversation) })
	if err != nil {
		e.failed("floor of a shared log not raised; a later sweep tries again", err, "app", k.App, "conversation", k.Conversation)
		return
	}
	if !raised.Open || raised.Failed {
		return
	}
	if raised.Risen {
		e.h.cfg.Metrics.FloorsRaised.WithLabelValues(by).Inc()
	}
	crash.Point("after_raise")
	e.open.push(k)
}

// eraseOpen runs open erasures, as many at a time as the long lane has room for.
func (e *eraser) eraseOpen() {
	for {
		select {
		case e.running <- struct{}{}:
		case <-e.h.stopping.Done():
			return
		}
		for _, k := range e.open.take(e.h.stopping, 1) {
			e.erase(k)
		}
	}
}

// erase has a shared log erased through its floor. What has to be tried again is queued
// again after the delay, unless another worker has it.
func (e *eraser) erase(k purge.Key) {
	e.h.runErasure(e.store.LogOf(k), func(t *task, o bus.Outcome) {
		<-e.running
		switch rec := t.rec; {
		case o.Verdict == bus.Retry && !rec.Mine && rec.LeaseLeft > 0:
		case o.Verdict == bus.Retry:
			e.h.goroutines.Go(func() {
				retry.Sleep(e.h.stopping, o.Delay)
				e.open.push(k)
			})
		case rec.State == purge.Done:
			crash.Point("after_erase")
			e.erased.push(k, t.d.Key)
		}
	})
}

// tellErased publishes what has been erased. While the stream takes no events it waits here,
// and nothing else does.
func (e *eraser) tellErased() {
	for {
		ks := e.erased.take(e.h.stopping, tellPage)
		if len(ks) == 0 {
			return
		}
		e.tell(ks)
	}
}

// tell publishes conversation.erased for the next deletions that the erasures of these logs
// cover, and then marks them. A crash in between repeats the same events.
func (e *eraser) tell(ks []purge.Key) {
	var told []purge.Record
	var as announcements
	for _, k := range ks {
		if len(told) >= toldPage {
			e.erased.push(k)
			continue
		}
		recs, err := storeCall(e, func() ([]purge.Record, error) { return e.store.PinErased(e.h.working, k, toldPage) })
		e.failed("members not told what is erased; retrying later", err, "app", k.App, "conversation", k.Conversation)
		for _, rec := range recs {
			as.all = append(as.all, erasedEvent(rec))
		}
		if told = append(told, recs...); len(recs) > 0 {
			e.erased.push(k) // behind the others, until none is left
		}
	}
	if len(told) == 0 || e.h.announce(as) != nil {
		return // the worker stops
	}
	crash.Point("after_told")
	_, err := storeCall(e, func() (struct{}, error) { return struct{}{}, e.store.MarkErased(e.h.working, told) })
	e.failed("erased deletions not marked as told; their events will be repeated", err, "deletions", len(told))
}

// erasedEvent returns the event of a deletion whose messages are erased.
func erasedEvent(rec purge.Record) bus.Announcement {
	return bus.Announcement{Erased: &conversation.Erased{
		CommandID: rec.Command, AppID: rec.App, UserID: rec.User, ConversationID: rec.Conversation, ThroughSeq: rec.ThroughSeq, ErasedAt: rec.ErasedAt,
	}}
}

// poll finds open erasures and untold ones, which other workers have left or the queues
// had no room for. Another worker may just be telling what it has erased: that counts as left
// when it is found a second time.
func (e *eraser) poll() {
	var before map[purge.Key]bool
	for {
		wait := time.Duration((0.5 + retry.Random()/2) * float64(e.h.cfg.ErasePoll))
		if retry.Sleep(e.h.stopping, wait); e.h.stopping.Err() != nil {
			return
		}
		open, err := storeCall(e, func() ([]purge.Key, error) { return e.store.Erasures(e.h.working, openPage) })
		e.failed("open erasures not found; retrying", err)
		e.open.push(open...)
		e.h.cfg.Metrics.ErasuresWaiting.Set(float64(len(open)))
		untold, err := storeCall(e, func() ([]purge.Key, error) { return e.store.Untold(e.h.working, openPage) })
		e.failed("erasures whose members are to be told not found; retrying", err)
		found := make(map[purge.Key]bool, len(untold))
		for _, k := range untold {
			found[k] = true
			if before[k] {
				e.erased.push(k)
			}
		}
		before = found
	}
}

// sweep looks for shared logs whose floor has risen without a command, because the app has
// removed members. All workers together make one sweep in each interval.
func (e *eraser) sweep() {
	for {
		wait := time.Duration((0.2 + 0.1*retry.Random()) * float64(e.h.cfg.SweepEvery))
		if retry.Sleep(e.h.stopping, wait); e.h.stopping.Err() != nil || !e.h.watcher.awaitExpress(e.h.stopping) {
			return
		}
		taken, err := storeCall(e, func() (bool, error) { return e.store.TakeSweep(e.h.working, e.h.cfg.SweepEvery) })
		if err != nil || !taken {
			e.failed("shared logs not swept; retrying", err)
			continue
		}
		if err := e.sweepOnce(); e.h.stopping.Err() == nil {
			e.failed("sweep of shared logs ended early; retrying", err)
		}
	}
}

// sweepOnce goes through the shared logs in which something is hidden, and raises floors. It waits between the
// pages, less and less, so that it ends before the next sweep is due.
func (e *eraser) sweepOnce() error {
	type page struct {
		keys []purge.Key
		next purge.Key
	}
	began := time.Now()
	var after purge.Key
	for {
		start := time.Now()
		p, err := storeCall(e, func() (p page, err error) {
			p.keys, p.next, err = e.store.Sweep(e.h.working, after, floorPage)
			return p, err
		})
		if err != nil {
			return err
		}
		for _, k := range p.keys {
			e.raise(k, "sweep")
		}
		if p.next == (purge.Key{}) {
			e.h.cfg.Metrics.SweepSeconds.Observe(time.Since(began).Seconds())
			return nil
		}
		after = p.next
		left := 1 - time.Since(began).Seconds()/(e.h.cfg.SweepEvery.Seconds()*2/3)
		wait := time.Duration(sweepBackoff * max(0, left) * float64(time.Since(start)))
		if retry.Sleep(e.h.stopping, wait); e.h.stopping.Err() != nil {
			return context.Cause(e.h.stopping)
		}
	}
}

// failed logs an error, if there is one that is not a stop's.
func (e *eraser) failed(message string, err error, attrs ...any) {
	if fault, _ := purge.FaultOf(err); err == nil || fault == purge.Stopping || e.h.stopping.Err() != nil {
		return
	}
	e.h.cfg.Log.Warn(message, append(attrs, "error", err)...) //nolint:sloglint // constants of the callers
}

// storeCall calls the store until it answers, however long an outage lasts.
func storeCall[T any](e *eraser, call func() (T, error)) (T, error) {
	for {
		v, err := retryInPlace(e.h, maxContended, call)
		if fault, _ := purge.FaultOf(err); err == nil || fault != purge.Infrastructure || e.h.stopping.Err() != nil {
			return v, err
		}
		e.h.unavailable(err)
		if e.h.cfg.Gate.Wait(e.h.stopping) != nil {
			return v, err
		}
	}
}
