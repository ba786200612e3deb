package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// environment is what every call of the worker gets to know; the flags come on
// top of it. Nothing of the caller's may bend the story, but for what goes with
// their DATABASE_URL.
func (s *stack) environment() []string {
	env := []string{"TMPDIR=" + s.guard.folder, "NATS_URL=" + s.nats.URL(), "DATABASE_URL=" + s.database}
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "PG") || strings.HasPrefix(variable, "PATH=") || strings.HasPrefix(variable, "HOME=") {
			env = append(env, variable)
		}
	}
	return env
}

// call runs a subcommand of the worker to its end, such as `worker setup`.
func (s *stack) call(args ...string) error { return s.callWith(nil, args...) }

// callWith is call with more variables.
func (s *stack) callWith(variables []string, args ...string) error {
	cmd := exec.CommandContext(s.ctx, s.binary, args...)
	cmd.Env = append(s.environment(), variables...)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = s.log, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("worker %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return nil
}

// startWorker runs a worker with more variables and waits until it is ready.
func (s *stack) startWorker(variables []string) (err error) {
	s.worker, err = s.runWorker(variables)
	return err
}

func (s *stack) runWorker(variables []string, args ...string) (*program, error) {
	address, err := freeAddress(s.ctx)
	if err != nil {
		return nil, err
	}
	args = append([]string{"run", "--http-addr=" + address, "--foreground-backoff=0"}, args...)
	// No context ends it: kill and stop do. It is not to yield to who looks on.
	cmd := exec.Command(s.binary, args...) //nolint:noctx // see above
	cmd.Env = append(s.environment(), variables...)
	return s.startProgram("a worker", address, cmd)
}

// freeAddress is an address of this machine that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// until asks again and again until the answer is yes. The error is the
// question's, or the cause of the context's end.
func until(ctx context.Context, pause time.Duration, ask func() (bool, error)) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		yes, err := ask()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case yes || err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
