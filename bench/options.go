package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// options is the command line.
type options struct {
	Scenarios   []string     `json:"scenarios,omitempty"`   // empty: all
	Contestants []contestant `json:"contestants,omitempty"` // empty: all
	Rounds      int          `json:"rounds"`
	Full        bool         `json:"full"`
	Smoke       bool         `json:"smoke"`
	JSON        string       `json:"-"`
	Worker      string       `json:"worker,omitempty"`
	// WALCompression is Postgres's setting of that name.
	WALCompression string `json:"wal_compression"`
	// NATSSync makes nats-server sync each write before it confirms it.
	NATSSync bool  `json:"nats_sync"`
	Sizes    sizes `json:"sizes"`
}

// sizes is how much the scenarios work on.
type sizes struct {
	// Small is how many commands S1 has, and MessagesEach how many messages each
	// of them deletes.
	Small        int `json:"small"`
	MessagesEach int `json:"messages_each"`
	// Long is how many messages S3's conversation has, and Others how many the
	// table holds besides.
	Long   int `json:"long"`
	Others int `json:"others"`
	// Alone is how many commands S6 sends, one after the other.
	Alone int `json:"alone"`
	// Finished is how many commands S8 repeats, and Repeats how often each.
	Finished int `json:"finished"`
	Repeats  int `json:"repeats"`
}

var (
	quickSizes = sizes{Small: 8000, MessagesEach: 20, Long: 1_000_000, Others: 1_000_000, Alone: 300, Finished: 2000, Repeats: 10}
	fullSizes  = sizes{Small: 20_000, MessagesEach: 20, Long: 2_000_000, Others: 3_000_000, Alone: 1000, Finished: 5000, Repeats: 10}
	smokeSizes = sizes{Small: 200, MessagesEach: 20, Long: 20_000, Others: 5000, Alone: 20, Finished: 100, Repeats: 3}
)

// usageError is a command line that makes no sense.
type usageError struct{ err error }

// Error says what makes no sense.
func (e *usageError) Error() string { return e.err.Error() }

// Unwrap returns the reason.
func (e *usageError) Unwrap() error { return e.err }

// parseOptions reads the command line. The error is flag.ErrHelp or a *usageError.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{}
	var only, who string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&only, "scenario", "", "`names` of the scenarios to run, such as S1,S3 (default all)")
	f.StringVar(&who, "contestant", "", "`names` of those who take part, such as lethe,plain (default all)")
	f.IntVar(&o.Rounds, "rounds", 3, "how often each contestant runs each scenario")
	f.BoolVar(&o.Full, "full", false, "larger sizes: two million messages in S3, for one")
	f.BoolVar(&o.Smoke, "smoke", false, "tiny sizes and one round: only to see that nothing is broken")
	f.StringVar(&o.JSON, "json", "", "write all rounds and the environment to this `file`")
	f.StringVar(&o.Worker, "worker", "", "measure this `program` instead of building ./cmd/worker")
	f.StringVar(&o.WALCompression, "wal-compression", "pglz", "Postgres's wal_compression: off, pglz, lz4 or zstd")
	f.BoolVar(&o.NATSSync, "nats-sync", false, "nats-server syncs each write to disk before it confirms it")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, &usageError{err}
	}
	return o, errors.Join(o.complete(f.Args()), o.choose(only, who))
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
	case !slices.Contains([]string{"off", "pglz", "lz4", "zstd"}, o.WALCompression):
		return &usageError{fmt.Errorf("--wal-compression is %q; expected off, pglz, lz4 or zstd", o.WALCompression)}
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
		if !slices.Contains(allContestants, contestant(name)) {
			return &usageError{fmt.Errorf("--contestant names %q; expected some of %q", name, allContestants)}
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
