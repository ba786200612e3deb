package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/telemetry"
)

const (
	// backlogEvery is how often the backlog is asked for: five small requests.
	backlogEvery = 10 * time.Second
	// backlogTimeout bounds one look.
	backlogTimeout = 5 * time.Second
)

// backlogSource tells how much work there is; *broker.Broker satisfies it.
type backlogSource interface {
	Backlog(ctx context.Context) (broker.Backlog, error)
}

// backlogWatch keeps the metrics of the backlog up to date.
type backlogWatch struct {
	source backlogSource
	shown  *telemetry.Backlog
	every  time.Duration // the longest time between two looks
	log    *slog.Logger
}

// run works until ctx ends, and returns nil. Errors are logged only, once until
// the next success: nothing depends on it.
func (w backlogWatch) run(ctx context.Context) error {
	known := true
	for {
		err := w.look(ctx)
		switch {
		case ctx.Err() != nil: // stopped
		case err == nil && !known:
			w.log.Info("the backlog is known again")
		case err != nil && known:
			w.log.Warn("the backlog isn't known, and its metrics are absent until it is", "error", err)
		}
		known = err == nil
		select {
		case <-time.After(time.Duration((0.8 + 0.2*rand.Float64()) * float64(w.every))): // so that replicas don't ask together
		case <-ctx.Done():
			return nil
		}
	}
}

// look asks once and shows what it has found; nothing after an error.
func (w backlogWatch) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
	defer cancel()
	found, err := w.source.Backlog(ctx)
	if err != nil {
		w.shown.Forget()
		return err
	}
	w.shown.Set(workOf(found, time.Now()))
	return nil
}

// workOf is the backlog as the metrics show it.
func workOf(b broker.Backlog, now time.Time) telemetry.Work {
	work := telemetry.Work{Waiting: b.Waiting, InFlight: uint64(b.InFlight), Stuck: b.Stuck, Streams: b.Streams}
	if !b.Oldest.IsZero() {
		work.Oldest = max(0, now.Sub(b.Oldest)) // the clocks are two machines' and may disagree
	}
	return work
}
