package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// siege is an attempt of one user of the app demo to use something up. It goes on
// until its context ends.
type siege struct {
	name     string
	attacker lockedUser
	try      func(context.Context, *attack) error
}

// attack is a siege that goes on.
type attack struct {
	t   testing.TB
	b   *battle
	who lockedUser
	nc  *nats.Conn
	js  jetstream.JetStream
	// taking says that the server hasn't refused anything yet.
	taking atomic.Bool
}

// sieges are what a tenant may try to use up, and how much of it it gets at most.
var sieges = []siege{
	{"consumers", presenceUser, func(ctx context.Context, a *attack) error {
		return a.take(ctx, 100, func(ctx context.Context, _ int) error {
			_, err := a.js.CreateConsumer(ctx, conversation.EventsStream, jetstream.ConsumerConfig{
				FilterSubject: "conversation.*.demo.*", AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Hour,
			})
			return err
		})
	}},
	{"streams", ownerUser, func(ctx context.Context, a *attack) error {
		return a.take(ctx, 0, func(ctx context.Context, i int) error {
			_, err := a.js.CreateStream(ctx, jetstream.StreamConfig{Name: fmt.Sprint("s", i), Subjects: []string{fmt.Sprint("s.", i)}})
			return err
		})
	}},
	{"disk", ownerUser, func(ctx context.Context, a *attack) error {
		return a.take(ctx, 0, func(ctx context.Context, _ int) error {
			_, err := a.js.UpdateStream(ctx, a.ownStream(ctx, func(c *jetstream.StreamConfig) { c.MaxBytes = 2 << 30 }))
			return err
		})
	}},
	{"memory for streams", ownerUser, func(ctx context.Context, a *attack) error {
		return a.take(ctx, 0, func(ctx context.Context, _ int) error {
			must(a.t, a.js.DeleteStream(ctx, conversation.EventsStream))
			defer a.b.setupApp(a.t, "demo")
			_, err := a.js.CreateStream(ctx, jetstream.StreamConfig{Name: "s", Storage: jetstream.MemoryStorage, MaxBytes: 1 << 20})
			return err
		})
	}},
	{"connections", gatewayUser, func(ctx context.Context, a *attack) error {
		return a.take(ctx, 20, func(context.Context, int) error {
			nc, err := a.b.nats.Connect(nats.UserInfo(a.who.name, a.who.password), nats.NoReconnect())
			if err == nil {
				a.t.Cleanup(nc.Close)
			}
			return err
		})
	}},
	{"subscriptions", gatewayUser, func(ctx context.Context, a *attack) error {
		c := make(chan *nats.Msg)
		return a.take(ctx, 2000, func(_ context.Context, i int) error {
			if _, err := a.nc.ChanSubscribe(fmt.Sprintf("_INBOX_gateway-demo.%d", i), c); err != nil {
				return err
			}
			if err := a.nc.Flush(); err != nil {
				return err
			}
			return a.nc.LastError()
		})
	}},
	{"requests to JetStream", presenceUser, flood(&nats.Msg{Subject: "$JS.API.STREAM.INFO.CONVERSATION_EVENTS", Reply: "_INBOX_presence-demo.x"})},
	{"direct gets", presenceUser, flood(&nats.Msg{Subject: "$JS.API.DIRECT.GET.CONVERSATION_EVENTS", Reply: "_INBOX_presence-demo.x", Data: []byte(`{"seq":99999999}`)})},
	{"requests that nobody answers", ownerUser, flood(&nats.Msg{Subject: "$JS.FC.CONVERSATION_EVENTS.demo.x", Reply: "_INBOX_owner-demo.x"})},
	{"commands that only leave a trace", gatewayUser, flood(&nats.Msg{
		Subject: "conversation.delete.demo", Reply: "_INBOX_gateway-demo.x",
		Header: nats.Header{"Nats-Trace-Dest": {"chat.message.demo.x"}, "Nats-Trace-Only": {"true"}},
	})},
	{"resets of the app's consumer", ownerUser, flood(&nats.Msg{Subject: "lethe.api.CONSUMER.RESET.CONVERSATION_EVENTS.demo", Reply: "_INBOX_owner-demo.x", Data: []byte(`{"seq":1}`)})},
	{"clients that don't read", gatewayUser, func(ctx context.Context, a *attack) error {
		for range 15 { // of 20 that the app may have
			subscribeAndSleep(a.t, a.b.nats.URL(), presenceUser, "chat.message.demo.*")
		}
		return flood(&nats.Msg{Subject: "chat.message.demo.alice", Data: make([]byte, 1<<20)})(ctx, a)
	}},
	{"commands", gatewayUser, func(ctx context.Context, a *attack) error {
		for i := 0; ctx.Err() == nil; i++ {
			_ = a.nc.Publish("conversation.delete.demo", encode(a.t, chat{"demo", fmt.Sprint("user", i), "c"}.ask()))
		}
		return nil
	}},
	{"dead letters", gatewayUser, flood(&nats.Msg{Subject: "conversation.delete.demo", Reply: "_INBOX_gateway-demo.x", Data: slices.Repeat([]byte("garbage "), 64<<10/8)})},
}

