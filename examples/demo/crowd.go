package main

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

// crowd hears the ends of all deletions of the app, live, and counts how often
// each was told. Safe for concurrent use.
type crowd struct {
	mu      sync.Mutex     // guards what follows
	told    map[string]int // by ce-id
	changed chan struct{}  // closed at the next event
	err     error          // of the first message that wasn't an event
}

// listen hears everything that is published from now on, until the connection
// is closed.
func listen(nc *nats.Conn) (*crowd, error) {
	c := &crowd{told: map[string]int{}, changed: make(chan struct{})}
	everyone := conversation.TypeDeleted + "." + conversation.EscapeToken(app) + ".*"
	if _, err := nc.Subscribe(everyone, c.hear); err != nil {
		return nil, err
	}
	return c, nc.Flush()
}

func (c *crowd) hear(m *nats.Msg) {
	e, err := conversation.ParseEvent(m.Subject, m.Header, m.Data)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.err = err
	} else {
		c.told[e.ID]++
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits until n different events were told.
func (c *crowd) await(ctx context.Context, n int) error {
	return c.wait(ctx, func() bool { return len(c.told) >= n })
}

// awaitAgain waits until one event was told n times.
func (c *crowd) awaitAgain(ctx context.Context, id string, n int) error {
	return c.wait(ctx, func() bool { return c.told[id] >= n })
}

func (c *crowd) wait(ctx context.Context, enough func() bool) error {
	for {
		c.mu.Lock()
		yes, err, changed := enough(), c.err, c.changed
		c.mu.Unlock()
		if yes || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
