package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/replay"
	"github.com/lethe-im/lethe/internal/repo"
)

// replayCommand is `worker replay`.
type replayCommand struct {
	shardConfig
	natsConfig
	databaseConfig
	logConfig
	planConfig
	targetConfig
	throttleConfig
	jsonConfig
	Since  time.Time `name:"since" placeholder:"TIME" help:"Replay what was deleted since then: the time to which the database was restored, minus what clocks may differ. RFC 3339, such as 2026-11-23T09:00:00Z. Required."`
	Apps   []string  `name:"app" env:"-" placeholder:"APP" sep:"none" help:"Replay only the deletions of this app; may be repeated. For an app that moves to this shard, or a shard that was restored."`
	DryRun bool      `name:"dry-run" help:"Count what would be deleted, and change nothing."`
}

// replayConns is one connection for the batches, one for sampling the database, and two
// to spare.
const replayConns = 4

// Help is the long form of the subcommand's help.
func (c *replayCommand) Help() string {
	return `A database that was restored to a point in time contains again what was deleted after it, and its ledger doesn't know of
those deletions. CONVERSATION_EVENTS does: this command reads the events stored since TIME and deletes again what they report, up to
each boundary, and never a message that was sent after the deletion had finished. Deletions that kept the history touch no message.
In a shared log it moves the watermarks of members on again, and erases again what the events report as erased.
The ledger gets the outcome, so that a duplicate of the command repeats the event. Nothing is published.

Give the same plan as to worker run. A replay works in batches like a large deletion, with the same throttles and pauses. It may be
stopped at any time and run again: a second run deletes nothing more. Progress is on standard error, the summary on standard
output. docs/restore.md has the whole procedure.

Exit status: 0 all that was deleted since then is deleted again; 1 failed, was stopped, or an event can't be read or replayed;
2 wrong usage; 3 as 0, but deletions may be missing from the stream, for a reason on standard error.

    worker replay --since 2026-11-23T08:55:00Z --dry-run
    worker replay --since 2026-11-23T08:55:00Z --plan plan.yaml
    worker replay --since 2026-11-23T08:55:00Z --shard b --app acme`
}

func (c *replayCommand) check() problems {
	var p problems
	c.shardConfig.check(&p)
	c.natsConfig.check(&p)
	c.databaseConfig.check(&p)
	c.logConfig.check(&p)
	c.planConfig.check(&p)
	const expected = "expected the time to which the database was restored, as RFC 3339, such as 2026-11-23T09:00:00Z"
	switch now := time.Now(); {
	case c.Since.IsZero():
		p.add("since", "is missing: %s", expected)
	case c.Since.After(now):
		p.add("since", "%s is in the future, it is %s now: %s", c.Since.Format(time.RFC3339), now.UTC().Format(time.RFC3339), expected)
	}
	return p
}

func (c *replayCommand) run(ctx context.Context, t terminal) error {
	test, found := parseLimits(t.getenv(testLimits))
	if len(found) > 0 {
		return &usageError{"worker replay", found}
	}
	plan, err := c.load()
	if err != nil {
		return err
	}
	ledger, err := c.openLedger(ctx, c.DatabaseURL)
	if err != nil {
		return err
	}
	ledger.Close()
	store, err := repo.Open(ctx, repo.Config{
		URL: c.DatabaseURL, Plan: plan, Target: c.Target, StatementTimeout: test.statementTimeout,
		MaxConns: replayConns, AllowUnindexed: c.AllowUnindexed, LongConcurrency: c.LongConcurrency,
	})
	if err != nil {
		return c.unnamed(err)
	}
	defer store.Close()
	log := c.named(c.logger(t.err))
	for _, warning := range store.Warnings() {
		log.Warn("plan accepted with a warning", "warning", warning)
	}
	if !store.KnowsTimes() {
		log.Warn("the plan's messages have no sent_at, so that through_seq alone decides: a message at or below it goes, also if it was sent after the deletion")
	}
	events, err := broker.Connect(ctx, c.brokerConfig("lethe-replay"))
	if err != nil {
		return err
	}
	summary, err := replay.Run(ctx, replay.Config{
		Source: events, Store: store.Replayer(), Names: c.names(), Since: c.Since, Apps: c.Apps, DryRun: c.DryRun,
		Pace: test.pace(c.Target), Limits: c.limits(c.Target), Log: log,
	})
	ending := c.ending(ctx, summary, err)
	var printed error
	if err == nil || summary.Last > 0 { // else it never read the stream
		printed = c.print(t, summary, ending == nil)
	}
	return errors.Join(ending, events.Close(), printed)
}

