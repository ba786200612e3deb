package broker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
)

const (
	// pullWait is how long the stream keeps a request for commands. A stop waits
	// for it, because what the request still brings has to be handed back.
	pullWait = time.Second
	// pullGrace is how much later the end of a request may be heard of.
	pullGrace = time.Second
	// silentPulls is how many requests in a row may stay without any answer
	// before that is a fault: one can get lost with a connection or a leader.
	silentPulls = 2
)

// nextSubject is where commands are asked for.
const nextSubject = jetstreamAPI + "CONSUMER.MSG.NEXT." + conversation.CommandsStream + "." + conversation.WorkerConsumer

// Run pulls commands until stop is done and calls handle for each, from one
// goroutine; handle must not block. It pulls only what there are places for,
// and only while the gate is open. What comes after the stop is handed back at
// once. Run returns when nothing more can come, about a second after the stop;
// what handle was given is settled later, see [Broker.Settled]. It may be called
// once; the error is that of a second call.
func (b *Broker) Run(stop context.Context, handle func(bus.Delivery, bus.Place)) error {
	if !b.running.CompareAndSwap(false, true) {
		return fmt.Errorf("pull from %s: already runs", commandsConsumer)
	}
	b.pulse.start(b.beatAll)
	for stop.Err() == nil {
		if err := b.connected(stop); err != nil {
			break
		}
		b.learnAckWait(stop)
		if err := b.session(stop, handle); err != nil && stop.Err() == nil {
			b.mend(stop, err)
		}
	}
	return nil
}

// Settled waits until nothing is in hand and the server has all acknowledgements.
// Call it after Run has returned. The error is ctx's, or the flush's.
func (b *Broker) Settled(ctx context.Context) error {
	if err := b.hand.empty(ctx); err != nil {
		return fmt.Errorf("%d commands still in hand: %w", b.hand.len(), err)
	}
	if !b.nc.IsConnected() {
		return nil // nothing can be sent; what wasn't acknowledged comes again
	}
	return b.flush(ctx)
}

// session pulls until the stop or a fault. The client package's Fetch isn't used:
// it takes a command without a body whose headers name a status for a word of
// the server, so that a producer could stop the worker with it. Here the two are
// told apart by their subject.
func (b *Broker) session(stop context.Context, handle func(bus.Delivery, bus.Place)) error {
	p := &puller{b: b, handle: handle, inbox: b.nc.NewInbox() + ".", denied: make(chan error, 1)}
	// Of a request, at most Places come; as many again may be late from the one
	// before it.
	p.msgs = make(chan *nats.Msg, 2*b.cfg.Places+16)
	unwatch := b.denials.watch(pullDenied, func(err error) {
		select {
		case p.denied <- err:
		default:
		}
	})
	defer unwatch()
	sub, err := b.nc.ChanSubscribe(p.inbox+"*", p.msgs)
	if err != nil {
		return fmt.Errorf("subscribe to answers: %w", err)
	}
	defer p.end(sub)
	silent := 0
	for {
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
		if silent == silentPulls {
			return errSilent
		}
	}
}

// pullDenied matches what keeps a request for commands from being answered.
func pullDenied(d *denial) bool {
	return inboxDenied(d) || d.operation == "Publish" && d.subject == nextSubject
}

// puller is one session's pulling.
type puller struct {
	b      *Broker
	handle func(bus.Delivery, bus.Place)
	inbox  string // answers about a request come on inbox + its number
	last   uint64 // number of the request
	msgs   chan *nats.Msg
	denied chan error
}

// turn waits until there is room and the gate is open, and returns for how many
// deliveries and bytes; 0 after the stop.
func (p *puller) turn(stop context.Context) (n, bytes int) {
	for stop.Err() == nil {
		if n, _ = p.b.hand.room(); n == 0 {
			p.await(stop, p.b.hand.freed)
			continue
		}
		opened := make(chan struct{})
		go func() {
			defer close(opened)
			_ = p.b.gate.Wait(stop) // the error is that of stop, which is asked for itself
		}()
		p.await(stop, opened)
		if n, bytes = p.b.hand.room(); n > 0 && stop.Err() == nil {
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
			p.handBack(m)
		case <-done:
			return
		case <-stop.Done():
			return
		}
	}
}

