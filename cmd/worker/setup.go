package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
	"github.com/lethe-im/lethe/internal/retry"
)

// setupCommand is `worker setup`.
type setupCommand struct {
	shardConfig
	natsConfig
	databaseConfig
	streamConfig
	jsonConfig
	SampleSchema bool          `name:"sample-schema" group:"Postgres:" help:"Also create the schema chat, for trying out."`
	Plan         string        `name:"plan" group:"Postgres:" placeholder:"FILE" help:"Also check this plan against the tables, and print what a worker would log of it at its start."`
	Check        bool          `name:"check" help:"Change nothing: show each property of the streams and the consumer, the right value, and what setup and a running worker do about another one. Exit status 1 if one is wrong. Without a database it can't tell whose the streams are."`
	Timeout      time.Duration `name:"timeout" placeholder:"DURATION" default:"30s" range:"1s..1h" help:"Timeout for Postgres, and again for NATS."`
}

// streamConfig is how setup makes the streams and the consumer. What isn't given stays
// as it is where the stream or the consumer exists.
type streamConfig struct {
	StreamReplicas      *int           `name:"stream-replicas" group:"Streams:" placeholder:"N" range:"1..5" help:"Replicas of each stream in the NATS cluster; 3 in production. New streams: 1."`
	CommandsMaxBytes    *byteSize      `name:"commands-max-bytes" group:"Streams:" placeholder:"SIZE" range:"8MiB.." help:"Maximum size of the stream of commands; beyond it the stream refuses new ones. New streams: 1GiB."`
	CommandsMaxPerApp   *int           `name:"commands-max-per-app" group:"Streams:" placeholder:"N" range:"1.." zero:"no limit" help:"Maximum number of unfinished commands of one app; beyond it the stream refuses that app's new commands alone. New streams: 50000."`
	EventsMaxBytes      *byteSize      `name:"events-max-bytes" group:"Streams:" placeholder:"SIZE" range:"8MiB.." help:"Maximum size of the stream of events; beyond it the workers wait. New streams: what the server has room for."`
	EventsMaxAge        *time.Duration `name:"events-max-age" group:"Streams:" placeholder:"DURATION" range:"1m..87600h" help:"How long an event stays, for devices that were offline. New streams: 720h."`
	DeadLettersMaxBytes *byteSize      `name:"dead-letters-max-bytes" group:"Streams:" placeholder:"SIZE" range:"8MiB.." help:"Maximum size of the stream of dead letters. From half of it on, malformed commands get no letter; at the limit, commands that need one are deferred. New streams: 1GiB."`
	AckWait             *time.Duration `name:"ack-wait" group:"Streams:" placeholder:"DURATION" range:"2s..1h" help:"How long after a worker's crash another one takes over its commands and its leases. New consumers: 30s."`
}

// options is what the broker's setup is asked for.
func (c *streamConfig) options() broker.SetupOptions {
	o := broker.SetupOptions{
		Replicas: given(c.StreamReplicas), CommandsMaxBytes: int64(given(c.CommandsMaxBytes)), EventsMaxBytes: int64(given(c.EventsMaxBytes)),
		DeadLettersMaxBytes: int64(given(c.DeadLettersMaxBytes)), EventsMaxAge: given(c.EventsMaxAge),
	}
	if c.CommandsMaxPerApp != nil {
		o.CommandsMaxPerApp = new(int64(*c.CommandsMaxPerApp))
	}
	return o
}

// given is the value of a flag, or zero if it wasn't given.
func given[T any](v *T) (value T) {
	if v != nil {
		value = *v
	}
	return value
}