// errMissing is what makes the exit status of a replay exitMissing.
var errMissing = errors.New("deletions since then may be missing from it: see docs/restore.md")

// ending is the error of a replay; nil where all of it is done.
func (c *replayCommand) ending(ctx context.Context, s replay.Summary, err error) error {
	switch {
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("stopped (%w): run it again to continue", context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("%w: mend that and run it again to continue", err)
	case s.Malformed+s.Failed > 0:
		return fmt.Errorf("%s could not be read, and %s could not be replayed: see the log above", purge.Count(s.Malformed, "event"), purge.Count(s.Failed, "deletion"))
	case len(s.Missing) > 0:
		return fmt.Errorf("everything in %s is replayed, but %w", c.names().EventsStream(), errMissing)
	}
	return nil
}

// replaySummary is a summary for programs.
type replaySummary struct {
	Since                time.Time `json:"since"`
	DryRun               bool      `json:"dry_run"`
	Complete             bool      `json:"complete"`
	Missing              []string  `json:"missing,omitempty"`
	FirstSequence        uint64    `json:"first_sequence"`
	LastSequence         uint64    `json:"last_sequence"`
	Events               int64     `json:"events"`
	HistoryKept          int64     `json:"history_kept"`
	Replayed             int64     `json:"replayed"`
	Hidden               int64     `json:"hidden"`
	Erasures             int64     `json:"erasures"`
	MessagesDeleted      int64     `json:"messages_deleted"`
	RowsDeleted          int64     `json:"rows_deleted"`
	ConversationsRemoved int64     `json:"conversations_removed"`
	Malformed            int64     `json:"malformed"`
	Failed               int64     `json:"failed"`
	Seconds              float64   `json:"seconds"`
}

// print prints the summary; complete reports whether all that was deleted since then is
// deleted again.
func (c *replayCommand) print(t terminal, s replay.Summary, complete bool) error {
	if c.JSON {
		return t.printJSON(replaySummary{
			Since: c.Since.UTC(), DryRun: c.DryRun, Complete: complete, Missing: s.Missing, FirstSequence: s.First, LastSequence: s.Last,
			Events: s.Events, HistoryKept: s.HistoryKept, Replayed: s.Replayed, Hidden: s.Hidden, Erasures: s.Erasures, MessagesDeleted: s.Messages, RowsDeleted: s.Rows,
			ConversationsRemoved: s.Conversations, Malformed: s.Malformed, Failed: s.Failed, Seconds: s.Took.Seconds(),
		})
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	fields := []field{
		{"since", stamp(c.Since)},
		{"dry_run", map[bool]string{true: "nothing was changed"}[c.DryRun]},
		{"events", number(s.Events)},
		{"history_kept", number(s.HistoryKept)},
		{"replayed", number(s.Replayed)},
		{"hidden", number(s.Hidden)},
		{"erasures", number(s.Erasures)},
		{"messages_deleted", number(s.Messages)},
		{"rows_deleted", number(s.Rows)},
		{"conversations_removed", number(s.Conversations)},
		{"malformed", number(s.Malformed)},
		{"failed", number(s.Failed)},
	}
	for _, reason := range s.Missing {
		fields = append(fields, field{"missing", reason})
	}
	return t.printFields(append(fields, field{"took", s.Took.Round(time.Millisecond).String()}))
}
