package main

import (
	"context"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

// pauseCommand is `worker pause`.
type pauseCommand struct {
	shardConfig
	databaseConfig
	jsonConfig
	Lane string `name:"lane" default:"all" placeholder:"LANE" help:"What to pause: all, or long for large deletions alone."`
}

// Help is the long form of the subcommand's help.
func (c *pauseCommand) Help() string {
	return `Pauses all workers within about a second, until worker resume; also those that start later. With --lane all they take no
new commands and begin no batch; what they have taken stays in flight, or returns to the stream when they stop. With --lane long
only large deletions wait, between two batches. No command is lost: they wait in the stream. A paused worker is ready, and
/readyz reports the pause; worker status shows waiting_for paused. Pausing again changes nothing.

    worker pause
    worker pause --lane long
    worker resume`
}

func (c *pauseCommand) check() problems {
	var p problems
	c.shardConfig.check(&p)
	c.databaseConfig.check(&p)
	checkLane(&p, c.Lane)
	return p
}

func (c *pauseCommand) run(ctx context.Context, t terminal) error {
	ledger, err := c.openLedger(ctx, c.DatabaseURL)
	if err != nil {
		return err
	}
	defer ledger.Close()
	paused, changed, err := ledger.Pause(ctx, purge.Lane(c.Lane))
	if err != nil {
		return err
	}
	if c.JSON {
		return t.printJSON(laneState{Lane: c.Lane, Paused: true, Since: some(paused.Since.UTC()), Changed: changed})
	}
	if !changed {
		return t.printf("lane %s: paused already, since %s\n", c.Lane, stamp(paused.Since))
	}
	return t.printf("lane %s: paused\n", c.Lane)
}

// resumeCommand is `worker resume`.
type resumeCommand struct {
	shardConfig
	databaseConfig
	jsonConfig
	Lane string `name:"lane" placeholder:"LANE" help:"The pause to end: all or long, as given to worker pause. Without it: both."`
}

// Help is the long form of the subcommand's help.
func (c *resumeCommand) Help() string {
	return `Ends what worker pause began. The workers continue within about a second. Resuming what isn't paused changes nothing.

    worker resume
    worker resume --lane long`
}

func (c *resumeCommand) check() problems {
	var p problems
	c.shardConfig.check(&p)
	c.databaseConfig.check(&p)
	if c.Lane != "" {
		checkLane(&p, c.Lane)
	}
	return p
}

func (c *resumeCommand) run(ctx context.Context, t terminal) error {
	ledger, err := c.openLedger(ctx, c.DatabaseURL)
	if err != nil {
		return err
	}
	defer ledger.Close()
	lanes := []purge.Lane{purge.Lane(c.Lane)}
	if c.Lane == "" {
		lanes = []purge.Lane{purge.AllLanes, purge.LongLane}
	}
	for _, lane := range lanes {
		changed, err := ledger.Resume(ctx, lane)
		if err != nil {
			return err
		}
		if err := c.print(t, lane, changed); err != nil {
			return err
		}
	}
	return c.warn(ctx, t, ledger)
}

func (c *resumeCommand) print(t terminal, lane purge.Lane, changed bool) error {
	switch {
	case c.JSON:
		return t.printJSON(laneState{Lane: string(lane), Changed: changed})
	case changed:
		return t.printf("lane %s: resumed\n", lane)
	}
	return t.printf("lane %s: was not paused\n", lane)
}

// warn prints what is still paused, for people.
func (c *resumeCommand) warn(ctx context.Context, t terminal, ledger *repo.Ledger) error {
	if c.JSON || c.Lane == "" {
		return nil
	}
	left, err := ledger.Pauses(ctx)
	if err != nil {
		return err
	}
	for _, p := range left {
		if err := t.printf("lane %s: still paused, since %s\n", p.Lane, stamp(p.Since)); err != nil {
			return err
		}
	}
	return nil
}

// laneState is whether a lane is paused, for programs.
type laneState struct {
	Lane   string     `json:"lane"`
	Paused bool       `json:"paused"`
	Since  *time.Time `json:"since,omitempty"`
	// Changed says that this call has changed it.
	Changed bool `json:"changed"`
}

func checkLane(p *problems, lane string) {
	p.oneOf("lane", lane, string(purge.AllLanes), string(purge.LongLane))
}
