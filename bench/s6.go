package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

const (
	figureP50 = "publish to event, p50, ms"
	figureP99 = "publish to event, p99, ms"
	// aloneWarmUp is how many commands come before those that count: the first
	// ones prepare statements and open connections.
	aloneWarmUp = 20
	// alonePause lets the worker come to rest between two commands.
	alonePause = 5 * time.Millisecond
)

// oneAlone is S6: a command comes, and nothing else.
func oneAlone() scenario {
	goals := []goal{{against: plain, sense: atMost, number: 1}}
	return scenario{
		id: "S6", title: "one command alone, 20 messages", contestants: []contestant{lethe, plain},
		figures: []figure{{name: figureP50, goals: goals}, {name: figureP99, goals: goals}},
		run:     runAlone,
	}
}

func runAlone(ctx context.Context, w *world, who contestant) (sample, error) {
	n, each := w.opts.Sizes.Alone+aloneWarmUp, w.opts.Sizes.MessagesEach
	if err := w.loadSmall(ctx, n, each); err != nil {
		return nil, err
	}
	commands := smallCommandsOf(n)
	if err := w.start(ctx, who, w.database); err != nil {
		return nil, err
	}
	if _, err := w.resume(ctx); err != nil {
		return nil, err
	}
	if err := w.checkpoint(ctx); err != nil {
		return nil, err
	}
	took, err := w.oneByOne(ctx, commands)
	if err != nil {
		return nil, err
	}
	took = took[aloneWarmUp:]
	s := sample{figureP50: milliseconds(percentile(took, 0.50)), figureP99: milliseconds(percentile(took, 0.99))}
	return s, w.conclude(ctx, s, commands, each)
}

// oneByOne publishes each command by the public client once the one before is
// done, and returns the times until a subscriber had the event.
func (w *world) oneByOne(ctx context.Context, commands []conversation.Command) ([]time.Duration, error) {
	client, err := conversation.NewClient(w.nc)
	if err != nil {
		return nil, err
	}
	events, err := w.nc.SubscribeSync(conversation.TypeDeleted + ".>")
	if err != nil {
		return nil, err
	}
	defer events.Unsubscribe() //nolint:errcheck // the connection is closed soon
	took := make([]time.Duration, 0, len(commands))
	for _, c := range commands {
		start := time.Now()
		if _, err := client.Delete(ctx, c); err != nil {
			return nil, err
		}
		e, err := w.nextEvent(ctx, events)
		if err != nil {
			return nil, fmt.Errorf("event of %s: %w", c.CommandID, err)
		}
		took = append(took, time.Since(start))
		if e.CommandID != c.CommandID {
			return nil, fmt.Errorf("wrong result: event of command %s; want %s", e.CommandID, c.CommandID)
		}
		if err := pauseFor(ctx, alonePause); err != nil {
			return nil, err
		}
	}
	return took, nil
}

func (w *world) nextEvent(ctx context.Context, events *nats.Subscription) (conversation.Deleted, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	msg, err := events.NextMsgWithContext(ctx)
	if err != nil {
		return conversation.Deleted{}, w.contestant.explain(err)
	}
	return deletedOf(msg.Header, msg.Data)
}
