package broker

import (
	"container/list"
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/lethe-im/lethe/internal/bus"
)

// slot is a delivery in flight; see [bus.Slot].
type slot struct {
	b          *Broker
	reply      string // where it is settled
	subject    string
	sequence   uint64
	deliveries uint64
	size       int       // bytes
	stored     time.Time // when the stream stored the command
	taken      time.Time
	generation uint64 // of the consumer

	element *list.Element // guarded by hand.mu
	left    bool          // guarded by hand.mu

	mu      sync.Mutex // guards over; held while anything is sent on reply
	over    bool       // settled: no sign of life may follow
	verdict bus.Verdict
}

// Leave implements [bus.Slot].
func (p *slot) Leave() { p.b.hand.leave(p) }

// Settle implements [bus.Slot]. It doesn't wait for the server: an
// acknowledgement that gets lost costs a redelivery, which the ledger answers.
// It panics for an invalid verdict and for a second call.
func (p *slot) Settle(o bus.Outcome) {
	answer := settlement(o)
	err := p.end(o.Verdict, answer)
	p.b.hand.settled(p)
	p.b.metrics.Commands.WithLabelValues(o.Verdict.String()).Inc()
	if o.Verdict != bus.Retry {
		p.b.metrics.CommandSeconds.Observe(age(p.stored, time.Now()))
	}
	if err != nil {
		p.b.metrics.SettleErrors.Inc()
		p.b.log.Warn("command not settled; it will be redelivered", traced(o.TraceID,
			"sequence", p.sequence, "subject", p.subject, "verdict", o.Verdict.String(), "error", err)...)
		return
	}
	p.logOutcome(o)
}

// age is how long before now stored was, in seconds. The clocks are two
// machines' and may disagree: it is never negative.
func age(stored, now time.Time) float64 { return max(0, now.Sub(stored).Seconds()) }

// settlement is the one place where a verdict becomes an answer to the stream.
// A plain Nak ignores any back-off; so a Retry names its delay.
func settlement(o bus.Outcome) []byte {
	switch o.Verdict {
	case bus.Done:
		return []byte("+ACK")
	case bus.Retry:
		if o.Delay <= 0 {
			return []byte("-NAK")
		}
		return append(strconv.AppendInt([]byte(`-NAK {"delay": `), o.Delay.Nanoseconds(), 10), '}')
	case bus.Reject:
		return append([]byte("+TERM "), o.Reason...)
	}
	panic("BUG: a delivery is settled with the verdict " + o.Verdict.String())
}

// end sends the last word about the delivery.
func (p *slot) end(v bus.Verdict, answer []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		panic("BUG: a delivery is settled twice: " + p.verdict.String() + ", then " + v.String())
	}
	p.over, p.verdict = true, v
	if err := p.b.lineage.gone(p.generation); err != nil {
		return err
	}
	return p.b.nc.Publish(p.reply, answer)
}

// beat tells the stream that the delivery is being worked on. After the last
// word it is silent: it would turn a delay into a whole AckWait.
func (p *slot) beat() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.b.lineage.gone(p.generation) != nil {
		return nil
	}
	return p.b.nc.Publish(p.reply, []byte("+WPI"))
}

func (p *slot) logOutcome(o bus.Outcome) {
	ctx := context.Background()
	if !p.b.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("verdict", o.Verdict.String()),
		slog.String("subject", p.subject),
		slog.Uint64("sequence", p.sequence),
		slog.Uint64("deliveries", p.deliveries),
		slog.Duration("in_flight", time.Since(p.taken)),
	}
	switch o.Verdict {
	case bus.Retry:
		attrs = append(attrs, slog.Duration("delay", o.Delay))
	case bus.Reject:
		attrs = append(attrs, slog.String("reason", string(o.Reason)))
	default:
	}
	if o.TraceID != "" {
		attrs = append(attrs, slog.String("trace_id", o.TraceID))
	}
	p.b.log.LogAttrs(ctx, slog.LevelDebug, "command settled", attrs...)
}
