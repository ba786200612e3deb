package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// reloadTimeout bounds the wait for the server's new settings.
	reloadTimeout = 10 * time.Second
	// reloadPoll is how often it is asked for them.
	reloadPoll = 2 * time.Millisecond
)

// setServer sets settings of Postgres until reset, without a restart. None: it
// does nothing.
func (s *stack) setServer(ctx context.Context, settings map[string]string) (reset func(context.Context) error, err error) {
	if len(settings) == 0 {
		return func(context.Context) error { return nil }, nil
	}
	var set, unset []string
	for name, value := range settings {
		name = pgx.Identifier(strings.Split(name, ".")).Sanitize()
		set = append(set, fmt.Sprintf("alter system set %s = '%s'", name, strings.ReplaceAll(value, "'", "''")))
		unset = append(unset, "alter system reset "+name)
	}
	reset = func(ctx context.Context) error { return s.reload(context.WithoutCancel(ctx), unset) }
	if err := s.reload(ctx, set); err != nil {
		return nil, errors.Join(err, reset(ctx))
	}
	return reset, nil
}

// reload runs statements that change settings, and waits until they hold for new
// connections.
func (s *stack) reload(ctx context.Context, statements []string) error {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	before, err := s.loaded(ctx, append(statements, "select pg_sleep(0.001)")...)
	if err != nil {
		return err
	}
	if _, err := s.loaded(ctx, "select pg_reload_conf()"); err != nil {
		return err
	}
	for {
		now, err := s.loaded(ctx)
		if err != nil || now.After(before) {
			return err
		}
		if err := pauseFor(ctx, reloadPoll); err != nil {
			return fmt.Errorf("wait for the server's new settings: %w", err)
		}
	}
}

// loaded runs statements on its own connection, and returns when the server
// read its settings the last time before that.
func (s *stack) loaded(ctx context.Context, statements ...string) (at time.Time, err error) {
	conn, err := pgx.Connect(ctx, s.postgres.URL())
	if err != nil {
		return at, err
	}
	defer conn.Close(ctx) //nolint:errcheck // its statements have been answered
	if err := conn.QueryRow(ctx, "select pg_conf_load_time()").Scan(&at); err != nil {
		return at, err
	}
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return at, fmt.Errorf("%s: %w", sql, err)
		}
	}
	return at, nil
}