// pull asks for n commands and hands over what comes, until all came or the
// request has ended. heard reports whether there was any answer.
func (p *puller) pull(stop context.Context, n, bytes int) (heard bool, err error) {
	p.last++
	reply := p.inbox + strconv.FormatUint(p.last, 10)
	changed := p.b.link.changes()
	// Beyond the budget by one message, so that the largest still fits.
	most := bytes + int(p.b.nc.MaxPayload())
	if err := p.b.nc.PublishRequest(nextSubject, reply, pullRequest(n, most)); err != nil {
		return false, fmt.Errorf("pull from %s: %w", commandsConsumer, err)
	}
	over := time.NewTimer(pullWait + pullGrace)
	defer over.Stop()
	for n > 0 && most > 0 {
		select {
		case m := <-p.msgs:
			heard = true
			if !p.isStatus(m) {
				p.take(stop, m)
				n--
				most -= m.Size()
			} else if m.Subject == reply {
				return true, statusFault(m)
			}
		case err := <-p.denied:
			return heard, err
		case <-changed:
			return true, nil // the request may be lost; ask again
		case <-over.C:
			return heard, nil
		}
	}
	return true, nil
}

func pullRequest(n, bytes int) []byte {
	return fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d}`, n, bytes, pullWait.Nanoseconds())
}

// isStatus tells the server's words about a request from commands.
func (p *puller) isStatus(m *nats.Msg) bool { return strings.HasPrefix(m.Subject, p.inbox) }

// take hands one command over, or back if there is no place for it or the
// worker is being stopped.
func (p *puller) take(stop context.Context, m *nats.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		p.b.log.Error("a message without the stream's data can't be settled", "subject", m.Subject, "err", err)
		return
	}
	pl := &place{
		b: p.b, reply: m.Reply, subject: m.Subject, sequence: meta.Sequence.Stream,
		deliveries: meta.NumDelivered, size: m.Size(), taken: time.Now(),
	}
	if stop.Err() != nil || !p.b.hand.take(pl) {
		p.handBack(m)
		return
	}
	p.handle(bus.Delivery{
		Subject: m.Subject, Data: m.Data, Header: m.Header,
		Sequence: meta.Sequence.Stream, StoredAt: meta.Timestamp, Deliveries: meta.NumDelivered,
	}, pl)
}

// handBack returns a command for immediate redelivery.
func (p *puller) handBack(m *nats.Msg) {
	if p.isStatus(m) {
		return
	}
	if err := p.b.nc.Publish(m.Reply, settlement(bus.Outcome{Verdict: bus.Retry})); err != nil {
		p.b.metrics.SettleErrors.Inc()
		p.b.log.Warn("command not handed back; it will be redelivered", "subject", m.Subject, "err", err)
	}
}

// end hands back what is left over and ends the subscription.
func (p *puller) end(sub *nats.Subscription) {
	for drained := false; !drained; {
		select {
		case m := <-p.msgs:
			p.handBack(m)
		default:
			drained = true
		}
	}
	if err := sub.Unsubscribe(); err != nil && !p.b.nc.IsClosed() {
		p.b.log.Warn("subscription to answers not ended", "err", err)
	}
	for {
		select {
		case m := <-p.msgs:
			p.handBack(m)
		default:
			return
		}
	}
}

// learnAckWait asks for the consumer's AckWait, which an operator may have
// changed. A fault shows at the first pull; here it is no matter.
func (b *Broker) learnAckWait(ctx context.Context) {
	info, err := b.consumerInfo(ctx)
	if err != nil {
		b.log.Debug("ack wait of the consumer not known; going by the configured one", "err", err)
		return
	}
	b.pulse.follow(effectiveAckWait(info.Config.AckWait, info.Config.BackOff))
}

// effectiveAckWait is the shortest time after which the stream redelivers: a
// consumer's back-off, which setup removes, replaces its AckWait.
func effectiveAckWait(ackWait time.Duration, backOff []time.Duration) time.Duration {
	if len(backOff) > 0 {
		return backOff[0]
	}
	return ackWait
}
