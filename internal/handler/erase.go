package handler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
)

// runErasure runs a shared log's erasure in the long lane, like any large deletion but for
// the delivery, which it has none of. ended is called once, with what the ledger has of it, when
// it is final or has to be tried again.
func (h *Handler) runErasure(k purge.Key, ended func(*task, bus.Outcome)) {
	j := &job{app: k.App, open: 1}
	t := &task{job: j, d: purge.ErasureOf(k, newToken()), since: time.Now(), lane: expressLane}
	j.slot = erasureSlot(func(o bus.Outcome) { ended(t, o) })
	h.beginErasure(j)
	h.enterLong(t)
}

// erasureSlot is called when an erasure ends.
type erasureSlot func(bus.Outcome)

// Leave does nothing: an erasure takes no room of a command.
func (s erasureSlot) Leave() {}

// Settle implements [bus.Slot].
func (s erasureSlot) Settle(o bus.Outcome) { s(o) }

// ErrNoMembers is why a plan's messages can't be erased through a floor.
var ErrNoMembers = errors.New("the plan has no shared log with members, so that no conversation has a floor")

// Erase raises the floor of a shared log and erases what is at or below it, as a worker
// would, and with what throttles the long lane. A failed erasure is tried anew. It reports
// false if there was nothing to erase. It is for a Handler that isn't started; the
// caller must call Stop. Workers publish the events.
func (h *Handler) Erase(ctx context.Context, app, conversation string) (_ purge.Erasure, open bool, err error) {
	if !h.cfg.Store.Hides() {
		return purge.Erasure{}, false, ErrNoMembers
	}
	h.watch()
	store := h.cfg.Store
	k := store.LogOf(purge.Key{App: app, Conversation: conversation})
	found, err := store.Erasure(ctx, app, conversation)
	if err == nil && found.State == purge.Failed {
		open, err = true, store.ReopenErasure(ctx, app, conversation)
	}
	if err != nil {
		return found, open, err
	}
	for {
		raised, err := retryInPlace(h, maxContended, func() (purge.Raised, error) { return store.RaiseFloor(ctx, k.App, k.Conversation) })
		if err != nil {
			return found, open, fmt.Errorf("raise the floor: %w", err)
		}
		open = open || raised.Open
		found, err = store.Erasure(ctx, app, conversation)
		switch {
		case err != nil || !open || found.State == purge.Done:
			return found, open, err
		case found.State == purge.Failed:
			return found, open, fmt.Errorf("the erasure failed: %s", found.LastError)
		}
		ended := make(chan bus.Outcome, 1)
		h.runErasure(k, func(_ *task, o bus.Outcome) { ended <- o }) //nolint:contextcheck // it ends with Stop
		select {
		case o := <-ended:
			retry.Sleep(ctx, o.Delay) // none once it is final
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return found, open, context.Cause(ctx)
		}
	}
}
