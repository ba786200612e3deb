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
	"strings"
	"syscall"
)

// Exit codes. A usage error is one that a better command line or environment
// mends; it is told before anything is touched.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
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
	cmd, err := parse(args, getenv, stdout)
	if err == nil && cmd != nil {
		err = cmd.run(ctx, terminal{out: stdout, err: stderr, getenv: getenv})
	}
	if err == nil || errors.Is(err, errTold) {
		return exitCode(err)
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "worker: %s\n", printable(line))
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitError
}

// errTold is an error whose reason has been printed already.
var errTold = errors.New("told")

// usageError is what the command line or the environment got wrong, one line for
// each problem.
type usageError struct{ problems []error }

// Error returns the problems, one to a line.
func (e *usageError) Error() string { return errors.Join(e.problems...).Error() }

// Unwrap returns the problems.
func (e *usageError) Unwrap() []error { return e.problems }
