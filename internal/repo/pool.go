package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/purge"
)

// Pool is the state of the connections, those of Express among them.
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
	for _, p := range r.pools() {
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

// pools are the pools of the Repo, one or two.
func (r *Repo) pools() []*pgxpool.Pool {
	if r.ready == r.pool {
		return []*pgxpool.Pool{r.pool}
	}
	return []*pgxpool.Pool{r.ready, r.pool}
}

func newPool(ctx context.Context, url string, maxConns int32) (*pgxpool.Pool, error) {
	pc, err := poolConfig(url, maxConns)
	if err != nil {
		return nil, err
	}
	return connectPool(ctx, pc)
}

func poolConfig(url string, maxConns int32) (*pgxpool.Config, error) {
	pc, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	pc.MaxConns = maxConns
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	if pc.ConnConfig.RuntimeParams["application_name"] == "" {
		pc.ConnConfig.RuntimeParams["application_name"] = "lethe"
	}
	return pc, nil
}

func connectPool(ctx context.Context, pc *pgxpool.Config) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("connection pool: %w", err)
	}
	return pool, nil
}

// newReadyPool makes the pool of Express, which opens all of its connections at
// once, in the background, and opens new ones for those that end.
func (r *Repo) newReadyPool(ctx context.Context) (*pgxpool.Pool, error) {
	pc, err := poolConfig(r.cfg.URL, r.cfg.ExpressConns)
	if err != nil {
		return nil, err
	}
	pc.MinConns = pc.MaxConns
	pc.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		r.warm(ctx, conn)
		if conn.IsClosed() {
			return errors.New("connection lost while it was made ready")
		}
		return nil
	}
	return connectPool(ctx, pc)
}

// warm runs the statements of Express for nothing, so that the server has them
// planned and knows the tables when somebody waits. After an error the connection
// serves as well, unless it is closed: the first deletion finds the same, or takes
// longer.
func (r *Repo) warm(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(ctx, r.patience())
	defer cancel()
	none := []purge.Batch{{}}
	if r.takes(none[0]) {
		none = append(none, purge.Batch{Deletions: make([]purge.Deletion, 1)}) // take_one.sql takes up nothing for the app ""
	}
	for _, b := range none {
		t, res := r.begin(true), emptyResult(len(b.Deletions))
		r.queue(t, b, &res)
		if err := conn.SendBatch(ctx, &t.batch).Close(); err != nil {
			return
		}
	}
}
