package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
)

// commandsConsumer names the consumer that the workers share, for errors.
const commandsConsumer = conversation.CommandsStream + "/" + conversation.WorkerConsumer

// Run pulls commands until stop is done and calls handle for each, from one
// goroutine; handle must not block. It pulls only what there are slots for,
// and only while the gate is open. What comes after the stop is handed back at
// once. Run returns when nothing more can come, about a second after the stop;
// what handle was given is settled later, see [Broker.Settled]. It may be called
// once. The error is that of a second call, or of a connection that was closed.
func (b *Broker) Run(stop context.Context, handle func(bus.Delivery, bus.Slot)) error {
	if !b.running.CompareAndSwap(false, true) {
		return fmt.Errorf("pull from %s: already runs", commandsConsumer)
	}
	b.pulse.start(b.beatAll)
	watched, unwatch := context.WithCancel(stop)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer unwatch()
	watching.Go(func() { b.watch(watched) })
	for stop.Err() == nil {
		if b.nc.IsClosed() {
			return fmt.Errorf("pull from %s: %w", commandsConsumer, nats.ErrConnectionClosed)
		}
		if b.connected(stop) != nil {
			continue // stopped or closed
		}
		b.inspect(stop)
		if err := b.session(stop, handle); err != nil && stop.Err() == nil {
			b.mend(stop, err)
		}
	}
	return nil
}

// Settled waits until nothing is in flight and the server has all acknowledgements.
// Call it after Run has returned. The error is ctx's, or the flush's.
func (b *Broker) Settled(ctx context.Context) error {
	if err := b.hand.empty(ctx); err != nil {
		return fmt.Errorf("%s still in flight: %w", purge.Count(b.hand.len(), "command"), err)
	}
	if !b.nc.IsConnected() {
		return nil // nothing can be sent; what wasn't acknowledged comes again
	}
	return b.flush(ctx)
}

// session pulls until the stop or a fault.
func (b *Broker) session(stop context.Context, handle func(bus.Delivery, bus.Slot)) error {
	p := &puller{
		b: b, handle: handle, inbox: b.nc.NewInbox() + ".",
		// Of a request, at most Slots come; as many may be late from the one before it.
		msgs:   make(chan *nats.Msg, 2*b.cfg.Slots+16),
		denied: make(chan error, 1), returned: map[uint64]struct{}{},
	}
	defer b.denials.watch(b.denials.ofPull, offer(p.denied))()
	sub, err := b.nc.ChanSubscribe(p.inbox+"*", p.msgs)
	if err != nil {
		return fmt.Errorf("subscribe to answers: %w", err)
	}
	defer p.end(sub)
	for silent := 0; silent < silentPulls; {
		n, bytes := p.turn(stop)
		if n == 0 {
			return nil
		}
		heard, err := p.pull(stop, n, bytes)
		if err != nil {
			return err
		}
		if silent++; heard {
			silent = 0
		}
	}
	return errSilent
}

// effectiveAckWait is the shortest time after which the stream redelivers: a
// consumer's back-off, which setup removes, replaces its AckWait.
func effectiveAckWait(ackWait time.Duration, backOff []time.Duration) time.Duration {
	if len(backOff) > 0 {
		return backOff[0]
	}
	return ackWait
}
