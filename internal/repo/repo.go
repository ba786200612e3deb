// Package repo keeps the ledger and removes history in Postgres. It is the only
// package that speaks SQL. What it promises: a deletion's boundary is pinned
// once; a deletion is done only when, in the finishing transaction, no row at
// or below the boundary was left; the ledger's count and cursor move in the
// same transaction as the rows.
package repo

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// Config is what a [Repo] needs.
type Config struct {
	// URL is the database: a postgres:// URL, a keyword string, or file: and the path
	// of a file with one of these. The file, the password file and certificates
	// are read again for each new connection. A transaction pooler may stand in
	// between: no session state is used.
	URL string
	// Plan says which rows a deletion removes.
	Plan plan.Plan
	// Target is how long a transaction of the purge should take at most; zero
	// means purge.DefaultTarget. Waiting for somebody else's lock ends after as
	// long: twice the target is the most.
	Target time.Duration
	// Lease returns how long a deletion stays with a worker that doesn't renew it. It
	// is called for each lease, so that leases follow what it returns. Nil means 30 s.
	Lease func() time.Duration
	// StatementTimeout ends a statement that hangs; zero means 30 s. It is a
	// backstop, far above Target.
	StatementTimeout time.Duration
	// MaxConns bounds the connections; zero means [DefaultMaxConns].
	MaxConns int32
	// ExpressConns of them are for [Repo.Bulk] alone, and opened and made ready at
	// once, since people wait for what it does: the first deletion on a new connection
	// takes 80 ms instead of 2. As many as calls run at the same time are enough.
	// Zero, or no less than MaxConns: it takes what is free.
	ExpressConns int32
	// LongConcurrency is how many batches of the long lane may run at the same
	// time, over all workers of this database; zero means any number.
	LongConcurrency int
	// AllowUnindexed goes on where a key or a foreign key has no usable index.
	AllowUnindexed bool
}

// DefaultMaxConns leaves large deletions all that gains anything (bench, S1), and the
// server's default of 100 connections room for some workers.
const DefaultMaxConns = 16

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Target, purge.DefaultTarget)
	def(&c.StatementTimeout, 30*time.Second)
	if c.Lease == nil {
		c.Lease = func() time.Duration { return 30 * time.Second }
	}
	if c.MaxConns <= 0 {
		c.MaxConns = DefaultMaxConns
	}
	if c.ExpressConns < 0 || c.ExpressConns >= c.MaxConns {
		c.ExpressConns = 0
	}
	return c
}

// Repo is the ledger and the purge of one database and plan. Safe for
// concurrent use.
type Repo struct {
	cfg         Config
	trial       bool // nothing may change
	ledgerless  bool // a trial's: setup has not run
	source      *source
	conns       *pools
	pool        *pgxpool.Pool // one of conns
	ready       *pgxpool.Pool // Bulk's own; pool if it has none
	plan        *plan.Checked
	sql         statements
	longMade    atomic.Int64 // transactions of the long lane
	triggers    atomic.Bool  // plan's, as the last check has found
	wideKey     atomic.Bool  // the ledger's key is known to have the user
	mayThrottle atomic.Bool  // the role may write lethe.throttles, as the last sample has found
	blind       sync.Map     // of purge.ThrottleReason, to why: throttles whose figures the role may not read
}

// Open connects, checks the plan against the catalog and makes the statements.
// It changes nothing. An error that [purge.FaultOf] calls infrastructure may heal
// by itself; any other is a plan that doesn't fit the database, one line for
// each problem.
func Open(ctx context.Context, cfg Config) (*Repo, error) {
	cfg = cfg.withDefaults()
	from := &source{url: cfg.URL, lock: cfg.Target}
	conns, err := from.newPools(ctx, cfg.MaxConns-cfg.ExpressConns)
	if err != nil {
		return nil, err
	}
	r := &Repo{cfg: cfg, source: from, conns: conns, pool: conns.all[0], ready: conns.all[0]}
	if err := r.prepare(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// prepare checks the plan and makes what depends on it.
func (r *Repo) prepare(ctx context.Context) (err error) {
	if r.plan, err = r.check(ctx, true); err != nil {
		return err
	}
	r.sql = makeStatements(r.plan)
	r.triggers.Store(r.plan.Triggers)
	if r.cfg.ExpressConns > 0 {
		return r.addReadyPool(ctx)
	}
	return nil
}

// Close waits for the connections that are in use and closes all of them.
func (r *Repo) Close() { r.conns.close() }

// begin returns a transaction of the purge, which begins with its first round trip. The
// commit of one that is durable waits for the disk; of another a crash of the server may lose
// the commit, and the batch is done again.
func (r *Repo) begin(durable bool) *transaction {
	return &transaction{source: r.source, pools: r.conns, preferred: r.pool, limits: r.limits(durable), readOnly: r.trial}
}

// flushAfter is backend_flush_after of the transactions that delete. It keeps the kernel
// from writing hundreds of megabytes back at once, which others would wait for.
const flushAfter = "512kB"

func (r *Repo) limits(durable bool) limits {
	return limits{lock: r.cfg.Target, statement: r.cfg.StatementTimeout, flushAfter: flushAfter, durable: durable}
}

// commit is t's.
func (r *Repo) commit(ctx context.Context, t *transaction) error { return t.commit(ctx) }
