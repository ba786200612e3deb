package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

// setupCommand is `worker setup`.
type setupCommand struct {
	natsConfig
	databaseConfig
	setupConfig
	jsonConfig
	Check   bool          `name:"check" help:"Change nothing: show each property of the streams and the consumer, the right value, and what setup and a running worker do about another. Exit status 1 if one is wrong. Needs no database."`
	Plan    string        `name:"plan" placeholder:"FILE" help:"Also check this plan against the tables, and print the warnings that a worker would log at start."`
	Timeout time.Duration `name:"timeout" placeholder:"DURATION" default:"30s" help:"How long to wait at most, for Postgres and for NATS."`
}

// Help is the long form of the subcommand's help.
func (c *setupCommand) Help() string {
	return `Creates the schema lethe, the streams CONVERSATION_COMMANDS, CONVERSATION_EVENTS and CONVERSATION_DEAD_LETTERS and the
consumer deletion-worker, or upgrades what is there. Safe to repeat, to race, and while workers run. Needs the database
itself, not a transaction pooler in front of it.

    worker setup --database-url postgres://owner@db/app --nats-url nats://nats:4222
    worker setup --sample-schema
    worker setup --check
    worker setup --stream-replicas 3 --events-max-bytes 50GB`
}

func (c *setupCommand) check() problems {
	var p problems
	c.natsConfig.check(&p)
	if !c.Check {
		c.databaseConfig.check(&p)
	}
	c.setupConfig.check(&p)
	p.lasting("timeout", c.Timeout, time.Second, time.Hour)
	return p
}

// run sets both up, each whether or not the other one can be.
func (c *setupCommand) run(ctx context.Context, t terminal) error {
	if c.Check {
		return c.runCheck(ctx, t)
	}
	schema, err := c.setupSchema(ctx)
	if err == nil {
		err = printParts(t, c.JSON, schema)
	}
	if err == nil && c.Plan != "" {
		err = printParts(t, c.JSON, c.checkPlan(ctx))
	}
	streams, streamsErr := c.setupStreams(ctx)
	return errors.Join(err, streamsErr, printParts(t, c.JSON, streams...))
}

// setupSchema waits for a database that isn't there yet, as in a stack that
// starts all at once. Other faults of the infrastructure don't heal in half a minute.
func (c *setupCommand) setupSchema(ctx context.Context) (setupPart, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	last := error(nil)
	report, err := backoff.RetryWithData(func() (repo.SetupReport, error) {
		report, err := repo.Setup(ctx, c.DatabaseURL, repo.SetupOptions{SampleSchema: c.SampleSchema})
		fault, cause := purge.FaultOf(err)
		if err != nil && (fault != purge.Infrastructure || cause != "connection" && cause != "server") {
			return report, backoff.Permanent(err)
		}
		if err != nil {
			last = err
		}
		return report, err
	}, backoff.WithContext(pause, ctx))
	if err != nil {
		if last != nil && ctx.Err() != nil {
			err = last
		}
		return setupPart{}, fmt.Errorf("Postgres: %w", err) //nolint:staticcheck // a name
	}
	return schemaPart(report), nil
}

// checkPlan reports whether the plan fits. That it doesn't fails no setup: the tables may
// come later.
func (c *setupCommand) checkPlan(ctx context.Context) setupPart {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	part := setupPart{Kind: "plan", Name: c.Plan, Action: "accepted"}
	plan, err := (&planConfig{Plan: c.Plan}).load()
	if err == nil {
		part.Changes, err = repo.CheckPlan(ctx, c.DatabaseURL, plan)
	}
	switch {
	case err != nil:
		part.Action, part.Changes = "refused", strings.Split(err.Error(), "\n")
	case len(part.Changes) > 0:
		part.Action = "accepted with warnings"
	}
	return part
}

func (c *setupCommand) setupStreams(ctx context.Context) ([]setupPart, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	b, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	report, err := b.Setup(ctx, c.streams())
	return streamParts(report), errors.Join(err, b.Close())
}

func (c *setupCommand) connect(ctx context.Context) (*broker.Broker, error) {
	cfg := c.brokerConfig("lethe-setup")
	cfg.AckWait = c.AckWait
	return broker.Connect(ctx, cfg)
}

// setupPart is one thing that a setup has looked at, for programs.
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
	switch {
	case r.Before == 0:
		p.Action = "created"
	case r.Before != r.After:
		p.Action, p.Changes = "updated", []string{fmt.Sprintf("version: %d, was %d", r.After, r.Before)}
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

// setup is `worker run --setup`: it waits for what is away or not allowed yet.
func (w *worker) setup(ctx context.Context, b *broker.Broker) error {
	err := w.await(ctx, "database", func() error {
		report, err := repo.Setup(ctx, w.cfg.DatabaseURL, repo.SetupOptions{SampleSchema: w.cfg.SampleSchema})
		if err == nil {
			w.logPart(schemaPart(report))
		}
		return err
	})
	if err != nil {
		return err
	}
	return w.await(ctx, "streams", func() error {
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		report, err := b.Setup(limited, w.cfg.streams())
		for _, p := range streamParts(report) {
			w.logPart(p)
		}
		if err != nil { // whatever it is, an operator can correct it meanwhile
			return &purge.FaultError{Fault: purge.Infrastructure, Cause: "streams", Err: err}
		}
		return nil
	})
}

func (w *worker) logPart(p setupPart) {
	if p.Action == "created" || p.Action == "updated" {
		w.log.Info("setup", "kind", p.Kind, "name", p.Name, "action", p.Action, "changes", p.Changes)
	}
}
