package main

import (
	"context"
	"sync"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// A gateway takes what a device asks for and publishes it as a command.

// deletion is what a device asks for when its user presses delete. through is
// the newest seq that the device showed; 0 leaves the boundary to the time at
// which the command is stored.
func deletion(user, device, id string, through int64) conversation.Command {
	target := conversation.Target{ID: id}
	if through > 0 {
		target.ThroughSeq = &through
	}
	return conversation.Command{
		CommandID:     conversation.NewCommandID(), // kept, and sent again when in doubt
		AppID:         app,
		UserID:        user,
		DeviceID:      device,
		Conversations: []conversation.Target{target},
		RequestedAt:   time.Now(),
	}
}

// publishers is how many commands the gateway has on their way at once.
const publishers = 8

// publishAll publishes commands as fast as the stream stores them.
func publishAll(ctx context.Context, client *conversation.Client, commands []conversation.Command) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan conversation.Command)
	var wg sync.WaitGroup
	for range publishers {
		wg.Go(func() {
			for cmd := range queue {
				if _, err := client.Delete(ctx, cmd); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, cmd := range commands {
		select {
		case queue <- cmd:
		case <-ctx.Done():
		}
	}
	close(queue)
	wg.Wait()
	return context.Cause(ctx)
}