// Help is the long form of the subcommand's help.
func (c *setupCommand) Help() string {
	return `Creates the schema lethe, the streams CONVERSATION_COMMANDS, CONVERSATION_EVENTS and CONVERSATION_DEAD_LETTERS and the
consumer deletion-worker, or upgrades what is there. With --shard NAME the first stream is CONVERSATION_COMMANDS_<NAME>;
--subject-prefix begins the names of all four. Safe to repeat, to race, and while workers run. Needs the database itself, not a
transaction pooler in front of it.

A setting of a stream that isn't given stays as it is where the stream exists. A plan that is refused doesn't fail the setup, since
its tables may come later: worker plan check has an exit status for it.

    worker setup --database-url postgres://owner@db/app --nats-url nats://nats:4222
    worker setup --sample-schema
    worker setup --check
    worker setup --stream-replicas 3 --events-max-bytes 50GB`
}

func (c *setupCommand) check() problems {
	var p problems
	c.shardConfig.check(&p)
	c.natsConfig.check(&p)
	if !c.Check {
		c.databaseConfig.check(&p)
	}
	return p
}

// run sets up both, each whether or not the other one fails.
func (c *setupCommand) run(ctx context.Context, t terminal) error {
	if c.Check {
		return c.runCheck(ctx, t)
	}
	schema, ledger, err := c.setupSchema(ctx)
	if err == nil {
		err = printParts(t, c.JSON, schema...)
	}
	if err == nil && c.Plan != "" {
		err = printParts(t, c.JSON, c.checkPlan(ctx))
	}
	streams, streamsErr := c.setupStreams(ctx, ledger)
	return errors.Join(err, streamsErr, printParts(t, c.JSON, streams...))
}

// setupSchema waits for a database that isn't there yet, as in a stack that starts all at
// once. Other infrastructure faults don't go away in half a minute. It also returns the ledger's id.
func (c *setupCommand) setupSchema(ctx context.Context) (parts []setupPart, ledger string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	last := error(nil)
	report, err := retry.Do(ctx, retry.Policy{First: 100 * time.Millisecond, Max: 2 * time.Second}, func() (repo.SetupReport, error) {
		return repo.Setup(ctx, c.DatabaseURL, repo.SetupOptions{SampleSchema: c.SampleSchema, Shard: c.Shard})
	}, func(err error) bool {
		last = err
		fault, cause := purge.FaultOf(err)
		return fault == purge.Infrastructure && purge.Transient(fault, cause)
	})
	if err != nil {
		if last != nil && ctx.Err() != nil {
			err = last
		}
		return nil, "", fmt.Errorf("Postgres: %w", err) //nolint:staticcheck // a name
	}
	parts = []setupPart{schemaPart(report)}
	if c.SampleSchema {
		sample := setupPart{Kind: "schema", Name: "chat", Action: "unchanged"}
		if report.CreatedSample {
			sample.Action = "created"
		}
		parts = append(parts, sample)
	}
	return parts, report.Ledger, nil
}

// checkPlan reports whether the plan fits. If it doesn't, setup doesn't fail: the tables may
// come later.
func (c *setupCommand) checkPlan(ctx context.Context) setupPart {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	part := setupPart{Kind: "plan", Name: c.Plan, Action: "accepted"}
	report, err := (&planConfig{Plan: c.Plan}).inspect(ctx, c.DatabaseURL, plan.Options{AnyRole: true})
	switch {
	case err != nil:
		part.Action, part.Changes = "refused", strings.Split(err.Error(), "\n")
		return part
	case report.Err() != nil:
		part.Action = "refused"
	case len(report.Findings) > 0:
		part.Action = "accepted with warnings"
	}
	for _, f := range report.Findings {
		part.Changes = append(part.Changes, f.Text)
	}
	return part
}

func (c *setupCommand) setupStreams(ctx context.Context, ledger string) ([]setupPart, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	b, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	o := c.options()
	o.Ledger, o.TakeOver = ledger, true
	report, err := b.Setup(ctx, o)
	return streamParts(report), errors.Join(err, b.Close())
}

func (c *setupCommand) connect(ctx context.Context) (*broker.Broker, error) {
	cfg := c.brokerConfig("lethe-setup")
	cfg.Names, cfg.AckWait = cfg.Names.InShard(c.shard()), given(c.AckWait)
	return broker.Connect(ctx, cfg)
}

