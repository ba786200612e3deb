package broker

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// cluster starts three servers that know each other, each configured further.
func cluster(t *testing.T, further ...func(*server.Options)) []*localstack.NATS {
	t.Helper()
	const size = 3
	ports := make([]int, size)
	routes := make([]*url.URL, size)
	for i := range size {
		ports[i] = unusedPort(t)
		routes[i] = &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i]))}
	}
	servers := make([]*localstack.NATS, size)
	for i := range size {
		servers[i] = localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
			o.ServerName = fmt.Sprintf("server-%d", i)
			o.Cluster = server.ClusterOpts{Name: "cluster", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = routes
			for _, f := range further {
				f(o)
			}
		}})
	}
	return servers
}

func TestWorkGoesOnWhenAServerOfTheClusterIsLost(t *testing.T) {
	t.Parallel()
	servers := cluster(t)
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.URL())
	}
	gate := newGate()
	b := connect(t, Config{URL: strings.Join(urls, ","), Gate: gate})
	setup(t, b, SetupOptions{Replicas: 3})
	w := start(t, b)
	info, err := b.consumerInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leader, other := servers[0], servers[0]
	for i, s := range servers {
		if fmt.Sprintf("server-%d", i) == info.Cluster.Leader {
			leader = s
		} else {
			other = s
		}
	}
	js := admin(t, other)
	const before, after = 50, 50
	send(t, js, before)
	for _, d := range w.take(before) {
		d.Settle(done())
	}
	if err := leader.Stop(); err != nil {
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
