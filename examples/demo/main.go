// Command demo shows the whole job on one machine: it starts a real Postgres and
// a real nats-server, runs the worker's own binary, deletes conversations through
// package conversation as a gateway would, follows the events as a presence
// service would, kills a worker in the middle, and checks in the database that
// everything held. Nothing stays behind.
//
//	go -C examples run ./demo
//	go -C examples run ./demo page [-addr 127.0.0.1:8080]
//
// The second is for the browser: the same servers, a worker, and examples/chat
// with its page, until Ctrl-C. To see how the public package is used, read gateway.go and devices.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitHeld        = 0   // every line of the table held; the page was stopped
	exitFailed      = 1   // something did not, or could not be shown
	exitUsage       = 2   // a wrong flag
	exitInterrupted = 130 // Ctrl-C, as shells say it
)

// errNotHeld says that a line of the final table is wrong.
var errNotHeld = errors.New("not everything held: see the lines marked ✗")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options is how large the demo is.
type options struct {
	chats   int           // one-to-one chats of messagesPerChat messages
	group   int           // messages of the group
	ackWait time.Duration // how long after a crash another worker goes on
}

// Bounds of the options: the story needs three chats, and a group large enough
// to be hit in the middle.
const (
	leastChats, mostChats = 3, 100_000
	leastGroup, mostGroup = 10_000, 50_000_000
)

// parse reads the flags; flag.ErrHelp where help was asked for.
func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.chats, "chats", 2_000, "one-to-one chats of 20 messages each")
	flags.IntVar(&o.group, "group", 2_000_000, "messages of the group")
	flags.DurationVar(&o.ackWait, "ack-wait", 3*time.Second, "how long after a crash another worker goes on; the worker's default is 30s")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("unknown argument %q", flags.Arg(0))
	case o.chats < leastChats || o.chats > mostChats:
		err = fmt.Errorf("-chats %d is out of range: expected %d to %d", o.chats, leastChats, mostChats)
	case o.group < leastGroup || o.group > mostGroup:
		err = fmt.Errorf("-group %d is out of range: expected %d to %d", o.group, leastGroup, mostGroup)
	case o.ackWait < 2*time.Second || o.ackWait > time.Hour:
		err = fmt.Errorf("-ack-wait %v is out of range: expected 2s to 1h", o.ackWait)
	}
	if err != nil {
		fmt.Fprintln(stderr, "demo:", err)
	}
	return o, err
}

// show is what a demo does on a stack that has nothing yet.
type show func(out *printer, s *stack) error

// choose reads the arguments: the story, or the page.
func choose(args []string, stderr io.Writer) (show, error) {
	if len(args) > 0 && args[0] == "page" {
		opts, err := parsePage(args[1:], stderr)
		return opts.show, err
	}
	opts, err := parse(args, stderr)
	return func(out *printer, s *stack) error { return newStory(opts, out, s).tell() }, err
}

// run is the whole program: it returns the exit code once everything has been
// cleaned up, also when ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	show, err := choose(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitHeld
	case err != nil:
		return exitUsage
	}
	out := newPrinter(stdout, os.Getenv)
	stack, err := newStack(ctx, out)
	if err == nil {
		err = show(out, stack)
	}
	out.endLine()
	interrupted := ctx.Err() != nil
	if stack != nil {
		if err != nil && !interrupted {
			err = stack.explain(err)
		}
		err = errors.Join(err, stack.close())
	}
	switch {
	case err == nil:
		return exitHeld
	case interrupted:
		fmt.Fprintln(stderr, "demo: interrupted; servers and worker are stopped, temporary files removed")
		return exitInterrupted
	default:
		fmt.Fprintln(stderr, "demo:", err)
		return exitFailed
	}
}
