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
	"github.com/lethe-im/lethe/internal/natserr"
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
// [purge.Fault]: Infrastructure for all that the server or the connection
// is to blame for, with a text that says what to do; Stopping if ctx was
// canceled; Command for an announcement that can't be written. A failure whose app
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

// Progress publishes how far a long deletion has come, for whoever listens now. It
// never waits, and drops what can't be sent.
func (b *Broker) Progress(d conversation.Deleting, trace conversation.Trace) {
	if !b.nc.IsConnected() {
		return
	}
	msg, err := d.Msg(trace)
	if err == nil {
		msg.Subject = b.names.Subject(msg.Subject)
		err = b.nc.PublishMsg(msg)
	}
	if err != nil {
		b.log.Debug("progress not published", traced(trace.ID(), "command", d.CommandID, "conversation", d.ConversationID, "error", err)...)
	}
}

// traced adds the id of a command's trace, if it has one, to the attributes of a log line.
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
	stream := b.names.events
	switch {
	case a.Deleted != nil:
		msg, err = a.Deleted.Msg(a.Trace)
	case a.Erased != nil:
		msg, err = a.Erased.Msg(a.Trace)
	case a.AllDeleted != nil:
		msg, err = a.AllDeleted.Msg(a.Trace)
	case a.Failed != nil:
		msg, err = a.Failed.Msg(a.Sequence, a.Trace)
	case a.Letter != nil:
		stream = b.names.letters
		msg, err = letterMsg(b.cfg.Names, a.Letter, b.nc.MaxPayload())
	default:
		panic("BUG: an announcement without content")
	}
	if err != nil {
		return stored{}, err
	}
	msg.Subject = b.names.Subject(msg.Subject)
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
		return publishFault(caller, b.cfg.Names, wave[0], fmt.Errorf("%w: %w", nats.ErrDisconnected, err))
	}
	at, err := b.storeAll(ctx, wave)
	if err == nil {
		return nil
	}
	var d *natserr.Denial
	if errors.As(err, &d) && b.denials.ofInbox(d) {
		b.js.CleanupPublisher() // the next wave subscribes anew, and may be allowed to
	}
	if errors.Is(err, nats.ErrTimeout) && !b.nc.IsConnected() {
		err = fmt.Errorf("%w: %w", nats.ErrDisconnected, err)
	}
	return publishFault(caller, b.cfg.Names, wave[at], err)
}

func publishFault(caller context.Context, n conversation.Names, m stored, err error) error {
	return faultOf(caller, n, m.stream, "publish on "+m.msg.Subject, err)
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
		if err := b.confirmed(ctx, f, wave[i].stream); err != nil {
			return i, err
		}
	}
	return 0, nil
}

// confirmed waits until the message is stored in the stream that it is for. A command
// may be stored in any commands' stream: the operator may have mapped its subject.
func (b *Broker) confirmed(ctx context.Context, f jetstream.PubAckFuture, stream string) error {
	select {
	case ack := <-f.Ok():
		if ack.Stream != stream && !(b.names.IsCommandsStream(stream) && b.names.IsCommandsStream(ack.Stream)) {
			return fmt.Errorf("%w: %s", errWrongStream, ack.Stream)
		}
		return nil
	case err := <-f.Err():
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ofWave matches the subjects of a wave, and those that answers come on.
func (d *denials) ofWave(wave []stored) func(*natserr.Denial) bool {
	return func(found *natserr.Denial) bool {
		if d.ofInbox(found) {
			return true
		}
		for i := range wave {
			if found.Operation == natserr.Publish && wave[i].msg.Subject == found.Subject {
				return true
			}
		}
		return false
	}
}
