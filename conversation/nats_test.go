package conversation_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// startServer runs a real server inside the test. change may be nil.
func startServer(t *testing.T, change func(*server.Options)) *server.Server {
	t.Helper()
	opts := &server.Options{
		DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	}
	if change != nil {
		change(opts)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server isn't ready after 10 s")
	}
	return s
}

func connect(t *testing.T, s nats.InProcessConnProvider, opts ...nats.Option) *nats.Conn {
	t.Helper()
	// Expected errors, such as refused permissions, would go to the log.
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	nc, err := nats.Connect("", append([]nats.Option{nats.InProcessServer(s), quiet}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// addStreams creates the contract's streams. change may be nil.
func addStreams(t *testing.T, nc *nats.Conn, change func(*jetstream.StreamConfig)) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []jetstream.StreamConfig{
		{
			Name: conversation.CommandsStream, Subjects: []string{"conversation.delete", "conversation.delete.*", "conversation.delete_everyone.*"},
			Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
		},
		{
			Name: conversation.EventsStream, Subjects: []string{
				"conversation.deleted.*.*", "conversation.delete_failed.*.*", "conversation.erased.*.*", "conversation.all_deleted.*.*",
			},
			Discard: jetstream.DiscardNew, MaxAge: 30 * 24 * time.Hour, MaxMsgsPerSubject: 100_000, AllowDirect: true,
			Duplicates: time.Hour,
		},
	} {
		if change != nil {
			change(&cfg)
		}
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	return js
}

func newClient(t *testing.T, nc *nats.Conn, opts ...conversation.ClientOption) *conversation.Client {
	t.Helper()
	c, err := conversation.NewClient(nc, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// setUp is a server with the streams, a connection and a client.
func setUp(t *testing.T) (*server.Server, jetstream.JetStream, *conversation.Client) {
	t.Helper()
	s := startServer(t, nil)
	nc := connect(t, s)
	return s, addStreams(t, nc, nil), newClient(t, nc)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// cutter is a way to a server that can be cut and mended.
type cutter struct {
	server nats.InProcessConnProvider

	mu    sync.Mutex // guards conns and cut
	conns []net.Conn
	cut   bool
}

func (c *cutter) InProcessConn() (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return nil, errors.New("the wire is cut")
	}
	conn, err := c.server.InProcessConn()
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cutter) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	if !cut {
		return
	}
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}
