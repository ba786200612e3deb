package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func TestWorkGoesOnWhenAServerOfTheClusterIsLost(t *testing.T) {
	t.Parallel()
	c := localtest.Cluster(t)
	gate := newGate()
	b := connect(t, Config{URL: c.URL(), Gate: gate})
	setup(t, b, SetupOptions{Replicas: 3})
	w := start(t, b)
	info, err := b.consumerInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var leader, other *localstack.NATSNode
	for _, node := range c.Nodes() {
		if node.Name() == info.Cluster.Leader {
			leader = node
		} else {
			other = node
		}
	}
	js := administer(t, other.URL())
	const before, after = 50, 50
	send(t, js, before)
	for _, d := range w.take(before) {
		d.Settle(done())
	}
	if err := leader.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	seen := map[string]bool{}
	for i := range after {
		body := fmt.Sprintf("after %d", i)
		eventually(t, "stored without the lost server", func() bool {
			_, err := js.Publish(t.Context(), conversation.CommandSubject("demo"), []byte(body))
			return err == nil
		})
	}
	for len(seen) < after {
		d := w.next()
		if strings.HasPrefix(string(d.Data), "after") {
			seen[string(d.Data)] = true
		}
		d.Settle(done())
	}
	t.Logf("%d commands done %v after the loss", after, time.Since(began))
	if err := b.Publish(t.Context(), deletedEvents(20)); err != nil {
		t.Errorf("Publish = %v; want nil", err)
	}
	gate.opened(t)
}
