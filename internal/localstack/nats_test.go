package localstack

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startNATS starts a server that is closed after the test.
func startNATS(t *testing.T, opts NATSOptions) *NATS {
	t.Helper()
	n, err := StartNATS(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return n
}

// stream creates a stream on a connection that reconnects for as long as the test
// runs.
func stream(t *testing.T, n *NATS) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := n.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	return conn, js
}

func TestNATSKeepsStoreAndAddressOverARestart(t *testing.T) {
	t.Parallel()
	n := startNATS(t, NATSOptions{})
	conn, js := stream(t, n)
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	first := n.Server()
	disconnected := conn.StatusChanged(nats.RECONNECTING)
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if n.Server() != nil {
		t.Error("Server is not nil while stopped")
	}
	<-disconnected
	reconnected := conn.StatusChanged(nats.CONNECTED)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	<-reconnected
	if n.Server() == first {
		t.Error("Server is the old one after a restart")
	}
	s, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	message, err := s.GetMsg(t.Context(), 1)
	if err != nil || string(message.Data) != "kept" {
		t.Errorf("GetMsg = %v, %v; want the message from before the restart", message, err)
	}
	if err := n.Start(); err == nil {
		t.Error("Start while it runs = nil; want an error")
	}
}

func TestNATSOptions(t *testing.T) {
	t.Parallel()
	n := startNATS(t, NATSOptions{
		MaxStore: 1 << 20, MaxPayload: 2048, SyncAlways: true,
		Configure: func(o *server.Options) { o.MaxConn = 7 },
	})
	conn, js := stream(t, n)
	if got := conn.MaxPayload(); got != 2048 {
		t.Errorf("MaxPayload = %d; want 2048", got)
	}
	limits, err := js.AccountInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config := n.Server().JetStreamConfig()
	if config.MaxStore != 1<<20 || !config.SyncAlways {
		t.Errorf("MaxStore, SyncAlways = %d, %t; want 1 MiB, true (account %+v)", config.MaxStore, config.SyncAlways, limits)
	}
	if _, err := js.Publish(t.Context(), "s", make([]byte, 4096)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("Publish of 4 KiB = %v; want ErrMaxPayload", err)
	}
}

func TestNATSKeepsAStoreThatTheCallerNamed(t *testing.T) {
	t.Parallel()
	store := t.TempDir()
	n := startNATS(t, NATSOptions{StoreDir: store})
	stream(t, n)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(store, "jetstream")) {
		t.Errorf("%s has %s; want the stream's files", store, names(t, store))
	}
}

func TestNATSCloseRemovesItsStore(t *testing.T) {
	t.Parallel()
	n := startNATS(t, NATSOptions{})
	stream(t, n)
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatalf("Close = %v; want nil", err)
		}
	}
	if exists(n.opts.StoreDir) {
		t.Errorf("%s is still there", n.opts.StoreDir)
	}
	if err := n.Start(); err == nil {
		t.Error("Start after Close = nil; want an error")
	}
}

func TestNATSSaysWhyItDidNotStart(t *testing.T) {
	t.Parallel()
	taken := startNATS(t, NATSOptions{})
	if n, err := StartNATS(NATSOptions{Port: taken.opts.Port}); err == nil {
		t.Errorf("StartNATS on a port in use = %v, nil; want an error", n.URL())
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := StartNATS(NATSOptions{StoreDir: file}); err == nil {
		t.Errorf("StartNATS with a file for a folder = %v, nil; want an error", n.URL())
	}
}
