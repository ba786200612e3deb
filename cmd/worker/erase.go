package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
	"github.com/lethe-im/lethe/internal/telemetry"
)

// eraseCommand is `worker erase`.
type eraseCommand struct {
	databaseConfig
	shardConfig
	logConfig
	planConfig
	targetConfig
	throttleConfig
	foregroundConfig
	jsonConfig
	App          string `name:"app" required:"" placeholder:"APP" help:"The app."`
	Conversation string `name:"conversation" required:"" placeholder:"ID" help:"The conversation."`
}

// eraseConns is two connections for the batches, one for sampling the database, and one
// to spare.
const eraseConns = 4

// Help is the long form of the subcommand's help.
func (c *eraseCommand) Help() string {
	return `In a shared log members hide what they delete, and messages are erased once all members have hidden them: those at or below
the floor. Workers do that by themselves, within a minute also where the app has removed a member. This command computes the
floor of one conversation and erases below it now, and tries an erasure again that has failed. It needs no running worker; with
the same throttles and pauses it works in batches like a large deletion. Events follow by the workers.

Give the same plan as to worker run. It may be stopped at any time: the workers go on.

    worker erase --app demo --conversation group_42
    worker erase --plan plan.yaml --app demo --conversation group_42 --json`
}

func (c *eraseCommand) check() problems {
	var p problems
	c.databaseConfig.check(&p)
	c.shardConfig.check(&p)
	c.logConfig.check(&p)
	c.planConfig.check(&p)
	cmd := conversation.Command{CommandID: "-", AppID: c.App, UserID: "-", Conversations: []conversation.Target{{ID: c.Conversation}}}
	if err := cmd.Validate(); err != nil {
		p = append(p, err)
	}
	return p
}

func (c *eraseCommand) run(ctx context.Context, t terminal) error {
	test, found := parseLimits(t.getenv(testLimits))
	if len(found) > 0 {
		return &usageError{"worker erase", found}
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
		MaxConns: eraseConns, AllowUnindexed: c.AllowUnindexed, LongConcurrency: c.LongConcurrency,
	})
	if err != nil {
		return c.unnamed(err)
	}
	defer store.Close()
	pace := test.pace(c.Target)
	h := handler.New(handler.Config{
		Store: store, Gate: handler.NewGate(nil), Metrics: telemetry.New(conversation.Names{}.InShard(c.shard()), func() float64 { return 0 }), Log: c.named(c.logger(t.err)),
		Target: c.Target, MinRows: pace.Min, MaxRows: pace.Max, SlowBatch: pace.Slow, Grace: stopGrace,
		Limits: c.limits(c.Target), ForegroundBackoff: c.ForegroundBackoff, LongConcurrency: c.LongConcurrency, LongLanes: 1,
	})
	began := time.Now()
	erased, open, err := h.Erase(ctx, c.App, c.Conversation)
	h.Stop() //nolint:contextcheck // it bounds itself by stopGrace
	if err != nil {
		return fmt.Errorf("erase %s of app %s: %w", printable(c.Conversation), printable(c.App), err)
	}
	return c.print(t, erased, open, time.Since(began))
}

// erasure is what an erasure has done, for programs.
type erasure struct {
	AppID          string     `json:"app_id"`
	ConversationID string     `json:"conversation_id"`
	Erased         bool       `json:"erased"` // there was something to erase
	ThroughSeq     *int64     `json:"through_seq,omitempty"`
	MessagesErased int64      `json:"messages_erased"`
	CompletedAt    *time.Time `json:"completed_at,omitempty"`
	Untold         int        `json:"untold"`
}

func (c *eraseCommand) print(t terminal, e purge.Erasure, open bool, took time.Duration) error {
	found := erasure{AppID: c.App, ConversationID: c.Conversation, Erased: open, Untold: e.Waiting}
	if e.State == purge.Done {
		found.ThroughSeq, found.CompletedAt = &e.Floor, some(e.CompletedAt)
	}
	if open {
		found.MessagesErased = e.MessagesDeleted
	}
	if c.JSON {
		return t.printJSON(found)
	}
	if !open {
		return t.printf("nothing to erase: no message is at or below the floor, which all members have cleared\n")
	}
	if err := t.printf("erased through seq %d: %s in %v\n", e.Floor, purge.Count(e.MessagesDeleted, "message"), took.Round(time.Millisecond)); err != nil {
		return err
	}
	return t.printf("events follow by the workers\n")
}
