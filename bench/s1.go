package main

import (
	"context"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// figureCommands is S1's and S8's.
const figureCommands = "commands/s"

// smallCommands is S1: many commands wait, each deletes a short conversation.
func smallCommands() scenario {
	return scenario{
		id: "S1", title: "small commands, 20 messages each", also: []string{"S9"},
		contestants: []contestant{lethe, plain, bound},
		figures: append([]figure{{name: figureCommands, goals: []goal{
			{against: plain, sense: atLeast, number: 3}, {against: bound},
		}}}, shared()...),
		run: runSmall,
	}
}

func runSmall(ctx context.Context, w *world, who contestant) (sample, error) {
	n, each := w.opts.Sizes.Small, w.opts.Sizes.MessagesEach
	if err := w.loadSmall(ctx, n, each); err != nil {
		return nil, err
	}
	commands := smallCommandsOf(n)
	if who == bound {
		return w.runBound(ctx, commands, each)
	}
	if err := w.start(ctx, who, w.database); err != nil {
		return nil, err
	}
	if err := w.publish(ctx, commands, false); err != nil {
		return nil, err
	}
	s, err := w.metered(ctx, func(s sample) error {
		start, end, err := w.untilEvents(ctx, n)
		s[figureCommands] = float64(n) / end.Sub(start).Seconds()
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, w.conclude(ctx, s, commands, each)
}

// untilEvents lets the commands go, and returns when that was and when the last
// of n events was stored.
func (w *world) untilEvents(ctx context.Context, n int) (start, end time.Time, err error) {
	if start, err = w.resume(ctx); err != nil {
		return start, end, err
	}
	end, err = w.awaitEvents(ctx, n)
	return start, end, err
}

// conclude waits for the last acknowledgement, stops the contestant, notes its
// peak memory and checks that the job of loadSmall's commands is done.
func (w *world) conclude(ctx context.Context, s sample, commands []conversation.Command, each int) error {
	if _, err := w.awaitSettled(ctx); err != nil {
		return err
	}
	if err := w.stop(s); err != nil {
		return err
	}
	if err := w.checkSmall(ctx, len(commands), each); err != nil {
		return err
	}
	return w.checkEvents(ctx, commands, each)
}
