package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

// courier publishes commands by the public client and waits for their events as
// a subscriber. Several callers may wait at once, each for its own.
type courier struct {
	w      *world
	client *conversation.Client
	fault  chan error // what a wrong event says

	mu      sync.Mutex // guards what follows
	waiting map[string]chan time.Time
}

// newCourier subscribes to all events. It ends with the world's connection.
func (w *world) newCourier() (*courier, error) {
	client, err := conversation.NewClient(w.nc)
	if err != nil {
		return nil, err
	}
	c := &courier{w: w, client: client, fault: make(chan error, 1), waiting: map[string]chan time.Time{}}
	_, err = w.nc.Subscribe(conversation.TypeDeleted+".>", c.receive)
	return c, err
}

// receive tells the one who waits for an event.
func (c *courier) receive(msg *nats.Msg) {
	at := time.Now()
	e, err := deletedOf(msg.Header, msg.Data)
	c.mu.Lock()
	defer c.mu.Unlock()
	arrived, ok := c.waiting[e.CommandID]
	if err == nil && !ok {
		err = fmt.Errorf("wrong result: an event of command %q, for which nobody waits", e.CommandID)
	}
	if err != nil {
		select {
		case c.fault <- err:
		default: // one is enough
		}
		return
	}
	delete(c.waiting, e.CommandID)
	arrived <- at
}

// deliver publishes a command, which returns once it is stored, and waits for
// its event. It returns the time from the call to the event.
func (c *courier) deliver(ctx context.Context, command conversation.Command) (time.Duration, error) {
	arrived := make(chan time.Time, 1)
	c.mu.Lock()
	c.waiting[command.CommandID] = arrived
	c.mu.Unlock()
	start := time.Now()
	if _, err := c.client.Delete(ctx, command); err != nil {
		return 0, err
	}
	limit := time.NewTimer(startTimeout)
	defer limit.Stop()
	select {
	case at := <-arrived:
		return at.Sub(start), nil
	case err := <-c.fault:
		return 0, err
	case <-limit.C:
		return 0, c.w.contestant.explain(fmt.Errorf("no event of %s in %v", command.CommandID, startTimeout))
	case <-c.w.contestant.done:
		return 0, c.w.contestant.ended()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// each delivers one command after the other, with a pause that may depend on how
// long the last one took, and returns the times.
func (c *courier) each(ctx context.Context, commands []conversation.Command, rest func(took time.Duration) time.Duration) ([]time.Duration, error) {
	all := make([]time.Duration, 0, len(commands))
	for _, command := range commands {
		took, err := c.deliver(ctx, command)
		if err != nil {
			return nil, fmt.Errorf("command %s: %w", command.CommandID, err)
		}
		all = append(all, took)
		if err := pauseFor(ctx, rest(took)); err != nil {
			return nil, err
		}
	}
	return all, nil
}
