package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/internal/bus"
)

// eventsBytes bounds one page of events.
const eventsBytes = 4 << 20

// Headers of the server's in an answer to a direct get. It writes them behind
// those that the message was stored with: the last of a name is the server's.
const (
	headerSubject     = "Nats-Subject"
	headerSequence    = "Nats-Sequence"
	headerTime        = "Nats-Time-Stamp"
	headerPending     = "Nats-Num-Pending"
	headerBefore      = "Nats-Last-Sequence" // of the message that was sent before
	headerStatus      = "Status"
	headerDescription = "Description"
)

// EventsState returns the state of the stream of events.
func (b *Broker) EventsState(ctx context.Context) (bus.StreamState, error) {
	if b.nc.IsConnected() {
		if err := checkServer(b.nc, oldestServer, "Lethe"); err != nil {
			return bus.StreamState{}, err
		}
	}
	state, err := b.streamState(ctx, b.names.events)
	if err != nil {
		return bus.StreamState{}, b.eventsFault(ctx, err)
	}
	return state, nil
}

// EventsSince returns the first messages of the stream of events that were
// stored at or after a time, at most limit and as many as fit in some megabytes.
// None where there are none. It reads by direct get, and leaves nothing behind.
//
// It searches by sequence: a direct get by time may skip messages in nats-server 2.12.1,
// where others between them are gone.
func (b *Broker) EventsSince(ctx context.Context, since time.Time, limit int) ([]bus.Stored, error) {
	state, err := b.EventsState(ctx)
	if err != nil {
		return nil, err
	}
	first, end := state.First, state.Last+1
	for first < end {
		middle := first + (end-first)/2
		found, err := b.EventsFrom(ctx, middle, 1)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 && found[0].Sequence > 0 && found[0].StoredAt.Before(since) { // without a sequence it can't be read, and may be newer
			first = found[0].Sequence + 1
		} else {
			end = middle
		}
	}
	return b.EventsFrom(ctx, first, limit)
}

// EventsFrom is EventsSince from a sequence on, in one round trip.
func (b *Broker) EventsFrom(ctx context.Context, seq uint64, limit int) ([]bus.Stored, error) {
	return b.events(ctx, map[string]any{"seq": max(seq, 1), "batch": limit, "max_bytes": eventsBytes})
}

// HasEvent reports whether the stream of events has a message of that sequence.
func (b *Broker) HasEvent(ctx context.Context, seq uint64) (bool, error) {
	found, err := b.events(ctx, map[string]any{"seq": seq})
	return len(found) > 0, err
}

// events makes one direct get of the stream of events.
func (b *Broker) events(ctx context.Context, request map[string]any) ([]bus.Stored, error) {
	found, err := b.directGet(ctx, b.names.events, request)
	if err != nil {
		return nil, b.eventsFault(ctx, err)
	}
	return found, nil
}

// directGet makes one direct get and collects the answers to it.
func (b *Broker) directGet(ctx context.Context, stream string, request map[string]any) (found []bus.Stored, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	limit, batch := request["batch"].(int)
	subject := "DIRECT.GET." + stream
	err = b.ask(ctx, subject, func(ctx context.Context) error {
		if err := b.connected(ctx); err != nil {
			return err
		}
		answers := make(chan *nats.Msg, limit+1) // the end of the batch is the last
		inbox := b.nc.NewInbox()
		sub, err := b.nc.ChanSubscribe(inbox, answers)
		if err != nil {
			return err
		}
		defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
		if err := b.nc.PublishRequest(b.names.api+subject, inbox, body); err != nil {
			return err
		}
		found, err = collectEvents(ctx, answers, batch)
		return err
	})
	return found, err
}

// collectEvents reads answers up to the last.
func collectEvents(ctx context.Context, answers <-chan *nats.Msg, batch bool) (found []bus.Stored, err error) {
	for {
		select {
		case m := <-answers:
			if last, err := readEvent(m, batch, &found); last || err != nil {
				return found, err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// readEvent adds an answer to what was found. It reports whether that is the last
// one; of a batch, the server marks it.
func readEvent(m *nats.Msg, batch bool, found *[]bus.Stored) (last bool, err error) {
	if n := len(*found); n > 0 && (*found)[n-1].Sequence == 0 { // the next one names it
		(*found)[n-1].Sequence = number(lastOf(m.Header, headerBefore))
	}
	if seq, err := strconv.ParseUint(lastOf(m.Header, headerSequence), 10, 64); err == nil {
		s := bus.Stored{Subject: lastOf(m.Header, headerSubject), Data: m.Data, Header: m.Header, Sequence: seq, StoredAt: moment(lastOf(m.Header, headerTime))}
		*found = append(*found, s)
		// A server that knows of no batches answers with one message, and no end.
		return !batch || lastOf(m.Header, headerPending) == "", nil
	}
	switch status := m.Header.Get(headerStatus); status {
	case "204", "404":
		return true, nil
	case "503":
		return true, errNoDirectGet
	case "": // a message whose headers can't be read
		*found = append(*found, bus.Stored{Data: m.Data})
		return !batch, nil
	default:
		return true, fmt.Errorf("direct get: the server answers %s %s", status, m.Header.Get(headerDescription))
	}
}

func lastOf(h nats.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

func (b *Broker) eventsFault(ctx context.Context, err error) error {
	return faultOf(ctx, b.cfg.Names, b.names.events, "read "+b.names.events, err)
}
