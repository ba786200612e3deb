package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

// planDraftCommand is `worker plan draft`.
type planDraftCommand struct {
	databaseConfig
	jsonConfig
	Schema   string `name:"schema" placeholder:"SCHEMA" help:"Look at the tables of this schema alone. Without it: all but the server's own and lethe."`
	Messages string `name:"messages" placeholder:"TABLE" help:"The table of messages. Without it: the one that looks most like it, by its name, columns and indexes."`
}

// Help is the long form of the subcommand's help.
func (c *planDraftCommand) Help() string {
	return `Reads names, types, keys and foreign keys from the catalog and prints a plan as YAML, with comments where they leave something
open. Each TODO in it is a question; plan check refuses the plan until it is answered. Reads no row, and changes nothing.
If it takes the wrong table for that of messages, or none, name the right one: --messages TABLE.

    worker plan draft > plan.yaml
    worker plan check --plan plan.yaml`
}

func (c *planDraftCommand) check() problems {
	var p problems
	c.databaseConfig.check(&p)
	return p
}

func (c *planDraftCommand) run(ctx context.Context, t terminal) error {
	text, questions, err := repo.DraftPlan(ctx, c.DatabaseURL, plan.DraftOptions{Schema: c.Schema, Messages: c.Messages})
	if err != nil {
		return err
	}
	if c.JSON {
		return t.printJSON(planDraft{text, questions})
	}
	for line := range strings.Lines(text) { // which has names from the catalog
		if err := t.printf("%s\n", printable(strings.TrimSuffix(line, "\n"))); err != nil {
			return err
		}
	}
	if questions > 0 {
		fmt.Fprintf(t.err, "worker: the draft has %s: look for TODO\n", purge.Count(questions, "open question"))
	}
	return nil
}

// planDraft is a draft for programs.
type planDraft struct {
	Plan      string `json:"plan"` // YAML
	Questions int    `json:"questions"`
}
