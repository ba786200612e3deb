package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/internal/bus"
)

// A command that the commands' stream sources from another one gets the time of its
// arrival there. The boundary needs the time at which a stream first stored it, which
// only the stream that it is from knows: the server names that stream and the sequence in
// a header. Before nats-server 2.15 a producer can set that, too, and harm nobody else: the
// time can only be earlier, and a question without an answer defers its own command alone.
const (
	// originTimeout bounds the question to the other stream. Nothing is pulled meanwhile.
	originTimeout = time.Second
	// originDelay is how long a command is deferred whose origin isn't known yet.
	originDelay = time.Second
	// originTries is how often a command is delivered before its origin counts as removed:
	// a replica that is behind may not have it yet.
	originTries = 3
	// maxHops is how many streams a command may have come through.
	maxHops = 4
)

// origin is where a sourced message was stored before.
type origin struct {
	stream string
	seq    uint64
}

// dating says when a stream first stored a command. The zero value: the commands' stream
// did, when it says.
type dating struct {
	at time.Time
	// unknown: another stream did, and doesn't say when any longer.
	unknown bool
}

// originOf reads what the server notes about a sourced message:
// "STREAM SEQUENCE FILTER TRANSFORM SUBJECT".
func originOf(h nats.Header) (from origin, sourced bool) {
	fields := strings.Fields(h.Get(headerSource))
	if len(fields) < 2 {
		return origin{}, false
	}
	return origin{fields[0], number(fields[1])}, true
}

// takeSourced takes the commands that came from other streams with the times at which
// those stored them. One whose origin is gone is taken without.
func (p *puller) takeSourced(stop context.Context) {
	if len(p.sourced) == 0 {
		return
	}
	times, unanswered, err := p.b.originTimes(stop, p.sourced)
	p.b.originFault(stop, err)
	for i, m := range p.sourced {
		meta, merr := m.Metadata()
		unknown := times[i].IsZero()
		if unanswered[i] || unknown && merr == nil && meta.NumDelivered < originTries {
			p.b.metrics.Retries.WithLabelValues("origin").Inc()
			p.deferFor(m, originDelay)
			continue
		}
		p.take(stop, m, dating{times[i], unknown})
	}
	clear(p.sourced)
	p.sourced = p.sourced[:0]
}

// originTimes returns when each of the sourced messages was first stored; the zero time
// where that is known no longer. unanswered are those of which it can't be known now: err says why.
func (b *Broker) originTimes(ctx context.Context, msgs []*nats.Msg) (times []time.Time, unanswered map[int]bool, err error) {
	times, unanswered = make([]time.Time, len(msgs)), map[int]bool{}
	asked := make(map[int]origin, len(msgs))
	for i, m := range msgs {
		asked[i], _ = originOf(m.Header)
	}
	for range maxHops {
		if len(asked) == 0 {
			break
		}
		found, answered, oerr := b.origins(ctx, asked)
		for i := range asked {
			if !answered[i] {
				unanswered[i] = true
			}
		}
		err = errors.Join(err, oerr)
		clear(asked)
		for i, s := range found {
			if from, sourced := originOf(s.Header); sourced {
				asked[i] = from
			} else {
				times[i] = s.StoredAt
			}
		}
	}
	return times, unanswered, err
}

// origins reads the messages by direct get, all at once. One that isn't there is answered
// and missing in found. The error is why one isn't answered.
func (b *Broker) origins(ctx context.Context, asked map[int]origin) (found map[int]bus.Stored, answered map[int]bool, err error) {
	found, answered = make(map[int]bus.Stored, len(asked)), make(map[int]bool, len(asked))
	ctx, cancel := context.WithTimeoutCause(ctx, originTimeout, nats.ErrTimeout)
	defer cancel()
	denied := make(chan error, len(asked))
	defer b.denials.watch(b.denials.ofAPI("DIRECT.GET."), offer(denied))()
	inbox := b.nc.NewInbox() + "."
	answers := make(chan *nats.Msg, len(asked))
	sub, err := b.nc.ChanSubscribe(inbox+"*", answers)
	if err != nil {
		return found, answered, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	var stream string
	for i, o := range asked {
		stream = o.stream
		if err := b.nc.PublishRequest(b.names.api+"DIRECT.GET."+o.stream, inbox+strconv.Itoa(i), fmt.Appendf(nil, `{"seq":%d}`, o.seq)); err != nil {
			return found, answered, err
		}
	}
	for open := len(asked); open > 0; {
		select {
		case m := <-answers:
			i, aerr := strconv.Atoi(strings.TrimPrefix(m.Subject, inbox))
			if aerr != nil {
				continue // not an answer to any of the questions
			}
			open--
			var one []bus.Stored
			if _, rerr := readEvent(m, false, &one); rerr != nil {
				err = explain(b.cfg.Names, "stream "+asked[i].stream, rerr)
				continue
			}
			answered[i] = true
			if len(one) > 0 {
				found[i] = one[0]
			}
		case err = <-denied: // one for each question, or one for the answers to all
			open--
		case <-ctx.Done():
			if err == nil {
				err = explain(b.cfg.Names, "stream "+stream, context.Cause(ctx))
			}
			return found, answered, err
		}
	}
	return found, answered, err
}

// originFault logs that origins can't be read, once for each error, and that they can be
// again.
func (b *Broker) originFault(stop context.Context, err error) {
	if stop.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) {
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if was := b.originLogged.Swap(&text); was != nil && *was == text || was == nil && text == "" {
		return
	}
	if text == "" {
		b.log.Info("origins of sourced commands can be read again")
		return
	}
	b.log.Error("origins of sourced commands can't be read; deferring these commands", "error", text)
}
