package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/natserr"
	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// pullWait is how long the stream keeps a request for commands. A stop waits
	// for it, because what the request still brings has to be deferred.
	pullWait = time.Second
	// pullGrace is how much later the end of a request may arrive.
	pullGrace = time.Second
	// silentPulls is how many requests in a row may stay without any answer
	// before that is a fault: one can get lost with a connection or a leader.
	silentPulls = 2
)

// Headers of the server's in a delivery.
const (
	headerMsgSize = "Nats-Msg-Size"      // of the body that a consumer with headers_only leaves out
	headerSource  = "Nats-Stream-Source" // where a sourced message is from
)

// Run pulls commands until stop is done and calls handle for each, from one
// goroutine; handle must not block. It pulls only what there are slots for,
// and only while the gate is open. What comes after the stop is deferred at
// once. Run returns when nothing more can come, about a second after the stop;
// what handle was given is settled later, see [Broker.Settled]. It may be called
// once. The error is that of a second call, or of a connection that was closed.
func (b *Broker) Run(stop context.Context, handle func(bus.Delivery, bus.Slot)) error {
	if !b.running.CompareAndSwap(false, true) {
		return fmt.Errorf("pull from %s: already runs", b.names.consumer)
	}
	b.heartbeat.start()
	watched, unwatch := context.WithCancel(stop)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer unwatch()
	watching.Go(func() { b.watch(watched) })
	for stop.Err() == nil {
		if b.nc.IsClosed() {
			return fmt.Errorf("pull from %s: %w", b.names.consumer, nats.ErrConnectionClosed)
		}
		if b.connected(stop) != nil {
			continue // stopped or closed
		}
		b.inspect(stop)
		if err := b.session(stop, handle); err != nil && stop.Err() == nil {
			b.awaitPull(stop, err)
		}
	}
	return nil
}

// Settled waits until nothing is in flight and the server has all acknowledgements.
// Call it after Run has returned. The error is ctx's, or the flush's.
func (b *Broker) Settled(ctx context.Context) error {
	if err := b.inFlight.empty(ctx); err != nil {
		return fmt.Errorf("%s still in flight: %w", purge.Count(b.inFlight.len(), "command"), err)
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
		denied: make(chan error, 1), deferred: map[uint64]struct{}{},
	}
	defer b.denials.watch(b.ofPull, offer(p.denied))()
	sub, err := b.nc.ChanSubscribe(p.inbox+"*", p.msgs)
	if err != nil {
		return fmt.Errorf("subscribe to answers: %w", err)
	}
	defer p.end(sub)
	asked := time.Now()
	for silent := 0; silent < silentPulls; {
		n, bytes := p.awaitRoom(stop)
		if n == 0 {
			return nil
		}
		if time.Since(asked) > takeOverQuiet/2 { // another database may have taken the stream over
			b.inspect(stop)
			asked = time.Now()
			continue
		}
		answered, err := p.pull(stop, n, bytes)
		if err != nil {
			return err
		}
		if silent++; answered {
			silent, asked = 0, time.Now()
		}
	}
	return errSilent
}

// puller is one session's pulling. The client package's Fetch isn't used: it
// takes a command without a body whose headers name a status for a status of the
// server, so that a producer could stop the worker with it. Here the subject
// distinguishes the two.
type puller struct {
	b      *Broker
	handle func(bus.Delivery, bus.Slot)
	inbox  string // answers about a request come on inbox + its number
	last   uint64 // number of the request
	msgs   chan *nats.Msg
	denied chan error
	// deferred are the sequences that were deferred since the last request.
	deferred map[uint64]struct{}
	doubted  []doubt     // arrived together, without their bodies; see [bodiless]
	sourced  []*nats.Msg // arrived together, from other streams
}

// doubt is a command without its body.
type doubt struct {
	msg *nats.Msg
	// alterations are how many inspections had found something when it came.
	alterations int
}

// offer returns a function that puts an error into c if there is room.
func offer(c chan<- error) func(error) {
	return func(err error) {
		select {
		case c <- err:
		default:
		}
	}
}

// ofPull matches what keeps a request for commands from being answered.
func (b *Broker) ofPull(found *natserr.Denial) bool {
	return b.denials.ofAPI(strings.TrimPrefix(b.names.next, b.names.api))(found)
}

// awaitRoom waits until there is room and the gate is open, and returns for how many
// deliveries and bytes; 0 after the stop.
func (p *puller) awaitRoom(stop context.Context) (n, bytes int) {
	for stop.Err() == nil {
		if n, _ = p.b.inFlight.room(); n == 0 {
			p.await(stop, p.b.inFlight.freed)
			continue
		}
		opened := make(chan struct{})
		go func() {
			defer close(opened)
			_ = p.b.gate.Wait(stop) // the error is that of stop, which is asked for itself
		}()
		p.await(stop, opened)
		if n, bytes = p.b.inFlight.room(); n > 0 && stop.Err() == nil {
			return n, bytes
		}
	}
	return 0, 0
}

// await waits for done or the stop. What arrives meanwhile is late: no request
// is out.
func (p *puller) await(stop context.Context, done <-chan struct{}) {
	for {
		select {
		case m := <-p.msgs:
			p.deferCommand(m)
		case <-done:
			return
		case <-stop.Done():
			return
		}
	}
}

