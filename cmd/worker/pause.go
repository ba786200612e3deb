package main

import (
	"context"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

// pauseCommand is `worker pause`.
type pauseCommand struct {
	databaseConfig
	jsonConfig
	Lane string `name:"lane" default:"all" placeholder:"LANE" help:"What to pause: all, or long, which holds back large deletions alone."`
}

// Help is the long form of the subcommand's help.
func (c *pauseCommand) Help() string {
	return `Holds all workers back until worker resume, within about a second; those that are started later, too. With --lane all they
take no new commands and begin no batch; what they have taken stays in flight, or goes back at their stop. With --lane long only
the deletions in the long lane wait, between two batches. Commands pile up in the stream meanwhile, and none is lost. A paused
worker is ready, and /readyz says that it is paused; worker status says waiting_for paused. Pausing twice is pausing once.

    worker pause
    worker pause --lane long
    worker resume`
}

func (c *pauseCommand) check() problems {
	var p problems
	c.databaseConfig.check(&p)
	checkLane(&p, c.Lane)
	return p
}

func (c *pauseCommand) run(ctx context.Context, t terminal) error {
	ledger, err := repo.OpenLedger(ctx, c.DatabaseURL)
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
	databaseConfig
	jsonConfig
	Lane string `name:"lane" placeholder:"LANE" help:"The pause to lift: all or long, as it was given to worker pause. Without it: both."`
}

// Help is the long form of the subcommand's help.
func (c *resumeCommand) Help() string {
	return `Lifts what worker pause has put on. The workers go on within about a second. Lifting what isn't there is fine.

    worker resume
    worker resume --lane long`
}

func (c *resumeCommand) check() problems {
	var p problems
	c.databaseConfig.check(&p)
	if c.Lane != "" {
		checkLane(&p, c.Lane)
	}
	return p
}

func (c *resumeCommand) run(ctx context.Context, t terminal) error {
	ledger, err := repo.OpenLedger(ctx, c.DatabaseURL)
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

// warn says what is paused still, for people.
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
