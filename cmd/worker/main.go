// Command worker deletes conversations: it takes commands from JetStream, purges
// the history from Postgres and tells the events. It also sets both up, sends a
// command, and shows what became of it. See `worker --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
)

// Exit codes. A usage error is one that a better command line or environment
// mends; it is told before anything is touched.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	// exitMissing: all was done that can be, and it may not be all that there was;
	// worker replay alone.
	exitMissing = 3
)

// The worker's live heap is a few megabytes. With the collector's default it would run
// all the time: at full load more than half of the worker's CPU time, and about a third
// less in all with gcPercent (bench, S1). The limit keeps the peak below 64 MB.
const (
	gcPercent   = 400
	memoryLimit = 48 << 20
)

// tuneMemory sets up the collector, unless the environment does (GOGC, GOMEMLIMIT).
func tuneMemory(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

func main() {
	tuneMemory(os.Getenv)
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		cancel(fmt.Errorf("signal: %v", <-signals))
		<-signals // somebody doesn't want to wait for the stop
		os.Exit(exitError)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit code when the command has ended,
// or soon after ctx has. Several may run in one process.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	said := &sharedWriter{w: stderr}
	defer said.end()
	cmd, err := parse(args, getenv, stdout)
	if err == nil && cmd != nil {
		err = adviseCredentials(args, cmd.run(ctx, terminal{in: os.Stdin, out: stdout, err: said, getenv: getenv}))
	}
	if err == nil {
		return exitOK
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(said, "worker: %s\n", printable(line))
	}
	return exitCode(err)
}

// sharedWriter keeps what several goroutines write apart. Some of them, of the
// NATS client, may outlive the command by a moment: they write nothing any more.
type sharedWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer  // nil after end
}

// Write implements io.Writer.
func (s *sharedWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w == nil {
		return len(p), nil
	}
	return s.w.Write(p)
}

func (s *sharedWriter) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = nil
}

// exitCode is that of an error.
func exitCode(err error) int {
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	if errors.Is(err, errMissing) {
		return exitMissing
	}
	return exitError
}

// usageError is what the command line or the environment got wrong, one line for
// each problem.
type usageError struct{ problems []error }

// Error returns the problems, one to a line.
func (e *usageError) Error() string { return errors.Join(e.problems...).Error() }

// Unwrap returns the problems.
func (e *usageError) Unwrap() []error { return e.problems }
