package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// figureCommands is S1's, S2's and S8's.
const figureCommands = "commands/s"

// smallCommands is S1: many commands wait, each deletes a short conversation.
func smallCommands() scenario {
	s := small("S1", "small commands, 20 messages each", goal{against: plain, sense: atLeast, number: 3.5}, goal{against: bound, sense: atLeast, number: 0.8},
		func(size sizes) step { return step{Commands: size.Small, MessagesEach: size.MessagesEach} })
	s.also = []string{"S2", "S9", "S11"}
	return s
}

// otherSizes is S2: the same with shorter and longer conversations.
func otherSizes(st step) scenario {
	return small("S2", fmt.Sprintf("the same, %d messages each", st.MessagesEach), goal{against: plain, sense: atLeast, number: 1}, goal{against: bound},
		func(sizes) step { return st })
}

// small is a scenario of many small commands.
func small(id, title string, toPlain, toBound goal, size func(sizes) step) scenario {
	return scenario{
		id: id, title: title, contestants: []contestant{lethe, plain, bound},
		figures: append([]figure{{name: figureCommands, goals: []goal{toPlain, toBound}}}, shared()...),
		load: func(ctx context.Context, w *world) error {
			st := size(w.opts.Sizes)
			return w.loadSmall(ctx, st.Commands, st.MessagesEach)
		},
		run: func(ctx context.Context, w *world, who contestant) (sample, error) {
			return w.runSmall(ctx, who, size(w.opts.Sizes))
		},
	}
}

func (w *world) runSmall(ctx context.Context, who contestant, st step) (sample, error) {
	commands := smallCommandsOf(st.Commands)
	if who == bound {
		return w.runBound(ctx, commands, st.MessagesEach)
	}
	if err := w.start(ctx, who, w.database); err != nil {
		return nil, err
	}
	if err := w.publish(ctx, commands); err != nil {
		return nil, err
	}
	s, err := w.metered(ctx, st.Commands*st.MessagesEach, func(s sample) error {
		start, end, err := w.untilEvents(ctx, st.Commands)
		s[figureCommands] = float64(st.Commands) / end.Sub(start).Seconds()
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, w.conclude(ctx, s, commands, st.MessagesEach)
}

// untilEvents lets the commands go, and returns when that was and when the last
// of n events was stored.
func (w *world) untilEvents(ctx context.Context, n int) (start, end time.Time, err error) {
	if start, err = w.resume(); err != nil {
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
	return w.checkEvents(ctx, commands, same(each))
}
