package broker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func TestMain(m *testing.M) { localtest.WaitingMain(m) }

// timeout bounds every wait of a test; none is expected to come near.
const timeout = 20 * time.Second

// fakeGate is a gate that tells what is done to it.
type fakeGate struct {
	mu      sync.Mutex
	reasons map[string]string
	changed chan struct{}
}

func newGate() *fakeGate {
	return &fakeGate{reasons: map[string]string{}, changed: make(chan struct{})}
}

func (g *fakeGate) note(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *fakeGate) Close(cause, reason string) (added bool) {
	g.note(func() { _, known := g.reasons[cause]; g.reasons[cause] = reason; added = !known })
	return added
}

func (g *fakeGate) Open(cause string) (removed bool) {
	g.note(func() { _, removed = g.reasons[cause]; delete(g.reasons, cause) })
	return removed
}

func (g *fakeGate) Wait(ctx context.Context) error {
	return g.until(ctx, func(reasons map[string]string) bool { return len(reasons) == 0 })
}

// until waits until the causes are as asked for.
func (g *fakeGate) until(ctx context.Context, ok func(reasons map[string]string) bool) error {
	for {
		g.mu.Lock()
		changed, is := g.changed, ok(g.reasons)
		g.mu.Unlock()
		if is {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// closedFor waits until the gate is closed for cause with a reason that has all
// parts.
func (g *fakeGate) closedFor(t *testing.T, cause string, parts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	err := g.until(ctx, func(reasons map[string]string) bool {
		reason, closed := reasons[cause]
		for _, part := range parts {
			closed = closed && strings.Contains(reason, part)
		}
		return closed
	})
	if err != nil {
		t.Fatalf("gate = %v; want it closed for %s with %q", g.reasons, cause, parts)
	}
}

func (g *fakeGate) opened(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if err := g.Wait(ctx); err != nil {
		t.Fatalf("gate = %v; want it open", g.reasons)
	}
}

// connect connects a broker that is closed after the test.
func connect(t *testing.T, cfg Config) *Broker {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b, err := Connect(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// ready connects a broker to a server of its own with all streams.
func ready(t *testing.T, cfg Config, opts ...localstack.NATSOptions) (*Broker, *localstack.NATS) {
	t.Helper()
	n := localtest.NATS(t, opts...)
	cfg.URL = n.URL()
	b := connect(t, cfg)
	setup(t, b, SetupOptions{})
	return b, n
}

func setup(t *testing.T, b *Broker, o SetupOptions) SetupReport {
	t.Helper()
	report, err := b.Setup(t.Context(), o)
	if err != nil {
		t.Fatalf("Setup: %v", err)
	}
	return report
}

// admin is a second connection, with all rights.
func admin(t *testing.T, n *localstack.NATS, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	return administer(t, n.URL(), opts...)
}

// administer is admin at a server's address.
func administer(t *testing.T, url string, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, append(opts, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// send publishes n commands and returns their sequences.
func send(t *testing.T, js jetstream.JetStream, n int) []uint64 {
	t.Helper()
	seqs := make([]uint64, n)
	for i := range n {
		ack, err := js.Publish(t.Context(), conversation.CommandSubject("demo"), fmt.Appendf(nil, "command %d", i))
		if err != nil {
			t.Fatal(err)
		}
		seqs[i] = ack.Sequence
	}
	return seqs
}

// delivered is one call of a worker's handle.
type delivered struct {
	bus.Delivery
	bus.Slot
}

// worker is a broker whose Run passes all deliveries on.
type worker struct {
	t     *testing.T
	b     *Broker
	in    chan delivered
	stop  context.CancelFunc
	ended chan error
}

// start runs the broker until the test ends, and closes it then.
func start(t *testing.T, b *Broker) *worker {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w := &worker{t: t, b: b, in: make(chan delivered, 1<<16), stop: stop, ended: make(chan error, 1)}
	go func() {
		w.ended <- b.Run(ctx, func(d bus.Delivery, p bus.Slot) { w.in <- delivered{d, p} })
		close(w.ended)
	}()
	t.Cleanup(func() { // not end, which takes a second
		stop()
		_ = b.Close()
		for range w.ended { // until it is closed
		}
	})
	return w
}

// end stops the pulling and waits for its end. A second call does nothing.
func (w *worker) end() {
	w.t.Helper()
	w.stop()
	if err := <-w.ended; err != nil {
		w.t.Errorf("Run = %v; want nil", err)
	}
}

// next returns the next delivery.
func (w *worker) next() delivered {
	w.t.Helper()
	select {
	case d := <-w.in:
		return d
	case <-time.After(timeout):
		w.t.Fatal("no delivery")
		panic("unreachable")
	}
}

// take returns the next n deliveries.
func (w *worker) take(n int) []delivered {
	w.t.Helper()
	all := make([]delivered, n)
	for i := range all {
		all[i] = w.next()
	}
	return all
}

func done() bus.Outcome { return bus.Outcome{Verdict: bus.Done} }

// eventually waits until ok, which asks a server, says yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(timeout)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// stays checks, for some time, that ok goes on saying yes.
func stays(t *testing.T, what string, d time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	over := time.After(d)
	for {
		if !ok() {
			t.Fatalf("not any more: %s", what)
		}
		select {
		case <-tick.C:
		case <-over:
			return
		}
	}
}

// users configures a server with the user "admin", who may do all, and "worker".
func users(worker *server.Permissions) localstack.NATSOptions {
	return localstack.NATSOptions{Configure: func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "admin"},
			{Username: "worker", Password: "worker", Permissions: worker},
		}
	}}
}

var asAdmin = nats.UserInfo("admin", "admin")

// as puts user and password into a server's address.
func as(n *localstack.NATS, user string) string {
	return strings.Replace(n.URL(), "nats://", "nats://"+user+":"+user+"@", 1)
}

// value is a counter's or a gauge's.
func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

// idle reports whether no command is unfinished.
func idle(t *testing.T, b *Broker) bool {
	t.Helper()
	found, err := b.Backlog(t.Context())
	return err == nil && found.Waiting == 0 && found.InFlight == 0 && found.Stuck == 0
}
