package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/lethe-im/lethe/internal/localstack"
)

// workerPackage is what lethe is built from.
const workerPackage = "github.com/lethe-im/lethe/cmd/worker"

// stack is what all trials share: Postgres and the worker's binary.
type stack struct {
	opts     options
	dir      string // of logs, of sockets and of the binary
	self     string // this program, for its roles
	worker   string // the worker's binary
	postgres *localstack.Postgres
	progress io.Writer
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
	s := &stack{opts: opts, dir: dir, self: self, worker: opts.Worker, progress: progress}
	if s.worker == "" {
		s.worker = filepath.Join(dir, "worker")
		if err := s.build(ctx); err != nil {
			return nil, errors.Join(err, s.close(ctx))
		}
	}
	s.postgres, err = localstack.OpenPostgres(ctx, localstack.PostgresOptions{Durable: true, Settings: opts.postgresSettings()})
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// postgresSettings are those of a server of some size. No checkpoint falls into
// a round but those we ask for, and no autovacuum: both come by the clock and
// would hit one contestant and not the other.
func (o options) postgresSettings() map[string]string {
	buffers := "1GB"
	if o.Smoke {
		buffers = "128MB"
	}
	return map[string]string{
		"shared_buffers":     buffers,
		"wal_compression":    o.WALCompression,
		"max_wal_size":       "16GB",
		"checkpoint_timeout": "1h",
		"autovacuum":         "off",
	}
}

// build builds the worker as a user would.
func (s *stack) build(ctx context.Context) error {
	fmt.Fprintln(s.progress, "building the worker")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", s.worker, workerPackage)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", workerPackage, err, bytes.TrimSpace(out))
	}
	return nil
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

// trialLimit bounds one trial, the loading included.
const trialLimit = 15 * time.Minute

// runAll runs the chosen scenarios: in each round each contestant once, and
// another one first in each round.
func (s *stack) runAll(ctx context.Context, rep *report) error {
	for _, sc := range chosen(s.opts.Scenarios, s.opts.Contestants) {
		rep.Scenarios = append(rep.Scenarios, result{scenario: sc})
		res := &rep.Scenarios[len(rep.Scenarios)-1]
		for round := range s.opts.Rounds {
			for i := range sc.contestants {
				who := sc.contestants[(i+round)%len(sc.contestants)]
				if err := s.trial(ctx, res, round+1, who); err != nil {
					return fmt.Errorf("%s, round %d, %s: %w", sc.id, round+1, who, err)
				}
			}
		}
	}
	return nil
}

// trial runs one contestant in a world of its own.
func (s *stack) trial(ctx context.Context, res *result, round int, who contestant) error {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	start := time.Now()
	fmt.Fprintf(s.progress, "%s round %d of %d, %s: ", res.scenario.id, round, s.opts.Rounds, who)
	w, err := s.newWorld(ctx)
	if err != nil {
		fmt.Fprintln(s.progress)
		return err
	}
	figures, err := res.scenario.run(ctx, w, who)
	err = errors.Join(err, w.close(ctx))
	if err != nil {
		fmt.Fprintln(s.progress)
		return err
	}
	first := res.scenario.figures[0].name
	fmt.Fprintf(s.progress, "%s %s (%.1f s in all)\n", number(figures[first]), first, time.Since(start).Seconds())
	res.Trials = append(res.Trials, trial{Round: round, Contestant: who, Figures: figures})
	return nil
}
