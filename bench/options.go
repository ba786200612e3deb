package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// options is the command line.
type options struct {
	Scenarios   []string     `json:"scenarios,omitempty"`   // empty: all
	Contestants []contestant `json:"contestants,omitempty"` // empty: all
	Variants    []variant    `json:"variants,omitempty"`
	Rounds      int          `json:"rounds"`
	Full        bool         `json:"full"`
	Smoke       bool         `json:"smoke"`
	JSON        string       `json:"-"`
	// Results is a folder for tables, JSON and plots.
	Results string `json:"-"`
	// Redraw is the JSON of a run to be shown again.
	Redraw string `json:"-"`
	// Tuning runs the experiments of docs/tuning.md.
	Tuning bool   `json:"tuning,omitempty"`
	Worker string `json:"worker,omitempty"`
	// Server are settings of Postgres for all contestants, over our own.
	Server map[string]string `json:"server,omitempty"`
	// NATSSync makes nats-server sync each write before it confirms it.
	NATSSync bool  `json:"nats_sync"`
	Sizes    sizes `json:"sizes"`
}

// usageError is a command line that makes no sense.
type usageError struct{ err error }

// Error says what makes no sense.
func (e *usageError) Error() string { return e.err.Error() }

// Unwrap returns the reason.
func (e *usageError) Unwrap() error { return e.err }

// parseOptions reads the command line. The error is flag.ErrHelp or a *usageError.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{Server: map[string]string{}}
	var only, who string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&only, "scenario", "", "`names` of the scenarios to run, such as S1,S3 (default all)")
	f.StringVar(&who, "contestant", "", "`names` of those who take part, such as lethe,plain (default all)")
	f.IntVar(&o.Rounds, "rounds", 3, "how often each contestant runs each scenario; some have fewer, see README.md")
	f.BoolVar(&o.Full, "full", false, "larger sizes: two million messages in S3, for one")
	f.BoolVar(&o.Smoke, "smoke", false, "tiny sizes and one round: only to see that nothing is broken")
	f.BoolVar(&o.Tuning, "tuning", false, "measure the settings of docs/tuning.md and print its table")
	f.StringVar(&o.JSON, "json", "", "write all rounds and the environment to this `file`")
	f.StringVar(&o.Results, "results", "", "write table, JSON and plots into this `folder`")
	f.StringVar(&o.Redraw, "redraw", "", "measure nothing: show the run in this JSON `file` again, with --results its page and plots, too")
	f.StringVar(&o.Worker, "worker", "", "measure this `program` instead of building ./cmd/worker")
	f.BoolVar(&o.NATSSync, "nats-sync", false, "nats-server syncs each write to disk before it confirms it")
	f.Func("pg", "set this `name=value` of Postgres for all contestants, such as wal_compression=lz4; repeatable", o.setServer)
	f.Func("variant", "one more contestant, lethe with other settings or an older binary: `'name: --target=100ms pg.wal_compression=lz4'` or 'before: worker=/old/worker'; repeatable", o.addVariant)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, &usageError{err}
	}
	return o, errors.Join(o.complete(f.Args()), o.choose(only, who))
}

func (o *options) setServer(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q; expected name=value", text)
	}
	o.Server[name] = value
	return nil
}

func (o *options) addVariant(text string) error {
	v, err := parseVariant(text)
	if err == nil && slices.ContainsFunc(o.Variants, func(other variant) bool { return other.Name == v.Name }) {
		err = fmt.Errorf("two variants are named %q", v.Name)
	}
	o.Variants = append(o.Variants, v)
	return err
}

// complete checks the settings and chooses the sizes.
func (o *options) complete(rest []string) error {
	switch {
	case len(rest) > 0:
		return &usageError{fmt.Errorf("unexpected %q", rest)}
	case o.Rounds < 1:
		return &usageError{fmt.Errorf("--rounds is %d; expected at least 1", o.Rounds)}
	case o.Smoke && o.Full:
		return &usageError{fmt.Errorf("--smoke and --full exclude each other")}
	}
	o.Sizes = quickSizes
	if o.Full {
		o.Sizes = fullSizes
	}
	if o.Smoke {
		o.Sizes, o.Rounds = smokeSizes, 1
	}
	return nil
}

// choose reads the lists of scenarios and contestants.
func (o *options) choose(scenarios, contestants string) error {
	for _, name := range words(strings.ToUpper(scenarios)) {
		if !known(name) {
			return &usageError{fmt.Errorf("--scenario names %q; expected some of %s", name, strings.Join(names(), ", "))}
		}
		o.Scenarios = append(o.Scenarios, name)
	}
	for _, name := range words(contestants) {
		if !slices.Contains(o.everybody(), contestant(name)) {
			return &usageError{fmt.Errorf("--contestant names %q; expected some of %q", name, o.everybody())}
		}
		o.Contestants = append(o.Contestants, contestant(name))
	}
	return nil
}

// words are the parts of a list with commas.
func words(list string) []string {
	var all []string
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word != "" {
			all = append(all, word)
		}
	}
	return all
}

// postgresSettings are the server's defaults, but for its memory, and but for what comes by the clock and would hit one
// contestant and not the other: no checkpoint falls into a round but those we ask for, and no autovacuum. S5 has both for all.
func (o options) postgresSettings() map[string]string {
	settings := map[string]string{
		"shared_buffers":     "4GB", // a scenario's data and a copy of it: of 1 GB, the first copy found little free
		"max_wal_size":       "16GB",
		"checkpoint_timeout": "1h",
		"autovacuum":         "off",
	}
	if o.Smoke {
		settings["shared_buffers"] = "128MB"
	}
	maps.Copy(settings, o.Server)
	return settings
}
