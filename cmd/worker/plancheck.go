package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// planCommands is `worker plan`.
type planCommands struct {
	Check planCheckCommand `cmd:"" help:"Compare a plan with the database's tables: every problem and warning, with the statement that settles it."`
	Draft planDraftCommand `cmd:"" help:"Write a first plan from the database's catalog."`
	Try   planTryCommand   `cmd:"" help:"Show what a deletion would remove, in how many batches and how long about. Changes nothing."`
}

// planCheckCommand is `worker plan check`.
type planCheckCommand struct {
	databaseConfig
	planConfig
	jsonConfig
	SQL bool `name:"sql" help:"Print only the statements that settle the problems, for psql."`
}

// Help is the long form of the subcommand's help.
func (c *planCheckCommand) Help() string {
	return `Prints one line for each finding, as a worker would at its start: "problem: …" where the worker would refuse the plan,
"warning: …" where it wouldn't, but what the tables allow is dangerous, and "note: …" for what is slow, or refused, without an index. Reads the catalog alone, needs no NATS, and changes
nothing. Call it with the worker's own Postgres role, whose grants it checks, too.

Exit status: 0 the plan fits, perhaps with warnings; 1 it doesn't; 2 it couldn't be checked.

    worker plan check --plan plan.yaml
    worker plan check --plan plan.yaml | grep -q ^warning: && exit 1    # where warnings count
    worker plan check --plan plan.yaml --sql | psql postgres://postgres@localhost/app    # without what is yours to decide`
}

// check implements subcommand. What is wrong with the plan's file is found by run.
func (c *planCheckCommand) check() problems {
	var p problems
	c.databaseConfig.check(&p)
	if c.SQL && c.JSON {
		p = append(p, errors.New("--sql and --json are mutually exclusive"))
	}
	return p
}

func (c *planCheckCommand) run(ctx context.Context, t terminal) error {
	report, err := c.inspect(ctx, c.DatabaseURL, plan.Options{BeforeSetup: true})
	if err != nil {
		return &uncheckedError{err}
	}
	wrong, open := 0, 0
	for _, f := range report.Findings {
		severity := "warning"
		if f.Problem {
			severity = "problem"
			wrong++
		}
		if f.Problem && f.SQL() == "" {
			open++
		}
		if err := c.print(t, severity, f); err != nil {
			return err
		}
	}
	if err := c.unnamed(report.Err()); errors.Is(err, errNoPlan) {
		return err
	}
	if wrong > 0 {
		rest := ""
		if c.SQL && open > 0 {
			rest = fmt.Sprintf("; %d without a statement: see them without --sql", open)
		}
		return fmt.Errorf("the plan doesn't fit: %s, %s%s", purge.Count(wrong, "problem"), purge.Count(len(report.Findings)-wrong, "warning"), rest)
	}
	for _, f := range report.Notes {
		if err := c.print(t, "note", f); err != nil {
			return err
		}
	}
	if c.JSON || c.SQL {
		return nil
	}
	tables := map[string]bool{}
	for _, table := range report.Checked.Tables() {
		tables[table.Name] = true
	}
	delete(tables, "") // of a plan without conversations
	return t.printf("the plan fits: %s, %s\n", purge.Count(len(tables), "table"), purge.Count(len(report.Findings), "warning"))
}

// planFinding is a finding for programs.
type planFinding struct {
	Severity string `json:"severity"` // problem, warning or note
	Line     int    `json:"line,omitempty"`
	Path     string `json:"path,omitempty"`
	Table    string `json:"table,omitempty"`
	Message  string `json:"message"`
	Run      string `json:"run,omitempty"`
}

func (c *planCheckCommand) print(t terminal, severity string, f plan.Finding) error {
	if c.SQL {
		if run := f.SQL(); run != "" {
			return t.printf("%s;\n", run)
		}
		return nil
	}
	if c.JSON {
		return t.printJSON(planFinding{severity, f.Line, f.Path, f.Table, f.Text, f.Run})
	}
	return t.printf("%s: %s\n", severity, printable(f.Text))
}

// uncheckedError is that a plan couldn't be checked.
type uncheckedError struct{ err error }

func (e *uncheckedError) Error() string { return e.err.Error() }
func (e *uncheckedError) Unwrap() error { return e.err }
