package main

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/purge"
)

// lettersChoice is which letters retry and drop are about.
type lettersChoice struct {
	lettersConfig
	Seqs   []uint64 `arg:"" optional:"" name:"seq" help:"The letters' numbers."`
	All    bool     `name:"all" help:"All letters that there are now."`
	Reason string   `name:"reason" placeholder:"REASON" help:"All letters of this reason."`
}

func (c *lettersChoice) check() problems {
	p := c.checkLetters()
	many := c.All || c.Reason != ""
	switch {
	case len(c.Seqs) == 0 && !many:
		p = append(p, errors.New("no letters are named: expected SEQ…, --all or --reason"))
	case len(c.Seqs) > 0 && many:
		p = append(p, errors.New("both numbers and --all or --reason are given: expected one of them"))
	}
	return p
}

// apply calls do for the letters that are chosen, and prints what became of each.
// One that fails doesn't keep the others from it.
func (c *lettersChoice) apply(ctx context.Context, t terminal, done string, do func(context.Context, *broker.Broker, uint64) error) error {
	b, err := c.connect(ctx)
	if err != nil {
		return err
	}
	var errs []error
	n := int64(0)
	one := func(seq uint64) error {
		limited, cancel := context.WithTimeout(ctx, c.Timeout)
		defer cancel()
		if err := do(limited, b, seq); err != nil {
			errs = append(errs, err)
			return ctx.Err()
		}
		n++
		return c.tell(t, seq, done)
	}
	if len(c.Seqs) > 0 {
		err = eachOf(slices.Values(c.Seqs), one)
	} else {
		err = c.each(ctx, b, c.Reason, func(l broker.LetterInfo) error { return one(l.Sequence) })
	}
	errs = append(errs, err, b.Close())
	if err := errors.Join(errs...); err != nil || c.JSON {
		return err
	}
	return t.printf("%s %s\n", done, purge.Count(n, "dead letter"))
}

func eachOf(seqs iter.Seq[uint64], do func(uint64) error) error {
	for seq := range seqs {
		if err := do(seq); err != nil {
			return err
		}
	}
	return nil
}

// tell prints what became of a letter.
func (c *lettersChoice) tell(t terminal, seq uint64, done string) error {
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
	return c.apply(ctx, t, "retried", func(ctx context.Context, b *broker.Broker, seq uint64) error {
		return b.RetryLetter(ctx, seq)
	})
}

// lettersDrop is `worker dead-letters drop`.
type lettersDrop struct {
	lettersChoice
}

func (c *lettersDrop) run(ctx context.Context, t terminal) error {
	return c.apply(ctx, t, "dropped", func(ctx context.Context, b *broker.Broker, seq uint64) error {
		return b.DropLetter(ctx, seq)
	})
}
