package main

import (
	"context"
	"fmt"

	"github.com/lethe-im/lethe/conversation"
)

// wholeUser is S13: one command for all conversations of a user, each as short as in S1. Its figure counts conversations.
func wholeUser() scenario {
	return scenario{
		id: "S13", title: "all conversations of one user, 20 messages each", contestants: []contestant{lethe},
		figures: append([]figure{{name: figureCommands, goals: []goal{{against: lethe, sense: atLeast, number: 0.8, elsewhere: "S1"}}}}, shared()...),
		load: func(ctx context.Context, w *world) error {
			return w.loadWholeUser(ctx, w.opts.Sizes.Small, w.opts.Sizes.MessagesEach)
		},
		run: runWholeUser,
	}
}

// loadWholeUser is loadSmall for conversations of one user. Those that stay are others'.
func (w *world) loadWholeUser(ctx context.Context, n, each int) error {
	if err := w.loadSmall(ctx, n, each); err != nil {
		return err
	}
	for _, table := range []string{"messages", "conversations"} {
		if err := w.exec(ctx, "update chat."+table+" set user_id = '"+longUser+"' where conversation_id like 'c2c_peer-%'"); err != nil {
			return fmt.Errorf("load: %w", err)
		}
		if err := w.exec(ctx, "vacuum full chat."+table); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	return nil
}

func runWholeUser(ctx context.Context, w *world, who contestant) (sample, error) {
	n, each := w.opts.Sizes.Small, w.opts.Sizes.MessagesEach
	if err := w.start(ctx, who, w.database); err != nil {
		return nil, err
	}
	command := conversation.Command{CommandID: "everything", AppID: benchApp, UserID: longUser, DeviceID: "phone", AllConversations: true}
	if err := w.publish(ctx, []conversation.Command{command}); err != nil {
		return nil, err
	}
	s, err := w.metered(ctx, n*each, func(s sample) error {
		start, end, err := w.untilEvents(ctx, n+1) // with that of the command
		s[figureCommands] = float64(n) / end.Sub(start).Seconds()
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := w.awaitSettled(ctx); err != nil {
		return nil, err
	}
	if err := w.stop(s); err != nil {
		return nil, err
	}
	return s, w.checkSmall(ctx, n, each)
}