// setupPart is one thing that setup has checked, for programs.
type setupPart struct {
	Kind    string   `json:"kind"`
	Name    string   `json:"name"`
	Action  string   `json:"action"` // created, updated, unchanged or failed; of a plan accepted, accepted with warnings or refused
	Changes []string `json:"changes,omitempty"`
	// Version is the schema's.
	Version int64 `json:"version,omitempty"`
}

func schemaPart(r repo.SetupReport) setupPart {
	p := setupPart{Kind: "schema", Name: "lethe", Action: "unchanged", Version: r.After}
	if r.Before != r.After && r.Before != 0 {
		p.Changes = append(p.Changes, fmt.Sprintf("version: %d, was %d", r.After, r.Before))
	}
	if r.EnteredShard {
		p.Changes = append(p.Changes, "the name of the shard")
	}
	switch {
	case r.Before == 0:
		p.Action = "created"
	case len(p.Changes) > 0:
		p.Action = "updated"
	}
	return p
}

func streamParts(r broker.SetupReport) []setupPart {
	parts := make([]setupPart, len(r.Parts))
	for i, s := range r.Parts {
		parts[i] = setupPart{Kind: s.Kind, Name: s.Name, Action: s.Action, Changes: s.Changes}
	}
	return parts
}

func printParts(t terminal, asJSON bool, parts ...setupPart) error {
	for _, p := range parts {
		if asJSON {
			if err := t.printJSON(p); err != nil {
				return err
			}
			continue
		}
		what := p.Kind + " " + p.Name
		if p.Version > 0 {
			what += fmt.Sprintf(" version %d", p.Version)
		}
		if p.Kind == "plan" { // each has statements of its own
			if err := t.printf("%-42s %s\n", what, strings.Join(append([]string{p.Action}, p.Changes...), "\n  ")); err != nil {
				return err
			}
			continue
		}
		if err := t.printf("%-42s %s\n", what, strings.Join(append([]string{p.Action}, p.Changes...), "; ")); err != nil {
			return err
		}
	}
	return nil
}

// runCheck is `worker setup --check`: it shows each property of the streams and the
// consumer, and changes nothing. The error is that some aren't right.
func (c *setupCommand) runCheck(ctx context.Context, t terminal) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	b, err := c.connect(ctx)
	if err != nil {
		return err
	}
	o := c.options()
	if o.Ledger, err = c.ledgerID(ctx); err != nil {
		fmt.Fprintf(t.err, "worker: not checked whose the streams are, since the database can't be read: %v\n", err)
	}
	lines, err := b.Check(ctx, o)
	if err := errors.Join(err, b.Close()); err != nil {
		return err
	}
	if err := printProperties(t, c.JSON, lines); err != nil {
		return err
	}
	wrong := int64(0)
	for _, l := range lines {
		if !l.Right {
			wrong++
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%s not right: run `worker setup`", areCount(wrong, "property", "properties"))
	}
	return nil
}

// ledgerID is the id of the ledger, "" without a database.
func (c *setupCommand) ledgerID(ctx context.Context) (string, error) {
	if c.DatabaseURL == "" {
		return "", nil
	}
	ledger, err := repo.OpenLedger(ctx, c.DatabaseURL)
	if err != nil {
		return "", err
	}
	defer ledger.Close()
	return ledger.ID(ctx)
}

func areCount(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one + " is"
	}
	return fmt.Sprintf("%d %s are", n, many)
}

// printProperties prints a line for each property.
func printProperties(t terminal, json bool, lines []broker.PropertyState) error {
	rows := [][]string{{"", "OF", "PROPERTY", "FOUND", "EXPECTED", "SETUP", "WORKER"}}
	for _, l := range lines {
		if json {
			if err := t.printJSON(l); err != nil {
				return err
			}
			continue
		}
		mark := "ok"
		if !l.Right {
			mark = "WRONG"
		}
		rows = append(rows, []string{mark, l.Of, l.Property, l.Found, l.Want, l.Setup, l.Worker})
	}
	if json {
		return nil
	}
	return t.printTable(rows)
}
