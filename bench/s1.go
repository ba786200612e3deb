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
	s := small("S1", "small commands, 20 messages each", sizes.small, goal{against: plain, sense: atLeast, number: 4.5}, goal{against: bound})
	s.also = []string{"S2", "S9", "S11"}
	return s
}

// otherSizes is S2: the same with shorter and longer conversations.
func otherSizes(st step) scenario {
	return small("S2", fmt.Sprintf("the same, %d messages each", st.MessagesEach), func(sizes) step { return st },
		goal{against: plain, sense: atLeast, number: 1}, goal{against: bound})
}

// smallWithForeignKeys is S16: S1 on a schema as web frameworks make it. Messages refer to their conversation, and reactions and
// attachments, one of each for every childEvery messages, to their message; all of these keys are indexed.
func smallWithForeignKeys() scenario {
	s := small("S16", "small commands with reactions, attachments and foreign keys, indexed", sizes.small,
		goal{against: plain, sense: atLeast, number: 2.5}, goal{against: bound})
	load, run := s.load, s.run
	s.load = func(ctx context.Context, w *world) error {
		if err := load(ctx, w); err != nil {
			return err
		}
		return w.loadChildren(ctx, conversationKey+";"+childKeys)
	}
	s.run = func(ctx context.Context, w *world, who contestant) (sample, error) {
		figures, err := run(ctx, w, who)
		if err != nil {
			return nil, err
		}
		st := w.opts.Sizes.small()
		return figures, w.checkChildren(ctx, st.Commands/perUser*st.MessagesEach)
	}
	return s
}

// conversationKey refers from messages to their conversation. The messages' own key serves as its index.
const conversationKey = `alter table chat.messages add foreign key (app_id, user_id, conversation_id) references chat.conversations`

func (s sizes) small() step { return step{Commands: s.Small, MessagesEach: s.MessagesEach} }

// small is a scenario of many small commands.
func small(id, title string, size func(sizes) step, goals ...goal) scenario {
	return scenario{
		id: id, title: title, contestants: []contestant{lethe, plain, bound},
		figures: append([]figure{{name: figureCommands, goals: goals}}, shared()...),
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
