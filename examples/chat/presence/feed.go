package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// heartbeat is how often the server shows that the consumer lives. Two that
	// are missed end a try.
	heartbeat = time.Second
	// pullExpiry is how long one pull request waits on the server.
	pullExpiry = 30 * time.Second
	// orphanAge is when the server removes the consumer of an instance that died.
	orphanAge = 30 * time.Second
	// retryPause is between two tries.
	retryPause = 250 * time.Millisecond
)

// feed reads the events of an app in the stream's order with one ephemeral
// consumer, and hands them to the hub. The consumer is nothing to rely on: it
// lives in the memory of one server. The hub knows how far it is, so that with
// any doubt the feed makes another consumer that begins just there.
type feed struct {
	app     string
	nc      *nats.Conn
	js      jetstream.JetStream
	hub     *hub
	told    *audiences
	log     *slog.Logger
	timeout time.Duration
	beat    time.Duration // between two looks at a consumer that is silent

	begun      chan struct{} // closed when the stream's end was reached once
	reconnects uint64        // of the connection, when it was last in order
}

func newFeed(cfg Config, h *hub, told *audiences) (*feed, error) {
	js, err := jetstream.New(cfg.NATS)
	if err != nil {
		return nil, fmt.Errorf("presence: %w", err)
	}
	log := cfg.Log.With("stream", conversation.EventsStream)
	return &feed{app: cfg.App, nc: cfg.NATS, js: js, hub: h, told: told, log: log, timeout: cfg.Timeout, beat: cfg.Beat, begun: make(chan struct{})}, nil
}

// run follows the stream until ctx ends. When it can't for long, devices are sent
// away: another instance may be better off.
func (f *feed) run(ctx context.Context) {
	for {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		level := slog.LevelDebug // of a try in a row of them
		if f.hub.suspend(err.Error(), f.timeout) {
			level = slog.LevelWarn
		}
		f.log.Log(ctx, level, "events don't come in: following again", "error", err)
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return
		}
	}
}

// errGap says that the consumer delivered a message that we didn't get.
var errGap = errors.New("a delivery is missing")

// follow reads from where the hub is until something is wrong.
func (f *feed) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer f.watch(cancel)()
	stream, err := f.js.Stream(ctx, conversation.EventsStream)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	info := stream.CachedInfo()
	start := f.hub.align(info.Created, info.State)
	consumer, err := stream.CreateConsumer(ctx, f.config(start))
	if err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	defer f.remove(ctx, stream, consumer)
	return f.read(ctx, consumer)
}

// watch ends a try when the connection is lost: what the server sent on it
// meanwhile is lost as well. It returns the function that ends the watch.
func (f *feed) watch(cancel context.CancelCauseFunc) func() {
	status := f.nc.StatusChanged(nats.RECONNECTING, nats.CONNECTED, nats.CLOSED)
	go func() {
		for s := range status {
			cancel(fmt.Errorf("the connection to NATS is %s", s))
		}
	}()
	return func() { f.nc.RemoveStatusListener(status) }
}

// config is the consumer's. It acknowledges nothing, since the hub's position is
// all there is to remember.
func (f *feed) config(start uint64) jetstream.ConsumerConfig {
	host, _ := os.Hostname() // for people only
	app := conversation.EscapeToken(f.app)
	return jetstream.ConsumerConfig{
		Description:       "presence on " + host,
		FilterSubject:     "conversation.*." + app + ".*", // one, so that the request's subject shows it to permissions
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       start,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: orphanAge,
		MemoryStorage:     true,
		Replicas:          1,
	}
}

// remove spares the server the wait for orphanAge.
func (f *feed) remove(ctx context.Context, stream jetstream.Stream, c jetstream.Consumer) {
	if !f.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = stream.DeleteConsumer(ctx, c.CachedInfo().Name) // it may have gone
}

// read hands on what the consumer delivers. Its deliveries are numbered one by
// one, unlike the stream's sequences, of which other apps have theirs: a number
// that is left out is a message that was lost on the way.
func (f *feed) read(ctx context.Context, c jetstream.Consumer) error {
	it, err := c.Messages(jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	defer it.Stop()
	if c.CachedInfo().NumPending == 0 {
		f.caughtUp(ctx)
	}
	for number := uint64(1); ; number++ {
		msg, err := f.next(ctx, c, it, number)
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != number {
			return fmt.Errorf("%w: got number %d, expected %d", errGap, meta.Sequence.Consumer, number)
		}
		f.pass(ctx, msg, meta.Sequence.Stream)
		if meta.NumPending == 0 {
			f.caughtUp(ctx)
		}
	}
}

// next waits for the delivery with a number. Where none comes for a while it asks
// the server whether one should have: the last one before a silence leaves no gap.
func (f *feed) next(ctx context.Context, c jetstream.Consumer, it jetstream.MessagesContext, number uint64) (jetstream.Msg, error) {
	for {
		limited, cancel := context.WithTimeout(ctx, f.beat)
		msg, err := it.Next(jetstream.NextContext(limited))
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err == nil || !errors.Is(err, context.DeadlineExceeded):
			return msg, err
		}
		info, err := c.Info(ctx)
		if err != nil {
			return nil, fmt.Errorf("consumer: %w", err)
		}
		if n := info.Delivered.Consumer; n >= number {
			return nil, fmt.Errorf("%w: the server has sent number %d, expected %d", errGap, n, number)
		}
	}
}

// pass hands one message to the hub.
func (f *feed) pass(ctx context.Context, msg jetstream.Msg, seq uint64) {
	e, err := conversation.ParseEvent(msg.Subject(), msg.Headers(), msg.Data())
	if errors.Is(err, conversation.ErrUnknownType) {
		return // of newer workers
	}
	var ev event
	if err == nil {
		e.Sequence = seq
		ev, err = newEvent(e)
	}
	if err != nil {
		f.log.WarnContext(ctx, "event skipped", "sequence", seq, "subject", msg.Subject(), "error", err)
		return
	}
	f.hub.deliver(f.told.address(ev))
}

// caughtUp is called when all that the consumer has has been handed on.
func (f *feed) caughtUp(ctx context.Context) {
	if !f.hub.resume() {
		return // it was in order before
	}
	select {
	case <-f.begun:
		f.log.InfoContext(ctx, "in order again")
	default:
		close(f.begun)
	}
	if n := f.nc.Stats().Reconnects; n != f.reconnects {
		f.reconnects = n
		f.hub.reload() // what no stream keeps was missed
	}
}
