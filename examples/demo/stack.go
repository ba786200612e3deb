package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
)

// stack is what runs below the story: the servers, the worker's binary and the
// connections. Its context ends with the demo's, or when a worker ends that
// should not.
type stack struct {
	ctx  context.Context // the lifetime of all that follows
	fail context.CancelCauseFunc
	out  *printer

	guard  *guard
	log    *os.File // what the servers and the workers say
	binary string   // the worker
	worker *program // the one that runs, or nil

	programs []*program // all that were started

	postgres *localstack.Postgres
	database string // its address
	nats     *localstack.NATS
	db       *pgxpool.Pool
	nc       *nats.Conn
	js       jetstream.JetStream
	client   *conversation.Client

	closers []func() error // last first
}

// newStack has no server yet. Close it.
func newStack(ctx context.Context, out *printer) (*stack, error) {
	s := &stack{out: out}
	s.ctx, s.fail = context.WithCancelCause(ctx)
	var err error
	if s.guard, err = newGuard(); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.guard.close)
	s.log, err = os.Create(filepath.Join(s.guard.folder, "log"))
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.closers = append(s.closers, s.log.Close)
	return s, nil
}

// close ends everything, last first. Cleaning up is not bound to a context that
// may have ended.
func (s *stack) close() error {
	var errs []error
	for _, p := range slices.Backward(s.programs) {
		p.kill()
	}
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	s.fail(nil)
	return errors.Join(errs...)
}

// build builds the worker, as anybody would. It prints nothing.
func (s *stack) build() error {
	s.binary = filepath.Join(s.guard.folder, "worker")
	return s.goBuild(s.binary, "cmd/worker")
}

// goBuild builds a program of this repository, such as cmd/worker.
func (s *stack) goBuild(binary, folder string) error {
	cmd, err := localstack.BuildCommand(s.ctx, binary, folder)
	if err != nil {
		return err
	}
	cmd.Env = append(os.Environ(), "GOTMPDIR="+s.guard.folder)
	// An interrupt of all its processes, as by Ctrl-C: it cleans up then.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = s.guard.start(cmd)
	if err == nil {
		err = errors.Join(cmd.Wait(), s.guard.forget(cmd))
	}
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", folder, err, &out)
	}
	return nil
}

// startServers starts Postgres and NATS, and prints what they are.
func (s *stack) startServers() error {
	for _, server := range []struct {
		name  string
		start func() (string, error)
	}{{"starting Postgres", s.startPostgres}, {"starting nats-server", s.startNATS}} {
		began, found := time.Now(), ""
		if err := s.out.during(server.name, func() (err error) {
			found, err = server.start()
			return err
		}); err != nil {
			return err
		}
		s.out.say(found, lasted(time.Since(began)))
	}
	return nil
}

// startPostgres starts a temporary Postgres with an empty database, or makes one
// on the server of DATABASE_URL. It returns what to call the server.
func (s *stack) startPostgres() (name string, err error) {
	s.postgres, err = localstack.OpenPostgres(s.ctx, localstack.PostgresOptions{
		Log:     s.log,
		Durable: true, // so that the rates are those of a server that loses nothing
		// No checkpoint in the middle of the story.
		Settings: map[string]string{"max_wal_size": "4GB", "checkpoint_timeout": "30min", "shared_buffers": "256MB"},
	})
	if err != nil {
		return "", err
	}
	s.closers = append(s.closers, s.postgres.Close)
	if s.database, s.db, err = s.newDatabase(); err != nil {
		return "", err
	}
	version, err := one[string](s.ctx, s.db, `select split_part(current_setting('server_version'), ' ', 1)`)
	if err != nil {
		return "", err
	}
	if s.postgres.DataDir() == "" {
		return "Postgres " + version + " of DATABASE_URL, in its own database", nil
	}
	return "Postgres " + version + ", temporary, with fsync on", nil
}

// newDatabase makes an empty database, and connects to it.
func (s *stack) newDatabase() (address string, db *pgxpool.Pool, err error) {
	address, drop, err := s.postgres.CreateDatabase(s.ctx)
	if err != nil {
		return "", nil, err
	}
	if s.postgres.DataDir() == "" { // ours goes with its cluster
		s.closers = append(s.closers, func() error { return drop(context.WithoutCancel(s.ctx)) })
	}
	if db, err = pgxpool.New(s.ctx, address); err != nil {
		return "", nil, err
	}
	s.closers = append(s.closers, func() error { db.Close(); return nil })
	return address, db, nil
}

// startNATS starts a nats-server in this process and connects to it.
func (s *stack) startNATS() (name string, err error) {
	if s.nats, err = localstack.StartNATS(localstack.NATSOptions{}); err != nil {
		return "", err
	}
	s.closers = append(s.closers, s.nats.Close)
	if s.nc, err = s.nats.Connect(nats.Name("lethe-demo")); err != nil {
		return "", err
	}
	s.closers = append(s.closers, func() error { s.nc.Close(); return nil })
	if s.js, err = jetstream.New(s.nc); err != nil {
		return "", err
	}
	if s.client, err = conversation.NewClient(s.nc); err != nil {
		return "", err
	}
	return "nats-server " + server.VERSION + " with JetStream", nil
}

// one returns the only column of the only row of a query.
func one[T any](ctx context.Context, db *pgxpool.Pool, sql string, args ...any) (T, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		var zero T
		return zero, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
}

// logTail is how many lines of the log an error quotes.
const logTail = 15

// explain adds the end of the servers' and the workers' log to an error, and
// keeps the log.
func (s *stack) explain(err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause // the rest followed from it
	}
	log, readErr := os.ReadFile(s.log.Name())
	if readErr != nil || len(log) == 0 {
		return err
	}
	lines := strings.Split(strings.TrimRight(string(log), "\n"), "\n")
	tail := strings.Join(lines[max(0, len(lines)-logTail):], "\n  ")
	kept, saveErr := os.CreateTemp("", "lethe-demo-*.log")
	if saveErr != nil {
		return fmt.Errorf("%w\nthe end of the log:\n  %s", err, tail)
	}
	_, saveErr = kept.Write(log)
	saveErr = errors.Join(saveErr, kept.Close())
	return errors.Join(fmt.Errorf("%w\nthe log of the servers and the workers is in %s; its end:\n  %s", err, kept.Name(), tail), saveErr)
}
