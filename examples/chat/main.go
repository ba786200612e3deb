// Command chat is an example of the services around the worker: a gateway that
// turns what devices ask for into commands, and a presence service that tells the
// devices what became of it. See README.md, gateway/delete.go and
// presence/presence.go.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit code when ctx has ended and all
// is closed. Several may run in one process.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	err := carryOut(ctx, args, getenv, stdout, stderr)
	if err == nil {
		return 0
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "chat: %s\n", line)
	}
	return 1
}

// carryOut does what the command line asks for.
func carryOut(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) == 1 && args[0] == "health" {
		return askHealth(ctx, getenv, stdout)
	}
	opts, err := parse(args, getenv, stdout)
	if err != nil || opts == nil {
		return err
	}
	return serve(ctx, *opts, slog.New(slog.NewTextHandler(stderr, nil)))
}

// parse reads the command line and the variables. The options are nil where help
// was asked for and printed.
func parse(args []string, getenv func(string) string, stdout io.Writer) (*options, error) {
	var opts options
	helped := false
	parser, err := kong.New(&opts,
		kong.Name("chat"),
		kong.Description("An example of a chat's services around the worker: see examples/chat/README.md. "+
			"`chat health` asks the one at HTTP_ADDR on this machine whether it is ready, for a container's health check."),
		kong.Writers(stdout, io.Discard),
		kong.Exit(func(int) { helped = true }),
		kong.ValueFormatter(describe),
		kong.Resolvers(variables(getenv)))
	if err != nil {
		return nil, err
	}
	_, err = parser.Parse(args)
	if helped {
		return nil, nil
	}
	if err != nil {
		return nil, hideArguments(err, args)
	}
	return &opts, opts.check()
}

// variables looks settings up that no flag gives.
func variables(getenv func(string) string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if v := getenv(flag.Tag.Get("variable")); v != "" {
			return v, nil
		}
		return nil, nil
	})
}

// describe adds the variable to a setting's help.
func describe(v *kong.Value) string {
	if name := v.Tag.Get("variable"); name != "" {
		return v.Help + " ($" + name + ")"
	}
	return v.Help
}