// take does something until it fails or has succeeded more often than it may, if that takes longer than the siege, too.
func (a *attack) take(ctx context.Context, most int, one func(ctx context.Context, i int) error) error {
	a.taking.Store(true)
	defer a.taking.Store(false)
	long, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	for i := range most + 1 {
		if err := one(long, i); err != nil {
			a.t.Logf("refused after %d: %v", i, err)
			a.taking.Store(false)
			<-ctx.Done()
			return nil
		}
	}
	return fmt.Errorf("got %d; want at most %d", most+1, most)
}

// flood publishes as fast as it can.
func flood(m *nats.Msg) func(context.Context, *attack) error {
	return func(ctx context.Context, a *attack) error {
		for ctx.Err() == nil {
			_ = a.nc.PublishMsg(m) // a refusal is what is wanted
		}
		return nil
	}
}

func (a *attack) ownStream(ctx context.Context, change func(*jetstream.StreamConfig)) jetstream.StreamConfig {
	s, err := a.js.Stream(ctx, conversation.EventsStream)
	must(a.t, err)
	config := s.CachedInfo().Config
	change(&config)
	return config
}

// subscribeAndSleep is a client that never reads what it has subscribed to.
func subscribeAndSleep(t testing.TB, url string, u lockedUser, subject string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "nats://"))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the server may have cut it
	_, err = fmt.Fprintf(conn, "CONNECT {\"user\":%q,\"pass\":%q,\"verbose\":false}\r\nSUB %s 1\r\nPING\r\n", u.name, u.password, subject)
	must(t, err)
	in := bufio.NewReader(conn)
	for line := ""; line != "PONG\r\n"; {
		line, err = in.ReadString('\n')
		must(t, err)
	}
}

const (
	siegeLasts = time.Second / 2
	// siegeDelay is how long a deletion of another app may take meanwhile: on a busy
	// machine with two processors, which the attacker has too.
	siegeDelay = 5 * time.Second
	// siegeMemory is how many bytes may wait for an app's clients meanwhile: its
	// max_connections of 20 times max_pending of 20 MB.
	siegeMemory = 20 * 20_000_000
)

// Whatever one app uses up, another one's commands are taken, its deletions done
// and its events told, as before.
func TestOneAppCantUseUpWhatOthersNeed(t *testing.T) {
	t.Parallel()
	b := newBattle(t, accountEach)
	b.bound(t)
	b.start(t)
	v := newVictim(t, b)
	t.Logf("a deletion in peace: %v", v.delete(t))
	for _, s := range sieges { //nolint:paralleltest // each has the server for itself, beside the victim
		t.Run(s.name, func(t *testing.T) {
			line := &hangUp{}
			a := &attack{t: t, b: b, who: s.attacker, nc: s.attacker.connect(t, b.nats, nats.NoReconnect(), nats.SetCustomDialer(line))}
			var err error
			a.js, err = jetstream.New(a.nc, jetstream.WithDefaultTimeout(5*time.Second))
			must(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), siegeLasts)
			defer cancel()
			var failed error
			var going sync.WaitGroup
			going.Go(func() { failed = s.try(ctx, a) })
			longest, most, n := time.Duration(0), int64(0), 0
			for ; ctx.Err() == nil || a.taking.Load(); n++ {
				longest, most = max(longest, v.delete(t)), max(most, b.waiting(t))
			}
			line.close() // the server may be slow to read what is left
			going.Wait()
			must(t, failed)
			t.Logf("%d deletions of the other app, the longest %v; at most %d MB waited for clients", n, longest, most/1e6)
			if longest > siegeDelay || most > siegeMemory {
				t.Errorf("a deletion of another app took %v, and %d MB waited for clients; want at most %v and %d MB", longest, most/1e6, siegeDelay, siegeMemory/1_000_000)
			}
			began := time.Now()
			v.wantRoom(t)
			t.Logf("room for the other app after %v", time.Since(began))
		})
	}
	lethe, err := b.nats.Server().LookupAccount("LETHE")
	must(t, err)
	eventually(t, 20*time.Second, "the server has forgotten what it will never answer", func() bool { return lethe.NumPendingAllResponses() < 10 })
}

