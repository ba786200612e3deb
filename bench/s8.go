package main

import (
	"context"

	"github.com/lethe-im/lethe/conversation"
)

// duplicateMessages is how many messages the commands of S8 delete at first.
const duplicateMessages = 1

// duplicates is S8: commands that are done long since come again.
func duplicates() scenario {
	return scenario{
		id: "S8", title: "duplicates of finished commands", contestants: []contestant{lethe, plain},
		figures: []figure{{name: figureCommands, goals: []goal{{against: plain, sense: atLeast, number: 5}}}},
		load: func(ctx context.Context, w *world) error {
			return w.loadSmall(ctx, w.opts.Sizes.Finished, duplicateMessages)
		},
		run: runDuplicates,
	}
}

func runDuplicates(ctx context.Context, w *world, who contestant) (sample, error) {
	n, repeats := w.opts.Sizes.Finished, w.opts.Sizes.Repeats
	commands := smallCommandsOf(n)
	if err := w.start(ctx, who, w.database); err != nil {
		return nil, err
	}
	if err := w.publish(ctx, commands); err != nil {
		return nil, err
	}
	if _, _, err := w.untilEvents(ctx, n); err != nil {
		return nil, err
	}
	if _, err := w.awaitSettled(ctx); err != nil {
		return nil, err
	}
	s, err := w.timeDuplicates(ctx, commands, repeats)
	if err != nil {
		return nil, err
	}
	return s, w.conclude(ctx, s, commands, duplicateMessages)
}

// timeDuplicates measures until the last duplicate is acknowledged: there is no
// new event to wait for.
func (w *world) timeDuplicates(ctx context.Context, commands []conversation.Command, repeats int) (sample, error) {
	if err := w.pause(); err != nil {
		return nil, err
	}
	for range repeats {
		if err := w.publish(ctx, commands); err != nil {
			return nil, err
		}
	}
	if err := w.checkpoint(ctx); err != nil {
		return nil, err
	}
	start, err := w.resume()
	if err != nil {
		return nil, err
	}
	end, err := w.awaitSettled(ctx)
	if err != nil {
		return nil, err
	}
	return sample{figureCommands: float64(len(commands)*repeats) / end.Sub(start).Seconds()}, nil
}
