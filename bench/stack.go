package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/lethe-im/lethe/internal/localstack"
)

// stack is what all trials share: Postgres and the worker's binary.
type stack struct {
	opts     options
	dir      string // of logs, of sockets and of the binary
	self     string // this program, for its roles
	worker   string // the worker's binary
	postgres *localstack.Postgres
	progress io.Writer
	filled   map[string]filled // the running scenario's, by table
}

// openStack starts Postgres and builds the worker. DATABASE_URL, if set, is used
// as it is; its settings are printed like any.
func openStack(ctx context.Context, opts options, progress io.Writer) (*stack, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lethe-bench-")
	if err != nil {
		return nil, err
	}
	s := &stack{opts: opts, dir: dir, self: self, worker: opts.Worker, progress: progress, filled: map[string]filled{}}
	if s.worker == "" {
		s.worker = filepath.Join(dir, "worker")
		fmt.Fprintln(progress, "building the worker")
		if err := localstack.Build(ctx, s.worker, "cmd/worker"); err != nil {
			return nil, errors.Join(err, s.close(ctx))
		}
	}
	s.postgres, err = localstack.OpenPostgres(ctx, localstack.PostgresOptions{Durable: !opts.Smoke, Settings: opts.postgresSettings()})
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// postgresPID is the server's process, if the server is ours.
func (s *stack) postgresPID() (int, bool) {
	if s.postgres.DataDir() == "" {
		return 0, false
	}
	data, err := os.ReadFile(filepath.Join(s.postgres.DataDir(), "postmaster.pid"))
	if err != nil {
		return 0, false
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	pid, err := strconv.Atoi(string(first))
	return pid, err == nil
}

// close stops what runs and removes all files, also after the context has ended.
func (s *stack) close(context.Context) error {
	var err error
	if s.postgres != nil {
		err = s.postgres.Close() //nolint:contextcheck // it must stop, also after ctx has ended
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
