package localstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// PostgresOptions says how a temporary Postgres is to be. The zero value suits
// tests.
type PostgresOptions struct {
	// Major is the version that it has to be, such as 17. Zero: the one that is found.
	Major int
	// Settings go into postgresql.conf, above the package's own. A value is
	// written without quotes around it. With "listen_addresses" and "port" the
	// server listens on TCP, too, for everybody on this machine and without a
	// password.
	Settings map[string]string
	// Durable keeps fsync and full-page writes on, as in production: for
	// benchmarks. Without it a commit survives the server's end, also by kill -9,
	// but not the machine's.
	Durable bool
	// Log receives the server's log. Nil: only errors of the start quote it. What
	// it returns is ignored; a slow one holds the server up.
	Log io.Writer
}

// Postgres is a Postgres server: a temporary one of this process, or the one that
// DATABASE_URL names. Safe for concurrent use.
type Postgres struct {
	url     string
	cluster *cluster     // nil: the server is not ours
	version atomic.Int64 // 0: nobody has asked
}

// ErrNotOurs is returned by what would stop or start a server that DATABASE_URL
// names: that one belongs to somebody else.
var ErrNotOurs = errors.New("the server of DATABASE_URL can't be stopped or started from here: unset DATABASE_URL for a temporary one")

// StartPostgres starts a temporary Postgres, ready in about half a second. It
// returns ErrNoPostgres where no server programs are installed. ctx bounds the
// start alone. Close it; if the process ends without, however it ends, neither a
// process nor a file stays behind.
func StartPostgres(ctx context.Context, opts PostgresOptions) (*Postgres, error) {
	c, err := newCluster(ctx, opts)
	if err != nil {
		return nil, err
	}
	return startCluster(ctx, c)
}

// startCluster starts a cluster's server for the first time, or removes it.
func startCluster(ctx context.Context, c *cluster) (*Postgres, error) {
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.close(ctx))
	}
	query := url.Values{"host": {c.folder.path}, "port": {c.port()}, "user": {"postgres"}}
	address := url.URL{Scheme: "postgres", Path: "/postgres", RawQuery: query.Encode()}
	return &Postgres{url: address.String(), cluster: c}, nil
}

// OpenPostgres is the server that DATABASE_URL names, if it is set, and else
// StartPostgres. It does not connect: CreateDatabase is the first to. An error
// about DATABASE_URL quotes none of it, since it may contain a password.
func OpenPostgres(ctx context.Context, opts PostgresOptions) (*Postgres, error) {
	if address := os.Getenv("DATABASE_URL"); address != "" {
		if _, err := pgx.ParseConfig(address); err != nil {
			return nil, errors.New("DATABASE_URL is not a connection string: want postgres://user@host:5432/db or key=value pairs")
		}
		return &Postgres{url: address}, nil
	}
	return StartPostgres(ctx, opts)
}

// URL is the address of the database "postgres" as superuser, by a unix socket
// that only this user (and, for root, the server's) can reach; with DATABASE_URL
// it is just that. It stays the same when the server restarts.
func (p *Postgres) URL() string { return p.url }

// Client finds a client program such as psql: beside the server's programs, or else in PATH. env is what it needs in its
// environment, mostly nothing.
func (p *Postgres) Client(name string) (path string, env []string, err error) {
	if p.cluster != nil {
		for _, variable := range p.cluster.programs.env {
			if strings.HasPrefix(variable, "LD_LIBRARY_PATH=") {
				env = append(env, variable)
			}
		}
		if path, err = exec.LookPath(filepath.Join(p.cluster.programs.bin, name)); err == nil {
			return path, env, nil
		}
	}
	if path, err = exec.LookPath(name); err != nil {
		return "", nil, fmt.Errorf("no %s, neither beside the server's programs nor in PATH: run make deps: %w", name, err)
	}
	return path, nil, nil
}

// DataDir is the folder of a temporary server's data, for what takes a file:
// standby.signal, for one, makes it read-only from the next start. Empty when the
// server is not ours.
func (p *Postgres) DataDir() string {
	if p.cluster == nil {
		return ""
	}
	return p.cluster.data()
}

// Stop stops the server as a planned restart does ("fast"): connections end,
// transactions roll back, what was committed is written. Without effect when it is
// stopped. If ctx ends first, the stop goes on, and a second call waits for it.
func (p *Postgres) Stop(ctx context.Context) error { return p.stop(ctx, "INT") }

// StopImmediate stops the server as a crash does: nothing is written any more, and
// the next start recovers what was committed. Otherwise like Stop.
func (p *Postgres) StopImmediate(ctx context.Context) error { return p.stop(ctx, "QUIT") }

// stop sends the signal and waits.
func (p *Postgres) stop(ctx context.Context, signal string) error {
	if p.cluster == nil {
		return ErrNotOurs
	}
	return p.cluster.stop(ctx, signal)
}

// Start starts the server again after Stop or StopImmediate, or after somebody
// killed it, with the same data at the same URL, and waits until it takes
// connections. It fails if the server runs.
func (p *Postgres) Start(ctx context.Context) error {
	if p.cluster == nil {
		return ErrNotOurs
	}
	return p.cluster.start(ctx)
}

// Restart is Stop and Start.
func (p *Postgres) Restart(ctx context.Context) error {
	if err := p.Stop(ctx); err != nil {
		return err
	}
	return p.Start(ctx)
}

// Close stops the server at once and removes all its files. A second call does
// nothing, nor does a call when the server is not ours.
func (p *Postgres) Close() error {
	if p.cluster == nil {
		return nil
	}
	return p.cluster.close(context.Background())
}
