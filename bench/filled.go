package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// filled is a database with a scenario's data, of which every trial has a copy:
// the files are copied, which takes a tenth of the time of filling it, and all
// contestants find the same pages.
type filled struct {
	address string
	drop    func(context.Context) error
}

// fill makes a database with the scenario's data, or finds it.
func (s *stack) fill(ctx context.Context, sc scenario, v variant) (filled, error) {
	key := v.tableKey()
	if f, ok := s.filled[key]; ok {
		return f, nil
	}
	w := &world{stack: s}
	err := w.openEmpty(ctx, v)
	if err == nil && sc.load != nil {
		err = sc.load(ctx, w)
	}
	if err == nil {
		err = w.settleData(ctx)
	}
	f := filled{address: w.database, drop: w.drop}
	if err == nil {
		w.drop = nil
		s.filled[key] = f
	}
	return f, errors.Join(err, w.close(ctx))
}

// empty drops what the last scenario's fill made.
func (s *stack) empty(ctx context.Context) error {
	var errs []error
	for key, f := range s.filled {
		delete(s.filled, key)
		errs = append(errs, f.drop(context.WithoutCancel(ctx)))
	}
	return errors.Join(errs...)
}

// openEmpty makes an empty database with the schemas of everybody.
func (w *world) openEmpty(ctx context.Context, v variant) (err error) {
	if w.database, w.drop, err = w.postgres.CreateDatabase(ctx); err != nil {
		return err
	}
	if err := w.openRest(ctx, v); err != nil {
		return err
	}
	if err := w.exec(ctx, ownSchema); err != nil {
		return err
	}
	for _, parameter := range assignments(v.Table) {
		if err := w.exec(ctx, fmt.Sprintf("alter table chat.messages set (%s)", parameter)); err != nil {
			return err
		}
	}
	for _, column := range v.Indexes {
		if err := w.exec(ctx, fmt.Sprintf("create index on chat.messages (%s)", pgx.Identifier{column}.Sanitize())); err != nil {
			return err
		}
	}
	return nil
}

// openCopy makes a copy of a filled database.
func (w *world) openCopy(ctx context.Context, f filled, v variant) (err error) {
	if w.database, w.drop, err = w.postgres.CopyDatabase(ctx, f.address); err != nil {
		return err
	}
	if err := w.openRest(ctx, v); err != nil {
		return err
	}
	return w.warm(ctx)
}

// warm reads the copy into shared_buffers, as far as it fits, where the server
// has pg_prewarm: a copy's pages are in no cache, and the first to come would
// measure the reading of files.
func (w *world) warm(ctx context.Context) error {
	var there bool
	err := w.conn.QueryRow(ctx, `select exists (select from pg_available_extensions where name = 'pg_prewarm')`).Scan(&there)
	if err != nil || !there {
		return err
	}
	return errors.Join(
		w.exec(ctx, `create extension if not exists pg_prewarm`),
		w.exec(ctx, `select pg_prewarm(c.oid) from pg_class c where c.relnamespace in (to_regnamespace('chat'), to_regnamespace('log')) and c.relkind in ('r', 'i')`))
}
