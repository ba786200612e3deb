package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// commands is the grammar: one field for each subcommand, each in a file of its
// own. The settings that they share are in config.go.
type commands struct {
	Setup       setupCommand       `cmd:"" help:"Create or upgrade the database schema, the streams and the consumer."`
	SetupApp    setupAppCommand    `cmd:"" help:"Create or upgrade the stream of events in an app's own NATS account."`
	Run         runCommand         `cmd:"" help:"Take commands, delete histories and publish events until SIGTERM or SIGINT."`
	Send        sendCommand        `cmd:"" help:"Publish a command that deletes conversations of one user."`
	Status      statusCommand      `cmd:"" help:"Show what the ledger knows about a command."`
	Top         topCommand         `cmd:"" help:"Watch the deletions that aren't final, and the backlog of commands."`
	Pause       pauseCommand       `cmd:"" help:"Pause all workers, or their large deletions alone, until worker resume."`
	Resume      resumeCommand      `cmd:"" help:"End what worker pause began."`
	Erase       eraseCommand       `cmd:"" help:"Erase a conversation of a shared log through its floor now."`
	Replay      replayCommand      `cmd:"" help:"Delete again what was deleted after the time to which the database was restored."`
	Plan        planCommands       `cmd:"" help:"Draft a plan, check it against the database, or try a deletion without deleting."`
	Settings    settingsCommands   `cmd:"" help:"Show or change the settings of an app."`
	DeadLetters deadLetterCommands `cmd:"" help:"List, show, retry or drop dead letters: commands that failed for good."`
	Health      healthCommand      `cmd:"" help:"Ask the worker on this machine whether it is ready, for a container's health check."`
	Version     versionCommand     `cmd:"" help:"Print the version, as --version does."`

	VersionFlag kong.VersionFlag `name:"version" hidden:"" help:"Print the version."`
}

const description = `Deletes conversations: takes commands from JetStream, deletes the history from Postgres, publishes the events.

Every setting is a flag and an environment variable, named at the end of the flag's help; the flag wins, and an
empty variable counts as unset. Durations have a unit (50ms, 30s, 720h), sizes are bytes or have one (64MiB, 10GB).
Results go to standard output, for people or with --json as one JSON object a line; logs and errors go to standard
error. Exit status: 0 done, 1 failed, 2 wrong usage; plan check and replay have their own.

Start here:

    export DATABASE_URL=postgres://lethe@localhost:5432/app NATS_URL=nats://localhost:4222
    worker setup --sample-schema
    worker run
    worker send --app demo --user alice --conversation c2c_bob --wait

On your own tables: worker plan draft > plan.yaml, and worker plan check --plan plan.yaml.`

// subcommand is what a leaf of commands does.
type subcommand interface {
	// check returns what is wrong with the settings, all of it.
	check() problems
	// run does the work. Its error is one line for each thing that went wrong.
	run(ctx context.Context, t terminal) error
}

// parse reads the command line and the environment. It returns nil where only
// help was asked for, which it prints to stdout, and a *usageError that names
// every problem.
func parse(args []string, getenv func(string) string, stdout io.Writer) (subcommand, error) {
	p, err := newParser(getenv, stdout)
	if err != nil {
		return nil, err
	}
	if bad := notUTF8(args); bad != nil {
		return nil, &usageError{"worker", problems{bad}}
	}
	kctx, err := p.kong.Parse(args)
	if p.helped {
		return nil, nil
	}
	found := p.problems
	if err != nil {
		return nil, &usageError{commandOf(err), append(found, err)}
	}
	cmd, ok := kctx.Selected().Target.Addr().Interface().(subcommand)
	if !ok {
		return nil, fmt.Errorf("BUG: %s is not a subcommand", kctx.Command())
	}
	wrong := cmd.check()
	wrong.outOfRange(kctx.Selected().Flags)
	found = append(found, wrong.except(p.malformed)...) // a zero stands where the malformed value was
	if len(found) > 0 {
		return nil, &usageError{kctx.Selected().FullPath(), found}
	}
	return cmd, nil
}

// commandOf names the subcommand that a command line is about, as far as kong could read it.
func commandOf(err error) string {
	name := "worker"
	var malformed *kong.ParseError
	if errors.As(err, &malformed) {
		for _, part := range malformed.Context.Path {
			if part.Command != nil {
				name = part.Command.FullPath()
			}
		}
	}
	return name
}