// pull asks for n commands and hands over what comes, until all came or the
// request has ended. answered reports whether there was any answer.
func (p *puller) pull(stop context.Context, n, bytes int) (answered bool, err error) {
	p.last++
	clear(p.deferred)
	reply := p.inbox + strconv.FormatUint(p.last, 10)
	changed := p.b.link.changes()
	// Beyond the limit by one message, so that the largest still fits.
	room := bytes + int(p.b.nc.MaxPayload())
	if err := p.b.nc.PublishRequest(p.b.names.next, reply, pullRequest(n, room)); err != nil {
		return false, fmt.Errorf("pull from %s: %w", p.b.names.consumer, err)
	}
	over := time.NewTimer(pullWait + pullGrace)
	defer over.Stop()
	defer p.takeGathered(stop)
	for n > 0 && room > 0 {
		select {
		case m := <-p.msgs:
			answered = true
			if !p.isStatus(m) {
				p.receive(stop, m)
				if len(p.msgs) == 0 {
					p.takeGathered(stop)
				}
				n--
				room -= m.Size()
			} else if m.Subject == reply {
				err := statusFault(m)
				if errors.Is(err, errMoved) {
					return false, nil
				}
				return true, err
			}
		case err := <-p.denied:
			return answered, err
		case <-changed:
			return true, nil // the request may be lost; ask again
		case <-over.C:
			return answered, nil
		}
	}
	return true, nil
}

func pullRequest(n, bytes int) []byte {
	return fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d}`, n, bytes, pullWait.Nanoseconds())
}

// isStatus distinguishes the server's statuses of a request from commands.
func (p *puller) isStatus(m *nats.Msg) bool { return strings.HasPrefix(m.Subject, p.inbox) }

// bodiless reports whether m came without the body that it has, because somebody may have
// altered the consumer since the last inspection. Its header alone is no evidence: a
// producer may have set it.
func bodiless(m *nats.Msg) bool { return len(m.Data) == 0 && m.Header.Get(headerMsgSize) != "" }

// receive takes a command, or keeps it for takeGathered: one without its body, which is
// deferred once and doubted at the second delivery, and one from another stream.
func (p *puller) receive(stop context.Context, m *nats.Msg) {
	switch {
	case bodiless(m):
		if meta, err := m.Metadata(); err == nil && meta.NumDelivered == 1 {
			p.deferCommand(m)
			return
		}
		p.doubted = append(p.doubted, doubt{m, p.b.alterations()})
	case m.Header.Get(headerSource) != "":
		p.sourced = append(p.sourced, m)
	default:
		p.take(stop, m, dating{})
	}
}

// takeGathered takes what receive has kept. It asks once for all that have arrived by now,
// so that a producer's headers can't make the worker do nothing else.
func (p *puller) takeGathered(stop context.Context) {
	p.settleDoubts(stop)
	p.takeSourced(stop)
}

// settleDoubts takes what was doubtful if a new inspection finds nothing, or defers it: also
// if an inspection has found something since it came, which may be corrected by now.
func (p *puller) settleDoubts(stop context.Context) {
	if len(p.doubted) == 0 {
		return
	}
	fine := p.b.inspectAgain(stop)
	alterations := p.b.alterations()
	for _, d := range p.doubted {
		if fine && d.alterations == alterations {
			p.take(stop, d.msg, dating{})
		} else {
			p.deferCommand(d.msg)
		}
	}
	clear(p.doubted)
	p.doubted = p.doubted[:0]
}

// take hands one command over, or defers it if there is no slot for it or the
// worker is being stopped.
func (p *puller) take(stop context.Context, m *nats.Msg, first dating) {
	meta, err := m.Metadata()
	if err != nil {
		p.b.log.Error("a message without the stream's data can't be settled", "subject", m.Subject, "error", err)
		return
	}
	if !first.at.IsZero() && first.at.Before(meta.Timestamp) {
		meta.Timestamp = first.at
	}
	s := &slot{
		b: p.b, reply: m.Reply, subject: m.Subject, sequence: meta.Sequence.Stream,
		deliveries: meta.NumDelivered, size: m.Size(), stored: meta.Timestamp, taken: time.Now(),
		generation: p.b.lineage.delivered(meta.Sequence.Consumer),
	}
	if stop.Err() != nil || !p.b.inFlight.take(s) {
		p.deferCommand(m)
		return
	}
	if meta.NumDelivered > 1 {
		p.b.metrics.Redeliveries.Inc()
	} else {
		p.b.metrics.WaitSeconds.Observe(age(meta.Timestamp, s.taken).Seconds())
	}
	p.handle(bus.Delivery{
		Subject: m.Subject, Data: m.Data, Header: m.Header,
		Sequence: meta.Sequence.Stream, StoredAt: meta.Timestamp, Undated: first.unknown, Deliveries: meta.NumDelivered,
	}, s)
}

// deferCommand returns a command to the stream for redelivery: at once, but not for a second time,
// since the request that brought it may still be open and would get it again and
// again.
func (p *puller) deferCommand(m *nats.Msg) {
	if p.isStatus(m) {
		return
	}
	delay := time.Duration(0)
	if meta, err := m.Metadata(); err == nil {
		if _, again := p.deferred[meta.Sequence.Stream]; again {
			delay = pullWait / 2
		}
		p.deferred[meta.Sequence.Stream] = struct{}{}
	}
	p.deferFor(m, delay)
}

// deferFor returns a command to the stream for redelivery after a delay.
func (p *puller) deferFor(m *nats.Msg, delay time.Duration) {
	if err := p.b.nc.Publish(m.Reply, settlement(bus.Outcome{Verdict: bus.Retry, Delay: delay})); err != nil {
		p.b.metrics.SettleErrors.Inc()
		p.b.log.Warn("command not deferred; it will be redelivered", "subject", m.Subject, "error", err)
	}
}

// end ends the subscription and defers what is left over.
func (p *puller) end(sub *nats.Subscription) {
	if err := sub.Unsubscribe(); err != nil && !p.b.nc.IsClosed() {
		p.b.log.Warn("subscription to answers not ended", "error", err)
	}
	for {
		select {
		case m := <-p.msgs:
			p.deferCommand(m)
		default:
			return
		}
	}
}
