// Package repo keeps the ledger and removes history in Postgres. It is the only
// package that speaks SQL. What it promises: a deletion's boundary is pinned
// once; a deletion is done only when, in the finishing transaction, no row at
// or below the boundary was left; the ledger's count and cursor move in the
// same transaction as the rows.
package repo

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/purge"
)

// Config is what a [Repo] needs.
type Config struct {
	// URL is the database: a postgres:// URL or a keyword string. A transaction
	// pooler may stand in between: no session state is used.
	URL string
	// Plan says which rows a deletion removes.
	Plan Plan
	// Target is how long a transaction of the purge should take at most; zero
	// means purge.DefaultTarget. Waiting for somebody else's lock ends after as
	// long: twice the target is the most.
	Target time.Duration
	// Lease is how long a deletion stays with a worker that doesn't renew it;
	// zero means 30 s.
	Lease time.Duration
	// StatementTimeout ends a statement that hangs; zero means 30 s. It is a
	// backstop, far above Target.
	StatementTimeout time.Duration
	// FlushAfter is backend_flush_after for the purging transactions, which
	// keeps the kernel from writing hundreds of megabytes back at once; "" means
	// 512kB, "0" leaves it off.
	FlushAfter string
	// MaxConns bounds the connections; zero means 16.
	MaxConns int32
	// ExpressConns of them are for [Repo.Express] alone, and opened and made ready at
	// once, since people wait for what it does: the first deletion on a new connection
	// takes 80 ms instead of 2. As many as calls run at the same time are enough.
	// Zero, or no less than MaxConns: it takes what is free.
	ExpressConns int32
	// LongTransactions is how many batches of the long lane may run at the same
	// time, over all workers of this database; zero means any number.
	LongTransactions int
	// AllowUnindexed goes on where a key or a foreign key has no usable index.
	AllowUnindexed bool
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Target, purge.DefaultTarget)
	def(&c.Lease, 30*time.Second)
	def(&c.StatementTimeout, 30*time.Second)
	if c.FlushAfter == "" {
		c.FlushAfter = "512kB"
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 16
	}
	if c.ExpressConns < 0 || c.ExpressConns >= c.MaxConns {
		c.ExpressConns = 0
	}
	return c
}

// Repo is the ledger and the purge of one database and plan. Safe for
// concurrent use.
type Repo struct {
	cfg     Config
	pool    *pgxpool.Pool
	ready   *pgxpool.Pool // Express's own; pool if it has none
	schema  *schema
	sql     statements
	made    atomic.Int64 // transactions of the long lane
	mayHold atomic.Bool  // the role may write lethe.holds, as the last look has found
	blind   sync.Map     // of purge.Cause, to why: brakes whose figures the role may not read
}

// Open connects, checks the plan against the catalog and makes the statements.
// It changes nothing. An error that [purge.FaultOf] calls surroundings may heal
// by itself; any other is a plan that doesn't fit the database, one line for
// each problem.
func Open(ctx context.Context, cfg Config) (*Repo, error) {
	cfg = cfg.withDefaults()
	pool, err := newPool(ctx, cfg.URL, cfg.MaxConns-cfg.ExpressConns)
	if err != nil {
		return nil, err
	}
	s, err := resolve(ctx, pool, cfg.Plan, cfg.resolveOptions())
	if err != nil {
		pool.Close()
		return nil, classify(ctx, err)
	}
	r := &Repo{cfg: cfg, pool: pool, ready: pool, schema: s, sql: makeStatements(s)}
	if cfg.ExpressConns > 0 {
		if r.ready, err = r.newReadyPool(ctx); err != nil {
			pool.Close()
			return nil, err
		}
	}
	return r, nil
}

// Close waits for the connections that are in use and closes all of them.
func (r *Repo) Close() {
	for _, p := range r.pools() {
		p.Close()
	}
}

// silence is how long a server may take to say that a statement's time is over.
const silence = 5 * time.Second

// patience is how long a round trip may take: as long as two statements that hang.
func (r *Repo) patience() time.Duration { return 2*r.cfg.StatementTimeout + silence }

// transaction collects statements that go to the database in one round trip and
// commit together: a pipeline up to one sync is one implicit transaction.
type transaction struct {
	pool  *pgxpool.Pool // where it runs
	batch pgx.Batch
}

// begin starts a transaction with the settings of the purge. They are the
// transaction's own, never the session's. Sequential scans and hash joins are
// ruled out because each statement is meant for one index, whatever the
// statistics say; a generic plan saves planning each time.
func (r *Repo) begin(durable bool) *transaction {
	sync := "off" // a lost batch is done again
	if durable {
		sync = "on"
	}
	t := &transaction{pool: r.pool}
	t.batch.Queue(`select set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true),
set_config('backend_flush_after', $3, true), set_config('enable_seqscan', 'off', true),
set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true),
case when $4 = 'off' then set_config('synchronous_commit', 'off', true) end`,
		millis(r.cfg.Target), millis(r.cfg.StatementTimeout), r.cfg.FlushAfter, sync)
	return t
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%dms", max(1, d.Milliseconds()))
}

// exec adds a statement whose rows, if any, nobody reads; rows, if not nil,
// receives how many it touched.
func (t *transaction) exec(rows *int, sql string, args ...any) {
	q := t.batch.Queue(sql, args...)
	if rows != nil {
		q.Exec(func(tag commandTag) error { *rows = int(tag.RowsAffected()); return nil })
	}
}

// query adds a statement whose rows scan is called for, one by one.
func (t *transaction) query(scan func(pgx.Rows) error, sql string, args ...any) {
	t.batch.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// commit sends everything and waits for the commit. After an error nothing was
// changed, or, if the connection broke, everything or nothing: the ledger tells.
// A server that doesn't answer at all, or a network that has swallowed it, is given
// up after a while, and counts as a broken connection.
func (r *Repo) commit(ctx context.Context, t *transaction) error {
	limited, cancel := context.WithTimeout(ctx, r.patience())
	defer cancel()
	if err := t.pool.SendBatch(limited, &t.batch).Close(); err != nil {
		return classify(ctx, err)
	}
	return nil
}
