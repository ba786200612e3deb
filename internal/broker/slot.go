package broker

import (
	"container/list"
	"context"
	"errors"
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

	element *list.Element // guarded by inFlight.mu
	left    bool          // guarded by inFlight.mu

	mu      sync.Mutex // guards over; held while anything is sent on reply
	over    bool       // settled: no heartbeat may follow
	verdict bus.Verdict
}

// Leave implements [bus.Slot].
func (s *slot) Leave() { s.b.inFlight.leave(s) }

// Settle implements [bus.Slot]. It doesn't wait for the server: an
// acknowledgement that gets lost costs a redelivery, which the ledger answers.
// It panics for an invalid verdict and for a second call.
func (s *slot) Settle(o bus.Outcome) {
	answer := settlement(o)
	err := s.end(o.Verdict, answer)
	s.b.inFlight.settled(s)
	s.b.metrics.Commands.WithLabelValues(o.Verdict.String()).Inc()
	if o.Verdict != bus.Retry {
		s.b.metrics.CommandSeconds.Observe(age(s.stored, time.Now()).Seconds())
	}
	if err != nil {
		s.b.metrics.SettleErrors.Inc()
		s.b.log.Warn("command not settled; it will be redelivered", traced(o.TraceID,
			"sequence", s.sequence, "subject", s.subject, "verdict", o.Verdict.String(), "error", err)...)
		return
	}
	s.logOutcome(o)
}

// age is how long before now stored was. The clocks are two machines' and may
// disagree: it is never negative.
func age(stored, now time.Time) time.Duration { return max(0, now.Sub(stored)) }

// settlement is the one place where a verdict becomes an answer to the stream.
// A plain nak ignores any backoff, so a Retry names its delay.
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

// end sends the final answer for the delivery.
func (s *slot) end(v bus.Verdict, answer []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		panic("BUG: a delivery is settled twice: " + s.verdict.String() + ", then " + v.String())
	}
	s.over, s.verdict = true, v
	if err := s.b.lineage.gone(s.generation); err != nil {
		return err
	}
	return s.b.nc.Publish(s.reply, answer)
}

// extend extends the ack deadline. After the final answer it does nothing: it would turn
// a delay into a whole AckWait.
func (s *slot) extend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.b.lineage.gone(s.generation) != nil {
		return nil
	}
	return s.b.nc.Publish(s.reply, []byte("+WPI"))
}

func (s *slot) logOutcome(o bus.Outcome) {
	ctx := context.Background()
	if !s.b.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("verdict", o.Verdict.String()),
		slog.String("subject", s.subject),
		slog.Uint64("sequence", s.sequence),
		slog.Uint64("deliveries", s.deliveries),
		slog.Duration("in_flight", time.Since(s.taken)),
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
	s.b.log.LogAttrs(ctx, slog.LevelDebug, "command settled", attrs...)
}

// errConsumerGone is why a delivery can't be settled any more.
var errConsumerGone = errors.New("the consumer that delivered it has gone")

// lineage distinguishes what the present consumer has delivered from what one before it
// has. A stream that was deleted and made again counts from 1 again: what a worker
// still has of the old one must not be settled, for it would take a new command
// of the same number off the stream.
type lineage struct {
	mu         sync.Mutex // guards what follows
	generation uint64
	created    time.Time // when the consumer was; zero while that isn't known
	newest     uint64    // its newest delivery here, as it counts them
}

// lost records that the consumer isn't there any more.
func (l *lineage) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next()
}

// found records when the consumer that is there now was created.
func (l *lineage) found(created time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.created.IsZero() && !l.created.Equal(created) {
		l.next()
	}
	l.created = created
}

// delivered records a delivery by its consumer's count and returns its generation.
func (l *lineage) delivered(count uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if count <= l.newest { // another consumer has begun to count
		l.next()
	}
	l.newest = count
	return l.generation
}

// next is called with mu held.
func (l *lineage) next() {
	l.generation++
	l.newest = 0
	l.created = time.Time{}
}

// gone returns errConsumerGone for the generation of a consumer that has gone.
func (l *lineage) gone(generation uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if generation != l.generation {
		return errConsumerGone
	}
	return nil
}
