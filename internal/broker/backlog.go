package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/lethe-im/lethe/internal/bus"
)

// Backlog asks the server how much work there is and how full the streams are.
func (b *Broker) Backlog(ctx context.Context) (bus.Backlog, error) {
	before, err := b.streamState(ctx, b.names.commands)
	if err != nil {
		return bus.Backlog{}, err
	}
	info, err := b.consumerInfo(ctx)
	if err != nil {
		return bus.Backlog{}, fmt.Errorf("consumer %s: %w", b.names.consumer, err)
	}
	found := bus.Backlog{Waiting: info.NumPending, InFlight: uint64(info.NumAckPending)} //nolint:gosec // a count
	for _, name := range b.names.streams() {
		s, err := b.streamState(ctx, name)
		if err != nil {
			return bus.Backlog{}, err
		}
		found.Streams = append(found.Streams, s)
	}
	commands := found.Streams[0]
	found.Stuck = stuck(commands.Messages, commands.Last-before.Last, found.Waiting+found.InFlight)
	if commands.Messages > 0 {
		found.Oldest = age(commands.FirstAt, time.Now())
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