// withLog are the subcommands that have --log-format.
var withLog = []string{"run", "erase", "replay"}

// logsJSON reports whether a subcommand's log is JSON. It reads the words themselves, since it
// is asked of command lines that can't be parsed, too.
func logsJSON(args []string, getenv func(string) string) bool {
	if len(args) == 0 || !slices.Contains(withLog, args[0]) {
		return false
	}
	format := getenv(variableOf("log-format"))
	for i, word := range args {
		if value, ok := strings.CutPrefix(word, "--log-format="); ok {
			format = value
		} else if word == "--log-format" && i+1 < len(args) {
			format = args[i+1]
		}
	}
	return format == "json"
}

// notUTF8 returns an error for a word that is not valid UTF-8: kong would put
// U+FFFD in its place, and so one user in another's.
func notUTF8(words []string) error {
	for _, w := range words {
		if !utf8.ValidString(w) {
			return fmt.Errorf("%q is not valid UTF-8: expected text", w)
		}
	}
	return nil
}

// parser is kong with our rules: variables from getenv, all malformed values
// reported at once.
type parser struct {
	kong      *kong.Kong
	grammar   commands
	problems  problems
	malformed []string // the flags in problems
	helped    bool
}

func newParser(getenv func(string) string, stdout io.Writer) (*parser, error) {
	p := &parser{}
	options := []kong.Option{
		kong.Name("worker"), kong.Description(description), kong.Writers(stdout, stdout),
		kong.Vars{"version": buildOf().String()},
		kong.Exit(func(int) { p.helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}), kong.ValueFormatter(helpOf),
		kong.Resolvers(environment(getenv)), defaults,
		kong.NamedMapper("target", targetMapper{&p.grammar.Send.order}),
		kong.NamedMapper("through-seq", throughMapper{&p.grammar.Send.order}),
	}
	k, err := kong.New(&p.grammar, append(options, p.mappers()...)...)
	if err != nil {
		return nil, fmt.Errorf("BUG: the command line's grammar: %w", err)
	}
	p.kong = k
	return p, nameVariables(k.Model.Node)
}

// nameVariables notes each flag's variable where help and [environment] look for it,
// and not where kong would read the process's environment.
func nameVariables(node *kong.Node) error {
	return kong.Visit(node, func(v kong.Visitable, next kong.Next) error {
		if f, ok := v.(*kong.Flag); ok {
			none := slices.Contains(f.Envs, "-")
			f.Envs, f.Tag.Envs = nil, nil
			if name := variableOf(f.Name); name != "" && !none {
				f.Envs = []string{name}
			}
		}
		return next(nil)
	})
}

// helpOf is a flag's help with its variable and default.
func helpOf(v *kong.Value) string {
	text := v.Help
	if v.HasDefault && v.Default != "" && v.Flag != nil && !v.IsBool() {
		text += " Default " + v.Default + "."
	}
	if v.Flag != nil && v.Tag.Has("zero") {
		text += " 0 for " + v.Tag.Get("zero") + "."
	}
	if v.Flag != nil && len(v.Flag.Envs) > 0 {
		text += " [$" + v.Flag.Envs[0] + "]"
	}
	return text
}

// environment resolves the flags that the command line doesn't set.
func environment(getenv func(string) string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
		if len(f.Envs) == 0 {
			return nil, nil
		}
		if value := getenv(f.Envs[0]); value != "" {
			return value, notUTF8([]string{value})
		}
		return nil, nil
	})
}

// invocation are the flags that say what one call does, and not how. They have no
// variable, since one that is left over would delete the wrong thing.
var invocation = []string{"help", "version", "conversation", "through-seq", "keep-history", "command-id", "all", "reason", "raw", "multi-client-sync", "lane", "since", "dry-run", "check", "yes", "page", "once"}

// variableOf returns the name of a flag's variable; "" if it has none.
func variableOf(flag string) string {
	if slices.Contains(invocation, flag) {
		return ""
	}
	name := strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	switch flag {
	case "nats-url", "database-url", "http-addr", "log-level", "log-format":
		return name
	}
	return "LETHE_" + name
}
