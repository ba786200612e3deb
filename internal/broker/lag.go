package broker

import (
	"context"
	"fmt"

	"github.com/lethe-im/lethe/conversation"
)

// Lag says how much work there is, over all workers.
type Lag struct {
	// Waiting commands have not been handed to any worker yet.
	Waiting uint64
	// InHand are handed over and not acknowledged, those that wait for a repeated
	// try included.
	InHand int
	// Redelivered of those in hand were handed over more than once.
	Redelivered int
	// Stuck commands are in the stream, but neither waiting nor in hand: no worker
	// will ever see them. Always 0 with the consumer as setup makes it.
	Stuck uint64
	// Letters is how many dead letters there are.
	Letters uint64
}

// Lag asks the server how much work there is.
func (b *Broker) Lag(ctx context.Context) (Lag, error) {
	if err := b.connected(ctx); err != nil {
		return Lag{}, err
	}
	info, err := b.consumerInfo(ctx)
	if err != nil {
		return Lag{}, fmt.Errorf("lag of %s: %w", commandsConsumer, err)
	}
	lag := Lag{Waiting: info.NumPending, InHand: info.NumAckPending, Redelivered: info.NumRedelivered}
	commands, err := b.messages(ctx, conversation.CommandsStream)
	if err != nil {
		return Lag{}, err
	}
	if seen := lag.Waiting + uint64(lag.InHand); commands > seen {
		lag.Stuck = commands - seen
	}
	lag.Letters, err = b.messages(ctx, conversation.DeadLettersStream)
	return lag, err
}

// messages returns how many messages a stream has.
func (b *Broker) messages(ctx context.Context, stream string) (uint64, error) {
	var info struct {
		State struct {
			Messages uint64 `json:"messages"`
		} `json:"state"`
	}
	if err := b.api(ctx, "STREAM.INFO."+stream, struct{}{}, &info); err != nil {
		return 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	return info.State.Messages, nil
}
