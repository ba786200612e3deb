package broker

import (
	"context"
	"errors"
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

// Headers of the server's in a delivery.
const (
	headerMsgSize = "Nats-Msg-Size"      // of the body that a consumer with headers_only leaves out
	headerSource  = "Nats-Stream-Source" // where a sourced message is from
)

// puller is one session's pulling. The client package's Fetch isn't used: it
// takes a command without a body whose headers name a status for a word of the
// server, so that a producer could stop the worker with it. Here the two are told
// apart by their subject.
type puller struct {
	b      *Broker
	handle func(bus.Delivery, bus.Slot)
	inbox  string // answers about a request come on inbox + its number
	last   uint64 // number of the request
	msgs   chan *nats.Msg
	denied chan error
	// returned are the sequences that were handed back since the last request.
	returned map[uint64]struct{}
	doubted  []*nats.Msg // arrived together; see [doubtful]
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
func (d *denials) ofPull(found *denial) bool {
	return d.ofInbox(found) || found.operation == "Publish" && found.subject == nextSubject
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
	clear(p.returned)
	reply := p.inbox + strconv.FormatUint(p.last, 10)
	changed := p.b.link.changes()
	// Beyond the budget by one message, so that the largest still fits.
	most := bytes + int(p.b.nc.MaxPayload())
	if err := p.b.nc.PublishRequest(nextSubject, reply, pullRequest(n, most)); err != nil {
		return false, fmt.Errorf("pull from %s: %w", commandsConsumer, err)
	}
	over := time.NewTimer(pullWait + pullGrace)
	defer over.Stop()
	defer p.decide(stop)
	for n > 0 && most > 0 {
		select {
		case m := <-p.msgs:
			heard = true
			if !p.isStatus(m) {
				p.weigh(stop, m)
				if len(p.msgs) == 0 {
					p.decide(stop)
				}
				n--
				most -= m.Size()
			} else if m.Subject == reply {
				err := statusFault(m)
				if errors.Is(err, errMoved) {
					return false, nil
				}
				return true, err
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

// doubtful reports whether m must not be taken as it is, for what somebody may have
// altered since the last inspection: a command that came without its body, or from
// another stream and so with the time of its arrival. Its headers alone don't
// tell: a producer may have set them.
func doubtful(m *nats.Msg) (doubt, bodiless bool) {
	bodiless = len(m.Data) == 0 && m.Header.Get(headerMsgSize) != ""
	return bodiless || m.Header.Get(headerSource) != "", bodiless
}

// weigh takes a command, or keeps it for decide, where it is doubtful. A body that isn't there is believed at the second delivery at the
// earliest.
func (p *puller) weigh(stop context.Context, m *nats.Msg) {
	doubt, bodiless := doubtful(m)
	if !doubt {
		p.take(stop, m)
		return
	}
	if meta, err := m.Metadata(); bodiless && err == nil && meta.NumDelivered == 1 {
		p.handBack(m)
		return
	}
	p.doubted = append(p.doubted, m)
}

// decide takes what was doubtful if a new inspection finds nothing, or hands it back.
// It is one inspection for all that have arrived by now, so that a producer's headers
// can't make the worker do nothing else.
func (p *puller) decide(stop context.Context) {
	if len(p.doubted) == 0 {
		return
	}
	fine := p.b.inspectAgain(stop)
	for _, m := range p.doubted {
		if fine {
			p.take(stop, m)
		} else {
			p.handBack(m)
		}
	}
	clear(p.doubted)
	p.doubted = p.doubted[:0]
}

// take hands one command over, or back if there is no slot for it or the
// worker is being stopped.
func (p *puller) take(stop context.Context, m *nats.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		p.b.log.Error("a message without the stream's data can't be settled", "subject", m.Subject, "error", err)
		return
	}
	pl := &slot{
		b: p.b, reply: m.Reply, subject: m.Subject, sequence: meta.Sequence.Stream,
		deliveries: meta.NumDelivered, size: m.Size(), stored: meta.Timestamp, taken: time.Now(),
		generation: p.b.lineage.delivered(meta.Sequence.Consumer),
	}
	if stop.Err() != nil || !p.b.hand.take(pl) {
		p.handBack(m)
		return
	}
	if meta.NumDelivered > 1 {
		p.b.metrics.Redeliveries.Inc()
	} else {
		p.b.metrics.WaitSeconds.Observe(age(meta.Timestamp, pl.taken))
	}
	p.handle(bus.Delivery{
		Subject: m.Subject, Data: m.Data, Header: m.Header,
		Sequence: meta.Sequence.Stream, StoredAt: meta.Timestamp, Deliveries: meta.NumDelivered,
	}, pl)
}

// handBack returns a command for redelivery: at once, but not for a second time,
// since the request that brought it may still be open and would get it again and
// again.
func (p *puller) handBack(m *nats.Msg) {
	if p.isStatus(m) {
		return
	}
	back := bus.Outcome{Verdict: bus.Retry}
	if meta, err := m.Metadata(); err == nil {
		if _, again := p.returned[meta.Sequence.Stream]; again {
			back.Delay = pullWait / 2
		}
		p.returned[meta.Sequence.Stream] = struct{}{}
	}
	if err := p.b.nc.Publish(m.Reply, settlement(back)); err != nil {
		p.b.metrics.SettleErrors.Inc()
		p.b.log.Warn("command not handed back; it will be redelivered", "subject", m.Subject, "error", err)
	}
}

// end ends the subscription and hands back what is left over.
func (p *puller) end(sub *nats.Subscription) {
	if err := sub.Unsubscribe(); err != nil && !p.b.nc.IsClosed() {
		p.b.log.Warn("subscription to answers not ended", "error", err)
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
