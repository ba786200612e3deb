// Command worker deletes conversations: it takes commands from JetStream, deletes the
// history from Postgres and publishes the events. It also sets up both, sends a command,
// and shows its outcome. See `worker --help`.
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

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/purge"
)

// Exit codes. A usage error is one of the command line or the environment; it is
// reported before anything is touched. Of plan check it is also that it couldn't check.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	// exitMissing: worker replay has done everything in the stream, but deletions may be
	// missing from the stream.
	exitMissing = 3
)

// The worker's live heap is a few megabytes. With the collector's default it would run
// all the time: at full load more than half of the worker's CPU time, and about a third
// less in all with gcPercent (bench, S1). The limit keeps the peak below 64 MB, together with
// the pages of the program itself, some 18 MB, which it doesn't count.
const (
	gcPercent   = 400
	memoryLimit = 44 << 20
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
		<-signals // a second one: don't wait for the stop
		os.Exit(exitError)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit code when the command has ended,
// or soon after ctx has. Several may run in one process.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	shared := &sharedWriter{w: stderr}
	defer shared.end()
	cmd, err := parse(args, getenv, stdout)
	if err == nil && cmd != nil {
		err = adviseCredentials(args, cmd.run(ctx, terminal{in: os.Stdin, out: stdout, err: shared, getenv: getenv}))
	}
	if err == nil {
		return exitOK
	}
	printError(shared, err, logsJSON(args, getenv))
	return exitCode(err)
}

// printError ends what a command prints: a line for each problem, in JSON where its log is. A
// wrong command line names the subcommand, and where its help is.
func printError(w io.Writer, err error, json bool) {
	prefix, lines := "worker", strings.Split(err.Error(), "\n")
	var usage *usageError
	if errors.As(err, &usage) {
		prefix = usage.command
		lines[len(lines)-1] += fmt.Sprintf("; see `%s --help`", prefix)
	}
	if json {
		log := (&logConfig{LogFormat: "json"}).logger(w)
		for _, line := range lines {
			log.Error("failed", "error", line)
		}
		return
	}
	for _, line := range lines {
		fmt.Fprintf(w, "%s: %s\n", prefix, printable(line))
	}
}

// sharedWriter separates what several goroutines write. Goroutines of the NATS client
// may outlive the command by a moment; what they write then is dropped.
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
	var unchecked *uncheckedError
	if errors.As(err, &usage) || errors.As(err, &unchecked) {
		return exitUsage
	}
	if errors.Is(err, errMissing) {
		return exitMissing
	}
	return exitError
}

// usageError is what the command line or the environment got wrong, one line for
// each problem.
type usageError struct {
	command  string // as far as it was read: worker dead-letters list
	problems []error
}

// Error returns the problems, one to a line.
func (e *usageError) Error() string { return errors.Join(e.problems...).Error() }

// Unwrap returns the problems.
func (e *usageError) Unwrap() []error { return e.problems }

// credentials say with whose credentials a command for people is called, by its first
// word, and how. The roles and users are those of deploy/.
var credentials = map[string]string{
	"send":         byOperator,
	"status":       byOperator,
	"top":          byOperator,
	"pause":        byOperator,
	"resume":       byOperator,
	"settings":     byOperator,
	"dead-letters": byOperator,
	"plan":         "plan check and plan try have the worker's Postgres role, or one that may read the plan's tables (lethe_worker in deploy/)",
	"erase":        "an erasure has the worker's Postgres role (lethe_worker in deploy/)",
	"replay": "a replay has the worker's Postgres role and the operator's NATS user (lethe_worker and operator in deploy/; " +
		"docker compose run --rm replay …, deploy/kubernetes/operator …)",
}

const byOperator = "call it with the operator's credentials (Postgres role lethe_operator and NATS user operator in deploy/; " +
	"docker compose run --rm operator …, deploy/kubernetes/operator …)"

// adviseCredentials puts in front of a server's refusal with whose credentials to call
// the command: what the refusal itself advises would widen the rights of the caller.
func adviseCredentials(args []string, err error) error {
	if err == nil || len(args) == 0 || credentials[args[0]] == "" || !refused(err) {
		return err
	}
	return fmt.Errorf("not permitted: %s: %w", credentials[args[0]], err)
}

// refused says that a server has refused an operation to this user or role.
func refused(err error) bool {
	_, cause := purge.FaultOf(err)
	var marked *purge.FaultError
	return errors.As(err, &marked) && cause == "permission" || errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, conversation.ErrNotPermitted)
}