// hangUp dials one connection, which close ends whatever is being written to it.
type hangUp struct{ conn net.Conn }

// Dial implements nats.CustomDialer.
func (h *hangUp) Dial(network, address string) (_ net.Conn, err error) {
	h.conn, err = net.DialTimeout(network, address, 5*time.Second) //nolint:noctx // the interface has none
	return h.conn, err
}

func (h *hangUp) close() { _ = h.conn.Close() } // the server may have been first

// waiting is how many bytes the server keeps for connections that don't read.
func (b *battle) waiting(t testing.TB) int64 {
	t.Helper()
	all, err := b.nats.Server().Connz(&server.ConnzOptions{Limit: 10_000})
	must(t, err)
	n := int64(0)
	for _, c := range all.Conns {
		n += int64(c.Pending)
	}
	return n
}

// bound gives the streams limits that are reached within seconds. What setup gives
// them takes longer.
func (b *battle) bound(t testing.TB) {
	t.Helper()
	for name, change := range map[string]func(*jetstream.StreamConfig){
		conversation.CommandsStream:    func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject, c.DiscardNewPerSubject = 200, true },
		conversation.DeadLettersStream: func(c *jetstream.StreamConfig) { c.MaxBytes = 8 << 20 },
	} {
		s, err := b.js.Stream(t.Context(), name)
		must(t, err)
		config := s.CachedInfo().Config
		change(&config)
		_, err = b.js.UpdateStream(t.Context(), config)
		must(t, err)
	}
}

// victim is the app other: its gateway, and its presence service, which follows
// one user.
type victim struct {
	b       *battle
	gateway *conversation.Client
	js      jetstream.JetStream // its presence service's
	feed    *conversation.Feed
	n       int
}

func newVictim(t *testing.T, b *battle) *victim {
	t.Helper()
	v := &victim{b: b}
	nc := presenceUser.of("other").connect(t, b.nats)
	var err error
	v.gateway, err = conversation.NewClient(gatewayUser.of("other").connect(t, b.nats), conversation.WithTimeout(timeout))
	must(t, err)
	v.js, err = jetstream.New(nc)
	must(t, err)
	presence, err := conversation.NewClient(nc)
	must(t, err)
	v.feed, err = presence.Follow(t.Context(), "other", "bob")
	must(t, err)
	t.Cleanup(v.feed.Close)
	return v
}

// delete takes a deletion from the command to the event, and returns how long it took.
func (v *victim) delete(t testing.TB) time.Duration {
	t.Helper()
	v.n++
	c := chat{"other", "bob", fmt.Sprint("chat", v.n)}
	v.b.fill(t, c, 3)
	began := time.Now()
	receipt, err := v.gateway.Delete(t.Context(), c.ask())
	if err != nil {
		t.Fatalf("the other app's command isn't taken: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*siegeDelay)
	defer cancel()
	for {
		e, err := v.feed.Next(ctx)
		if err != nil {
			t.Fatalf("the other app's deletion isn't done within %v: %v", 2*siegeDelay, err)
		}
		if e.Deleted != nil && e.CommandID() == receipt.CommandID {
			return time.Since(began)
		}
	}
}

// wantRoom does what takes room on the server: a connection and a consumer.
func (v *victim) wantRoom(t testing.TB) {
	t.Helper()
	nc, err := v.b.nats.Connect(nats.UserInfo("presence-other", "presence"))
	must(t, err)
	defer nc.Close()
	c, err := v.js.CreateConsumer(t.Context(), conversation.EventsStream, jetstream.ConsumerConfig{
		FilterSubject: "conversation.*.other.*", AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true,
	})
	must(t, err)
	must(t, v.js.DeleteConsumer(t.Context(), conversation.EventsStream, c.CachedInfo().Name))
}
