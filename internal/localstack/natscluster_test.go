package localstack

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// replicated is a stream of three copies, on a connection to all nodes.
func replicated(t *testing.T, c *NATSCluster) (jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	nc, err := nats.Connect(c.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	return js, s
}

func TestAClusterKeepsWhatItTookWhenNodesAreLost(t *testing.T) {
	t.Parallel()
	c, err := StartNATSCluster(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	t.Cleanup(func() {
		if !closed {
			_ = c.Close()
		}
	})
	js, s := replicated(t, c)
	store := func() {
		t.Helper()
		eventually(t, func() string {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := js.Publish(ctx, "s", []byte("kept")); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	store()
	lost := c.Node(s.CachedInfo().Cluster.Leader)
	if lost == nil {
		t.Fatalf("no leader among %v: %+v", c.Nodes(), s.CachedInfo().Cluster)
	}
	for _, end := range []func(context.Context) error{lost.Kill, lost.Stop} {
		if err := end(t.Context()); err != nil { // the second time it doesn't run
			t.Fatal(err)
		}
	}
	store()
	if err := lost.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := lost.Start(t.Context()); err == nil {
		t.Error("Start while it runs = nil; want an error")
	}
	for _, n := range c.Nodes() {
		eventually(t, func() string { return caughtUp(t, s, n) })
	}
	folder := c.folder.path
	closed = true
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if exists(folder) {
		t.Errorf("%s is still there", folder)
	}
}

// caughtUp says what a node lacks of a stream.
func caughtUp(t *testing.T, s jetstream.Stream, n *NATSNode) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	info, err := s.Info(ctx)
	if err != nil {
		return err.Error()
	}
	if info.State.Msgs < 2 {
		return "a message was lost"
	}
	if info.Cluster.Leader == n.Name() || slices.ContainsFunc(info.Cluster.Replicas, func(p *jetstream.PeerInfo) bool {
		return p.Name == n.Name() && p.Current && !p.Offline
	}) {
		return ""
	}
	return n.Name() + " is behind"
}
