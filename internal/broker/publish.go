package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
)

const (
	// publishTimeout bounds how long a wave may stay unconfirmed.
	publishTimeout = 5 * time.Second
	// waveMessages and waveBytes bound what is on its way at once for one call:
	// a hundred bulk commands may finish together.
	waveMessages = 1024
	waveBytes    = 8 << 20
	// maxSubject is far longer than any subject made from ids, and well below
	// the 4,096 bytes of a line at which the server ends the connection.
	maxSubject = 2048
)

// errNoAddress: an app or user that no valid command can name.
var errNoAddress = errors.New("event without an address")

// stored is a message and the stream that is to store it.
type stored struct {
	msg    *nats.Msg
	stream string
}

// Publish stores all announcements, and returns nil only once each one is
// stored. Otherwise some may be; to call it again with the same announcements
// is safe, since each has the same id every time. The error carries a
// [purge.Fault]: of the infrastructure for all that the server or the connection
// is to blame for, with a text that says what to do; Stopping if ctx was
// canceled; Own for an announcement that can't be written. A failure whose app
// or user is longer than any valid id has no address: it is logged and left out,
// since to refuse it would let a producer stop the worker.
func (b *Broker) Publish(ctx context.Context, as []bus.Announcement) error {
	start := time.Now()
	var wave []stored
	bytes := 0
	for i := range as {
		m, err := b.compose(&as[i])
		if errors.Is(err, errNoAddress) && as[i].Failed != nil {
			b.log.Warn("event left out", traced(as[i].Trace.ID(), "sequence", as[i].Sequence, "error", err)...)
			continue
		}
		if err != nil {
			return err
		}
		if size := m.msg.Size(); len(wave) == waveMessages || len(wave) > 0 && bytes+size > waveBytes {
			if err := b.publishWave(ctx, wave); err != nil {
				return err
			}
			wave, bytes = wave[:0], 0
		}
		wave = append(wave, m)
		bytes += m.msg.Size()
	}
	if len(wave) == 0 {
		return nil
	}
	if err := b.publishWave(ctx, wave); err != nil {
		return err
	}
	b.metrics.PublishSeconds.Observe(time.Since(start).Seconds())
	return nil
}

// Progress tells how far a long deletion has come, to whoever listens now. It
// never waits, and what can't be sent is left out.
func (b *Broker) Progress(d conversation.Deleting, trace conversation.Trace) {
	if !b.nc.IsConnected() {
		return
	}
	msg, err := d.Msg(trace)
	if err == nil {
		err = b.nc.PublishMsg(msg)
	}
	if err != nil {
		b.log.Debug("progress not told", traced(trace.ID(), "command", d.CommandID, "conversation", d.ConversationID, "error", err)...)
	}
}

// traced adds the id of a command's trace, if it has one, to what a log line tells.
func traced(id string, attrs ...any) []any {
	if id == "" {
		return attrs
	}
	return append(attrs, "trace_id", id)
}

// compose builds the message of an announcement.
func (b *Broker) compose(a *bus.Announcement) (stored, error) {
	var msg *nats.Msg
	var err error
	stream := conversation.EventsStream
	switch {
	case a.Deleted != nil:
		msg, err = a.Deleted.Msg(a.Trace)
	case a.Failed != nil:
		msg, err = a.Failed.Msg(a.Sequence, a.Trace)
	case a.Letter != nil:
		stream = conversation.DeadLettersStream
		msg, err = letterMsg(a.Letter, b.nc.MaxPayload())
	default:
		panic("BUG: an announcement without content")
	}
	if err != nil {
		return stored{}, err
	}
	if len(msg.Subject) > maxSubject {
		return stored{}, fmt.Errorf("%w: its subject has %d bytes, of at most %d: %.100s…", errNoAddress, len(msg.Subject), maxSubject, msg.Subject)
	}
	return stored{msg, stream}, nil
}

// publishWave sends all messages and waits until each is stored.
func (b *Broker) publishWave(ctx context.Context, wave []stored) error {
	caller := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, publishTimeout, nats.ErrTimeout)
	defer stop()
	defer b.denials.watch(b.denials.ofWave(wave), cancel)()
	if err := b.connected(ctx); err != nil {
		return b.publishFault(caller, wave[0], fmt.Errorf("%w: %w", nats.ErrDisconnected, err))
	}
	at, err := b.storeAll(ctx, wave)
	if err == nil {
		return nil
	}
	var d *denial
	if errors.As(err, &d) && b.denials.ofInbox(d) {
		b.js.CleanupPublisher() // the next wave subscribes anew, and may be allowed to
	}
	return b.publishFault(caller, wave[at], err)
}

// storeAll returns the index of the message that the error is about.
func (b *Broker) storeAll(ctx context.Context, wave []stored) (int, error) {
	futures := make([]jetstream.PubAckFuture, len(wave))
	for i, m := range wave {
		f, err := b.js.PublishMsgAsync(m.msg)
		if err != nil {
			return i, err
		}
		futures[i] = f
	}
	for i, f := range futures {
		if err := confirmed(ctx, f, wave[i].stream); err != nil {
			return i, err
		}
	}
	return 0, nil
}

// confirmed waits until the message is stored in the stream that it is for.
func confirmed(ctx context.Context, f jetstream.PubAckFuture, stream string) error {
	select {
	case ack := <-f.Ok():
		if ack.Stream != stream {
			return &wrongStreamError{ack.Stream}
		}
		return nil
	case err := <-f.Err():
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ofWave matches the subjects of a wave, and those that answers come on.
func (d *denials) ofWave(wave []stored) func(*denial) bool {
	return func(found *denial) bool {
		if d.ofInbox(found) {
			return true
		}
		for i := range wave {
			if found.operation == "Publish" && wave[i].msg.Subject == found.subject {
				return true
			}
		}
		return false
	}
}

// wrongStreamError: another stream than the contract's took the message.
type wrongStreamError struct{ stream string }

func (e *wrongStreamError) Error() string { return "stream " + e.stream + " took it" }
