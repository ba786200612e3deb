package broker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
)

// Backlog asks the server how much work there is and how full the streams are. If only the
// consumer can't be asked, the error comes with what the streams say: Oldest and Streams.
func (b *Broker) Backlog(ctx context.Context) (bus.Backlog, error) {
	before, err := b.streamState(ctx, b.names.commands)
	if err != nil {
		return bus.Backlog{}, err
	}
	info, consumerErr := b.consumerInfo(ctx)
	var found bus.Backlog
	for _, name := range b.names.streams() {
		s, err := b.streamState(ctx, name)
		if err != nil {
			return bus.Backlog{}, err
		}
		found.Streams = append(found.Streams, s)
	}
	commands := found.Streams[0]
	if commands.Messages > 0 {
		found.Oldest = age(commands.FirstAt, time.Now())
	}
	if consumerErr != nil {
		return found, fmt.Errorf("consumer %s: %w", b.names.consumer, consumerErr)
	}
	found.Waiting, found.InFlight, found.Pulls = info.NumPending, uint64(info.NumAckPending), uint64(info.NumWaiting) //nolint:gosec // counts
	found.Stuck = stuck(commands.Messages, commands.Last-before.Last, found.Waiting+found.InFlight)
	return found, nil
}

// AppBacklogs returns how many unfinished commands each app has, those with the most first. The
// server names 100,000 subjects at most.
func (b *Broker) AppBacklogs(ctx context.Context) ([]bus.AppBacklog, error) {
	if err := b.connected(ctx); err != nil {
		return nil, err
	}
	var info struct {
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := b.api(ctx, "STREAM.INFO."+b.names.commands, map[string]string{"subjects_filter": ">"}, &info); err != nil {
		return nil, fmt.Errorf("stream %s: %w", b.names.commands, err)
	}
	apps := map[string]uint64{}
	for subject, n := range info.State.Subjects {
		app, _ := conversation.SubjectApp(b.names.Unprefixed(subject))
		apps[app] += n
	}
	all := make([]bus.AppBacklog, 0, len(apps))
	for app, n := range apps {
		all = append(all, bus.AppBacklog{App: app, Commands: n})
	}
	slices.SortFunc(all, func(a, b bus.AppBacklog) int {
		return cmp.Or(cmp.Compare(b.Commands, a.Commands), cmp.Compare(a.App, b.App))
	})
	return all, nil
}

// stuck is how many of the messages in the stream the consumer doesn't know, at
// least: up to added arrived after it was asked.
func stuck(messages, added, known uint64) uint64 {
	if known += added; messages > known {
		return messages - known
	}
	return 0
}
