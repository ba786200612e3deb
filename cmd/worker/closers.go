package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

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
// then is left behind, for the process ends; the error names it.
func (c *closers) close(limit time.Duration, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var errs []error
	for i := len(*c) - 1; i >= 0; i-- {
		part, start := (*c)[i], time.Now()
		done := make(chan error, 1)
		go func() { done <- part.close(ctx) }()
		var err error
		select {
		case err = <-done:
		case <-ctx.Done():
			err = fmt.Errorf("not done within %v", limit)
		}
		log.Debug("closed", "part", part.name, "took", time.Since(start).Round(time.Microsecond), "error", err)
		if err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", part.name, err))
		}
	}
	*c = nil
	return errors.Join(errs...)
}
