package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
)

// Lag is how much work there is, over all workers.
type Lag struct {
	// Waiting commands have not been handed to any worker yet.
	Waiting uint64
	// InFlight are handed over and not acknowledged, those that wait for a repeated
	// try included.
	InFlight int
	// Redelivered of those in flight were handed over more than once.
	Redelivered int
	// Stuck commands are in the stream, but neither waiting nor in flight: no worker
	// will ever see them. It is a lower bound: what arrives at this moment may hide
	// some. Always 0 with the consumer as setup makes it.
	Stuck uint64
	// Letters is how many dead letters there are.
	Letters uint64
}

// Backlog is the Lag with the state of the streams.
type Backlog struct {
	Lag
	// Oldest is when the oldest command that isn't finished was stored; zero if
	// there is none.
	Oldest time.Time
	// Streams are those of commands, events and dead letters.
	Streams []bus.StreamState
}

// Lag asks the server how much work there is.
func (b *Broker) Lag(ctx context.Context) (Lag, error) {
	found, err := b.Backlog(ctx)
	return found.Lag, err
}

// Backlog asks the server how much work there is and how full the streams are.
func (b *Broker) Backlog(ctx context.Context) (Backlog, error) {
	before, err := b.streamState(ctx, conversation.CommandsStream)
	if err != nil {
		return Backlog{}, err
	}
	info, err := b.consumerInfo(ctx)
	if err != nil {
		return Backlog{}, fmt.Errorf("lag of %s: %w", commandsConsumer, err)
	}
	var found Backlog
	for _, name := range []string{conversation.CommandsStream, conversation.EventsStream, conversation.DeadLettersStream} {
		s, err := b.streamState(ctx, name)
		if err != nil {
			return Backlog{}, err
		}
		found.Streams = append(found.Streams, s)
	}
	commands := found.Streams[0]
	found.Lag = Lag{
		Waiting: info.NumPending, InFlight: info.NumAckPending, Redelivered: info.NumRedelivered,
		Letters: found.Streams[2].Messages,
	}
	found.Stuck = stuck(commands.Messages, commands.Last-before.Last, found.Waiting+uint64(found.InFlight))
	if commands.Messages > 0 {
		found.Oldest = commands.FirstAt
	}
	return found, nil
}

// stuck is how many of the messages in the stream the consumer doesn't know, at
// least: up to added arrived after it was asked.
func stuck(messages, added, known uint64) uint64 {
	if known += added; messages > known {
		return messages - known
	}
	return 0
}
