// Command bench measures the worker against what an engineer would write or use
// instead, side by side in one run: real Postgres with fsync, a real nats-server
// and the worker's real binary as processes of their own. See README.md.
//
//	go -C bench run .
//	go -C bench run . --scenario S1,S3 --rounds 5 --json results/today.json
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
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program. It returns 1 if anything was wrong, 2 for a wrong
// command line. A goal that isn't met is not wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := playRole(ctx, stdout)
	if errors.Is(err, errNoRole) {
		err = measure(ctx, args, stdout, stderr)
	}
	var usage *usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 2
	default:
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
}

// measure runs the scenarios and reports, also what was measured before an error.
func measure(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	opts, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	if opts.Redraw != "" {
		return opts.redraw(stdout)
	}
	s, err := openStack(ctx, opts, stderr)
	if err != nil {
		return err
	}
	env, err := s.environment(ctx)
	if err != nil {
		return errors.Join(err, s.close(ctx))
	}
	env.print(stdout)
	rep := report{Environment: env, Options: opts}
	if opts.Tuning {
		err = s.tune(ctx, &rep)
		err = errors.Join(err, rep.printTuning(stdout))
	} else {
		err = s.runAll(ctx, &rep)
		err = errors.Join(err, rep.print(stdout))
	}
	return errors.Join(err, rep.keep(), s.close(ctx))
}

// redraw shows a run again.
func (o options) redraw(stdout io.Writer) error {
	rep, err := loadReport(o.Redraw)
	if err != nil {
		return err
	}
	rep.Environment.print(stdout)
	rep.Options.Results = o.Results
	return errors.Join(rep.print(stdout), rep.keep())
}

// keep writes the report where the command line wants it.
func (r report) keep() error {
	var err error
	if r.Options.JSON != "" {
		err = r.save(r.Options.JSON)
	}
	if r.Options.Results != "" {
		err = errors.Join(err, r.publish(r.Options.Results))
	}
	return err
}
