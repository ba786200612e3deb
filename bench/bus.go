package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// maxUnconfirmed is how many publishes may wait for the stream's word.
	maxUnconfirmed = 4096
	// publishTimeout bounds the wait for the stream's word where too many wait.
	publishTimeout = time.Minute
	// askEvery is how often the streams are asked how far they are. The end of a
	// trial is told by the server's own times, not by the asking.
	askEvery = 20 * time.Millisecond
)

// publish stores the commands, as fast as the stream takes them.
func (w *world) publish(ctx context.Context, commands []conversation.Command) error {
	acks := make([]jetstream.PubAckFuture, 0, len(commands))
	for _, c := range commands {
		body, err := json.Marshal(c)
		if err != nil {
			return err
		}
		subject := conversation.Shard(w.shard).CommandSubject(c.AppID)
		if c.Scope == conversation.ScopeEveryone {
			subject = conversation.Shard(w.shard).DeleteEveryoneSubject(c.AppID)
		}
		msg := nats.NewMsg(subject)
		msg.Data = body
		ack, err := w.js.PublishMsgAsync(msg, jetstream.WithStallWait(publishTimeout))
		if err != nil {
			return fmt.Errorf("publish command %s: %w", c.CommandID, err)
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return fmt.Errorf("publish: %w", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// awaitEvents waits until n events are stored, and returns when the stream
// stored the last one.
func (w *world) awaitEvents(ctx context.Context, n int) (time.Time, error) {
	events, err := w.js.Stream(ctx, conversation.EventsStream)
	if err != nil {
		return time.Time{}, err
	}
	var last time.Time
	err = w.until(ctx, askEvery, func() (bool, error) {
		info, err := events.Info(ctx)
		if err != nil {
			return false, err
		}
		last = info.State.LastTime
		return info.State.Msgs >= uint64(n), nil //nolint:gosec // n is no negative number
	})
	if err != nil {
		return last, fmt.Errorf("wait for %d events: %w", n, err)
	}
	return last, nil
}

// awaitSettled waits until every command has been acknowledged, and returns when
// the last one was.
func (w *world) awaitSettled(ctx context.Context) (time.Time, error) {
	commands, err := w.js.Consumer(ctx, conversation.Shard(w.shard).CommandsStream(), conversation.WorkerConsumer)
	if err != nil {
		return time.Time{}, err
	}
	var last time.Time
	err = w.until(ctx, askEvery, func() (bool, error) {
		info, err := commands.Info(ctx)
		if err != nil {
			return false, err
		}
		if info.AckFloor.Last != nil {
			last = *info.AckFloor.Last
		}
		return info.NumPending == 0 && info.NumAckPending == 0, nil
	})
	if err != nil {
		return last, fmt.Errorf("wait for the last acknowledgement: %w", err)
	}
	return last, nil
}

// events are those of the stream, which must hold n.
func (w *world) events(ctx context.Context, n int) ([]conversation.Event, error) {
	events, err := w.js.Stream(ctx, conversation.EventsStream)
	if err != nil {
		return nil, err
	}
	info, err := events.Info(ctx)
	if err != nil {
		return nil, err
	}
	if info.State.Msgs != uint64(n) { //nolint:gosec // n is no negative number
		return nil, fmt.Errorf("%d events are stored; want %d", info.State.Msgs, n)
	}
	consumer, err := events.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	read, err := consumer.Messages()
	if err != nil {
		return nil, err
	}
	defer read.Stop()
	found := make([]conversation.Event, 0, n)
	for range n {
		msg, err := read.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		e, err := conversation.ParseEvent(msg.Subject(), msg.Headers(), msg.Data())
		if err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	return found, nil
}

// deletedOf reads a conversation.deleted event.
func deletedOf(header nats.Header, body []byte) (conversation.Deleted, error) {
	var e conversation.Deleted
	if kind := header.Get(conversation.HeaderEventType); kind != conversation.TypeDeleted {
		return e, fmt.Errorf("an event of type %q: %s", kind, body)
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return e, fmt.Errorf("event: %w", err)
	}
	if e.CommandID == "" {
		return e, errors.New("an event names no command")
	}
	return e, nil
}
