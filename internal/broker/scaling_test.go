package broker

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// backlog is what KEDA's scaler reads of a server's monitoring endpoint.
type backlog struct {
	MetaCluster struct {
		Size int `json:"cluster_size"`
	} `json:"meta_cluster"`
	Accounts []struct {
		Name    string `json:"name"`
		Streams []struct {
			Name      string `json:"name"`
			Consumers []struct {
				Name       string `json:"name"`
				Pending    int    `json:"num_pending"`
				AckPending int    `json:"num_ack_pending"`
				Cluster    struct {
					Leader string `json:"leader"`
				} `json:"cluster"`
			} `json:"consumer_detail"`
		} `json:"stream_detail"`
	} `json:"account_details"`
}

// workers returns the lag of the workers' consumer and the name of its leader.
func (l backlog) workers() (lag int, leader string) {
	for _, a := range l.Accounts {
		for _, s := range a.Streams {
			for _, c := range s.Consumers {
				if a.Name == "$G" && s.Name == conversation.CommandsStream && c.Name == conversation.WorkerConsumer {
					return c.Pending + c.AckPending, c.Cluster.Leader
				}
			}
		}
	}
	return -1, ""
}

// poll asks a server's monitoring endpoint as KEDA does.
func poll(t *testing.T, monitor, path string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, monitor+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// deploy/kubernetes scales the workers by this figure: waiting, in flight, and set
// aside for later.
func TestTheConsumersLeaderReportsTheBacklogToScalers(t *testing.T) {
	t.Parallel()
	nodes := localtest.Cluster(t).Nodes()
	b := connect(t, Config{URL: nodes[0].URL(), Slots: 10})
	setup(t, b, SetupOptions{Replicas: 3})
	send(t, administer(t, nodes[0].URL()), 30)
	w := start(t, b)
	for i, d := range w.take(10) {
		if i < 3 {
			d.Settle(done())
		} else if i < 6 {
			d.Settle(bus.Outcome{Verdict: bus.Retry, Delay: time.Hour})
		}
	}
	w.take(6) // in the places of those
	leaders := 0
	for _, node := range nodes {
		var self struct {
			Name string `json:"server_name"`
		}
		poll(t, node.MonitorURL(), "/varz", &self)
		ask := func() (lag int, leader string, size int) {
			var l backlog
			poll(t, node.MonitorURL(), "/jsz?acc=$G&consumers=true&config=true", &l)
			lag, leader = l.workers()
			return lag, leader, l.MetaCluster.Size
		}
		_, leader, size := ask()
		if size != len(nodes) {
			t.Errorf("%s tells a cluster of %d; KEDA looks for a leader where there are more than one", self.Name, size)
		}
		if leader != self.Name {
			continue
		}
		leaders++
		eventually(t, "a lag of 27", func() bool { lag, _, _ := ask(); return lag == 27 })
	}
	if leaders != 1 {
		t.Errorf("%d servers say that they lead the consumer; want one", leaders)
	}
}
