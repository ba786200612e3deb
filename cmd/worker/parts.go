package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// minTime is what a part gets when the parts before it have used up all the time: enough
// to close a connection in order.
const minTime = 50 * time.Millisecond

// closer ends one part of the worker.
type closer struct {
	name  string
	close func(context.Context) error
}

// closers end what has been opened, last first.
type closers []closer

func (c *closers) add(name string, end func(context.Context) error) {
	*c = append(*c, closer{name, end})
}

// close ends all parts by name under one deadline. A part that isn't done by
// then is left behind, since the process ends; the error names it.
func (c *closers) close(ctx context.Context, limit time.Duration, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var errs []error
	for i := len(*c) - 1; i >= 0; i-- {
		part, start := (*c)[i], time.Now()
		err := endIn(ctx, part.close)
		log.Debug("closed", "part", part.name, "took", time.Since(start).Round(time.Microsecond))
		if err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", part.name, err))
		}
	}
	*c = nil
	return errors.Join(errs...)
}

// endIn runs end, but doesn't wait for it much longer than ctx lasts.
func endIn(ctx context.Context, end func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- end(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(minTime):
		return errors.New("not done in time")
	}
}

// task is a goroutine with an end.
type task struct {
	cancel context.CancelFunc
	done   chan struct{} // closed at the end
	err    error         // set before
}

func start(ctx context.Context, run func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = run(ctx)
	}()
	return t
}

// stop ends the goroutine and waits for it.
func (t *task) stop(ctx context.Context) error {
	t.cancel()
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
