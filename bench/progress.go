package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// progressEvery is how often a long deletion is asked how far it is: finer than
// its batches, and no load.
const progressEvery = 20 * time.Millisecond

// point says that so many rows were gone at a time.
type point struct {
	at   time.Time
	rows int
}

// slowdown is the time for the last twentieth of n rows, as a multiple of the
// time for the first. Both are interpolated between points; the first begins
// with the first point, the last ends where n is reached. False where the
// points are too few to tell.
func slowdown(points []point, n int) (float64, bool) {
	if len(points) < 3 {
		return 0, false
	}
	part := n / 20
	first := points[0]
	a, okA := reached(points, first.rows+part)
	b, okB := reached(points, n-part)
	end, okEnd := reached(points, n)
	if part == 0 || !okA || !okB || !okEnd {
		return 0, false
	}
	early, late := a.Sub(first.at), end.Sub(b)
	if early <= 0 || late <= 0 {
		return 0, false
	}
	return late.Seconds() / early.Seconds(), true
}

// reached is when so many rows were gone.
func reached(points []point, rows int) (time.Time, bool) {
	for i, p := range points {
		switch {
		case p.rows < rows:
		case i == 0 || p.rows == rows:
			return p.at, true
		default:
			before := points[i-1]
			share := float64(rows-before.rows) / float64(p.rows-before.rows)
			return before.at.Add(time.Duration(share * float64(p.at.Sub(before.at)))), true
		}
	}
	return time.Time{}, false
}

// follower reads lethe's ledger and plain's while a deletion runs.
type follower struct {
	cancel context.CancelFunc
	done   chan struct{}
	points []point // only after done
	err    error   // only after done
}

// rowsGone is what the ledgers, lethe's and plain's, count.
const rowsGone = `
select (coalesce((select sum(messages_deleted) from lethe.deletions), 0) + coalesce((select sum(messages_deleted) from bench.deletions), 0))::bigint`

// follow begins to read how many messages are gone, as a query like rowsGone says, on its own connection.
func (w *world) follow(ctx context.Context, gone string) (*follower, error) {
	conn, err := pgx.Connect(ctx, w.database)
	if err != nil {
		return nil, err
	}
	f := &follower{done: make(chan struct{})}
	// One transaction for all of it, which sees what is committed and holds nothing:
	// large deletions yield to whoever makes many.
	if _, err := conn.Exec(ctx, "begin isolation level read committed read only"); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	ctx, f.cancel = context.WithCancel(ctx)
	go func() {
		defer close(f.done)
		defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // the database goes anyway
		f.read(ctx, conn, gone)
	}()
	return f, nil
}

// read notes each change until ctx ends.
func (f *follower) read(ctx context.Context, conn *pgx.Conn, gone string) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for last := 0; ; {
		var rows int
		err := conn.QueryRow(ctx, gone).Scan(&rows)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			f.err = err
			return
		}
		if rows != last {
			last = rows
			f.points = append(f.points, point{at: time.Now(), rows: rows})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// stop ends the reading and returns what was read.
func (f *follower) stop() ([]point, error) {
	f.cancel()
	<-f.done
	return f.points, f.err
}
