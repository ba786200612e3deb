// Package broker speaks to NATS JetStream: it creates the streams, pulls
// commands, settles them, publishes events and dead letters, and shows the dead
// letters to operators. It is the only package besides conversation that knows
// messages of the bus; the others see the plain types of package bus.
package broker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/internal/telemetry"
)

const (
	// apiTimeout bounds one request to JetStream's API.
	apiTimeout = 5 * time.Second
	// dialTimeout bounds each attempt to reach one server, and firstDialTimeout that of
	// a program that makes only one.
	dialTimeout, firstDialTimeout = 2 * time.Second, 5 * time.Second
	// pingEvery and maxPings say when a connection that has fallen silent is
	// given up for another server: 6 to 9 s after a network drops what is sent, and
	// so before an AckWait of 30 s is over. The client's own 2 minutes would leave
	// the worker on it for 4 to 6.
	pingEvery = 3 * time.Second
	maxPings  = 2
	// flushTimeout bounds the last flush where the context has no deadline.
	flushTimeout = 2 * time.Second
	// maxUnacked is how many publishes may wait for the server over all calls of
	// Publish; each call sends waveMessages at a time.
	maxUnacked = 1 << 16
)

// gate keeps the worker from pulling new commands; *handler.Gate satisfies it.
type gate interface {
	// Close notes that reason keeps the worker from working, and why. It reports
	// whether the reason is new.
	Close(reason, text string) bool
	// Open takes reason back. It reports whether it was noted.
	Open(reason string) bool
	// Wait returns nil when the gate is open, or the context's error.
	Wait(ctx context.Context) error
}

// Broker is a connection to NATS. Its methods are safe for concurrent use.
type Broker struct {
	cfg     Config
	names   names
	gate    gate
	metrics *telemetry.Metrics
	log     *slog.Logger

	nc        *nats.Conn
	js        jetstream.JetStream
	link      *link
	denials   *denials
	inFlight  *inFlight
	heartbeat *heartbeat
	acks      *ackWatch
	lineage   lineage
	seen      watched
	// originLogged is the error about origins that was logged last; nil for none.
	originLogged atomic.Pointer[string]

	running atomic.Bool
	closing atomic.Bool
	once    sync.Once
}

// Connect connects to NATS and keeps connected until Close, also if no server
// can be reached yet: then the gate is closed, with the reason, until one can,
// and each call waits for it as long as its context allows. The error is one of
// the configuration: an address, a file, a number.
func Connect(ctx context.Context, cfg Config) (*Broker, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := newBroker(cfg)
	if err != nil {
		return nil, err
	}
	nc, err := b.cfg.dial(b.options()...)
	if err != nil {
		return nil, err
	}
	b.nc = nc
	b.js, err = b.cfg.jetStream(nc,
		jetstream.WithDefaultTimeout(apiTimeout),
		jetstream.WithPublishAsyncMaxPending(maxUnacked),
		jetstream.WithPublishAsyncTimeout(2*publishTimeout)) // forgets what nobody waits for any more
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	b.link.observe(nc, nil)
	return b, nil
}

// jetStream is the JetStream of the domain.
func (c Config) jetStream(nc *nats.Conn, opts ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	if c.Domain == "" {
		return jetstream.New(nc, opts...)
	}
	return jetstream.NewWithDomain(nc, c.Domain, opts...)
}

func newBroker(cfg Config) (*Broker, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, names: namesOf(cfg.Names, cfg.Domain), gate: cfg.Gate, metrics: cfg.Metrics, log: cfg.Log, seen: watched{every: inspectEvery, states: map[string][]PropertyState{}}}
	b.link = newLink(cfg)
	b.denials = newDenials(cfg)
	b.inFlight = newInFlight(cfg)
	b.heartbeat = newHeartbeat(cfg.AckWait, b.extendAll)
	b.acks = &ackWatch{gate: cfg.Gate}
	return b, nil
}

// Close flushes what is on its way, for at most some seconds, and closes the
// connection. What is still in flight is redelivered once its AckWait is over.
// A second call does nothing.
func (b *Broker) Close() error {
	var err error
	b.once.Do(func() {
		b.closing.Store(true)
		b.heartbeat.stop()
		if b.nc.IsConnected() {
			if err = b.nc.FlushTimeout(flushTimeout); err != nil {
				err = fmt.Errorf("flush to NATS: %w", err)
			}
		}
		b.nc.Close()
		b.acks.stop()
	})
	return err
}

// OldestInFlight returns how long the oldest delivery has been in flight, 0 for none.
func (b *Broker) OldestInFlight() time.Duration { return b.inFlight.oldest() }

// connected waits for the connection.
func (b *Broker) connected(ctx context.Context) error {
	if b.nc.IsConnected() {
		return nil
	}
	return b.link.await(ctx, b.nc)
}

// flush waits until the server has read all that was sent.
func (b *Broker) flush(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, flushTimeout)
		defer cancel()
	}
	if err := b.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush to NATS: %w", err)
	}
	return nil
}
