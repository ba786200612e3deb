package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/purge"
)

// lettersChoice is which letters to retry or drop.
type lettersChoice struct {
	lettersConfig
	lettersFilter
	Seqs []uint64 `arg:"" optional:"" name:"seq" help:"The letters' sequences."`
	All  bool     `name:"all" help:"All letters, or all of --app and --reason."`
}

func (c *lettersChoice) check() problems {
	p := c.checkLetters()
	checkApp(&p, c.App, false)
	many := c.All || c.lettersFilter != lettersFilter{}
	switch {
	case len(c.Seqs) == 0 && !many:
		p = append(p, errors.New("no letters given: expected SEQ…, --all, --reason or --app"))
	case len(c.Seqs) > 0 && many:
		p = append(p, errors.New("SEQ… and --all, --reason or --app are mutually exclusive"))
	}
	return p
}

// chosen returns the sequences of the letters that are chosen.
func (c *lettersChoice) chosen(ctx context.Context, b *broker.Broker) (seqs []uint64, err error) {
	if len(c.Seqs) > 0 {
		return c.Seqs, nil
	}
	err = c.each(ctx, b, c.lettersFilter, func(l broker.LetterInfo) error {
		seqs = append(seqs, l.Sequence)
		return nil
	})
	return seqs, err
}

// letterMove is what is done to letters.
type letterMove struct {
	done string // as it is printed
	do   func(context.Context, *broker.Broker, uint64) error
	// confirm is asked with the number of letters first; nil for nobody.
	confirm func(context.Context, terminal, int) error
}

// apply does it to the letters that are chosen, and prints the outcome of each. One that
// fails doesn't stop the others.
func (c *lettersChoice) apply(ctx context.Context, t terminal, move letterMove) error {
	b, err := c.connect(ctx)
	if err != nil {
		return err
	}
	seqs, err := c.chosen(ctx, b)
	if err == nil && move.confirm != nil {
		err = move.confirm(ctx, t, len(seqs))
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	n, err := c.moveAll(ctx, t, b, seqs, move)
	if err := errors.Join(err, b.Close()); err != nil || c.JSON {
		return err
	}
	return t.printf("%s %s\n", move.done, purge.Count(n, "dead letter"))
}

func (c *lettersChoice) moveAll(ctx context.Context, t terminal, b *broker.Broker, seqs []uint64, move letterMove) (n int64, err error) {
	var errs []error
	for _, seq := range seqs {
		if ctx.Err() != nil {
			errs = append(errs, ctx.Err())
			break
		}
		limited, cancel := context.WithTimeout(ctx, c.Timeout)
		err := move.do(limited, b, seq)
		cancel()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		n++
		if err := c.report(t, seq, move.done); err != nil {
			return n, errors.Join(append(errs, err)...)
		}
	}
	return n, errors.Join(errs...)
}

// report prints the outcome of a letter.
func (c *lettersChoice) report(t terminal, seq uint64, done string) error {
	if !c.JSON {
		return t.printf("%s %d\n", done, seq)
	}
	return t.printJSON(struct {
		Seq    uint64 `json:"seq"`
		Result string `json:"result"`
	}{seq, done})
}

// lettersRetry is `worker dead-letters retry`.
type lettersRetry struct {
	lettersChoice
}

func (c *lettersRetry) run(ctx context.Context, t terminal) error {
	return c.apply(ctx, t, letterMove{done: "retried", do: func(ctx context.Context, b *broker.Broker, seq uint64) error {
		return b.RetryLetter(ctx, seq)
	}})
}

// lettersDrop is `worker dead-letters drop`.
type lettersDrop struct {
	lettersChoice
	Yes bool `name:"yes" help:"Don't ask before --all."`
}

func (c *lettersDrop) run(ctx context.Context, t terminal) error {
	move := letterMove{done: "dropped", do: func(ctx context.Context, b *broker.Broker, seq uint64) error {
		return b.DropLetter(ctx, seq)
	}}
	if c.All && !c.Yes {
		move.confirm = func(ctx context.Context, t terminal, n int) error {
			if n == 0 {
				return nil
			}
			return t.confirm(ctx, fmt.Sprintf("Remove %s for good?", purge.Count(int64(n), "dead letter")))
		}
	}
	return c.apply(ctx, t, move)
}
