package repo

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/purge"
)

// Pool is the state of the connections, those of Bulk among them.
type Pool struct {
	Used, Idle, Opening, Max int
	// Waits is how often somebody had to wait for a connection since the start, and
	// Waited for how long in all.
	Waits  int64
	Waited time.Duration
}

// Pool returns the state of the connections. It asks nobody.
func (r *Repo) Pool() Pool {
	var all Pool
	for _, p := range r.conns.all {
		s := p.Stat()
		all.Used += int(s.AcquiredConns())
		all.Idle += int(s.IdleConns())
		all.Opening += int(s.ConstructingConns())
		all.Max += int(s.MaxConns())
		all.Waits += s.EmptyAcquireCount()
		all.Waited += s.EmptyAcquireWaitTime()
	}
	return all
}

const (
	// regrow is how long after a refused connection no other is asked for while there
	// are some to share.
	regrow = 2 * time.Second
	// sharePoll is how often a call that waits for a connection checks again, besides
	// when one is released.
	sharePoll = 50 * time.Millisecond
)

// pools are the pools of one database, one or two, which share what connections the
// server grants. Safe for concurrent use.
type pools struct {
	all     []*pgxpool.Pool
	refused atomic.Int64  // when the server last refused one, in Unix nanoseconds
	freed   chan struct{} // has an element after a release
}

// add makes one more pool.
func (p *pools) add(ctx context.Context, pc *pgxpool.Config) error {
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return fmt.Errorf("connection pool: %w", err)
	}
	p.all = append(p.all, pool)
	return nil
}

// acquire takes a connection, of the pool own if it has or gets one. As long as there
// are others, one that the server refuses (a role's or a pooler's limit, a password
// that is just being changed) is no error: then it waits for one of them. That all of
// its own are in use until ctx ends says nothing of the server.
func (p *pools) acquire(ctx context.Context, own *pgxpool.Pool) (*pgxpool.Conn, error) {
	var refusal error
	for {
		for _, one := range p.candidates(own) {
			conn, err := one.Acquire(ctx)
			if errors.Is(err, errPooler) { // the next one is made for it
				conn, err = one.Acquire(ctx)
			}
			if err == nil {
				return conn, nil
			}
			if s := one.Stat(); errors.Is(err, context.DeadlineExceeded) && s.AcquiredConns() == s.MaxConns() {
				return nil, &purge.FaultError{Fault: purge.Contention, Cause: "resources", Err: fmt.Errorf("no connection is free, of at most %d: %w", s.MaxConns(), err)}
			}
			var connect *pgconn.ConnectError
			if !errors.As(err, &connect) || ctx.Err() != nil || p.size() == 0 {
				return nil, err
			}
			refusal = err
			p.refused.Store(time.Now().UnixNano())
		}
		select {
		case <-p.freed:
		case <-time.After(sharePoll):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), refusal)
		}
	}
}

// candidates are the pools to try: own, unless it would have to open a connection so
// soon after one was refused, and else those that have one to spare.
func (p *pools) candidates(own *pgxpool.Pool) []*pgxpool.Pool {
	if own.Stat().IdleConns() > 0 || p.size() == 0 || time.Since(time.Unix(0, p.refused.Load())) > regrow {
		return []*pgxpool.Pool{own}
	}
	var idle []*pgxpool.Pool
	for _, one := range p.all {
		if one.Stat().IdleConns() > 0 {
			idle = append(idle, one)
		}
	}
	return idle
}

func (p *pools) release(conn *pgxpool.Conn) {
	conn.Release()
	select {
	case p.freed <- struct{}{}:
	default:
	}
}

// size is how many connections there are, those that are being opened among them.
func (p *pools) size() (n int32) {
	for _, one := range p.all {
		n += one.Stat().TotalConns()
	}
	return n
}

// reset closes all connections, those in use as soon as they are released.
func (p *pools) reset() {
	for _, one := range p.all {
		one.Reset()
	}
}

// close waits for the connections that are in use and closes all of them.
func (p *pools) close() {
	for _, one := range p.all {
		one.Close()
	}
}

// addReadyPool makes the pool of Bulk, which opens all of its connections at
// once, in the background, and opens new ones for those that end.
func (r *Repo) addReadyPool(ctx context.Context) error {
	pc, err := r.source.poolConfig(r.cfg.ExpressConns, r.conns.reset)
	if err != nil {
		return err
	}
	pc.MinConns = pc.MaxConns
	pc.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		r.warm(ctx, conn)
		if conn.IsClosed() {
			return errors.New("connection lost while it was made ready")
		}
		return nil
	}
	if err := r.conns.add(ctx, pc); err != nil {
		return err
	}
	r.ready = r.conns.all[1]
	return nil
}

// warm runs the statements of Bulk on nothing, so that the server has them
// planned and knows the tables when somebody waits. After an error the connection
// works as well, unless it is closed: the first deletion finds the same, or takes
// longer.
func (r *Repo) warm(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(ctx, r.limits(true).timeout())
	defer cancel()
	if r.Single() {
		return // there is no Bulk
	}
	if r.plan.Members != nil {
		r.warmHide(ctx, conn)
		return
	}
	sizes := []int{0, 1} // bulk_take_one takes up nothing for the app ""
	if r.plan.Loose {
		sizes = sizes[:1] // and isn't used
	}
	for _, n := range sizes {
		t, res, children := r.begin(true), emptyResult(n), []int(nil)
		roundTrip := t.roundTripper(ctx, conn)
		b := purge.Batch{Deletions: make([]purge.Deletion, n)}
		_, err := r.takeAndFinish(t, b, r.fresh(b.Deletions), &res, &children, roundTrip)
		t.end()
		if err != nil || roundTrip() != nil {
			rollback(ctx, conn)
			return
		}
	}
}
