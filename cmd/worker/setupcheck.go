package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-im/lethe/internal/broker"
)

// runCheck is `worker setup --check`: it shows each property of the streams and
// the consumer, and changes nothing. The error says that some aren't right.
func (c *setupCommand) runCheck(ctx context.Context, t terminal) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	b, err := c.connect(ctx)
	if err != nil {
		return err
	}
	lines, err := b.Check(ctx, c.options())
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
		rows = append(rows, []string{mark, l.Of, orDash(l.Property), l.Found, l.Want, l.Setup, l.Worker})
	}
	if json {
		return nil
	}
	return t.printTable(rows)
}
