package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// What a cluster of three nats-servers does to the work when nodes and ways are
// lost.
func TestCluster(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"a_leader_killed_under_load_loses_nothing":      leaderKilled,
		"a_shards_leader_killed_loses_nothing_of_two":   shardsLeaderKilled,
		"nodes_restarted_one_by_one_lose_nothing":       nodesRestarted,
		"a_cut_between_worker_and_leader_loses_nothing": leaderCutOff,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// clusterMix is what is asked for on a cluster: small and long conversations, and
// so much at once that a worker always has its hands full.
var clusterMix = mix{messages: 10, long: 3000, ahead: 200}

// clusterRig is a rig on three nats-servers, each in a process of its own, with
// three copies of each stream.
func clusterRig(t *testing.T, opts ...rigOption) (*rig, *localstack.NATSCluster) {
	t.Helper()
	c := localtest.Cluster(t)
	r := newRig(t, append(opts, onCluster(c), withoutSetup())...)
	r.must(t, "setup", "--sample-schema", "--stream-replicas=3")
	r.listen(t)
	r.whole(t)
	return r, c
}

// leader is the node that leads the stream of commands.
func (r *rig) leader(t testing.TB, c *localstack.NATSCluster) *localstack.NATSNode {
	t.Helper()
	var node *localstack.NATSNode
	eventually(t, timeout, "the stream of commands has a leader", func() bool {
		info, err := r.streamInfo(t, r.names.CommandsStream())
		if err != nil || info.Cluster == nil {
			return false
		}
		node = c.Node(info.Cluster.Leader)
		return node != nil
	})
	return node
}

func (r *rig) streamInfo(t testing.TB, name string) (*jetstream.StreamInfo, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	s, err := r.js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

// whole waits until each stream, and the workers' consumer, has a leader and two
// copies that keep up with it, as an operator does before he takes the next node.
func (r *rig) whole(t testing.TB) {
	t.Helper()
	missing := errors.New("never asked")
	if !poll(timeout, func() bool { missing = r.notWhole(t); return missing == nil }) {
		t.Fatalf("not within %v: all copies keep up: %v", timeout, missing)
	}
}

func (r *rig) notWhole(t testing.TB) error {
	t.Helper()
	for _, name := range []string{r.names.CommandsStream(), conversation.EventsStream, conversation.DeadLettersStream} {
		info, err := r.streamInfo(t, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := behind(info.Cluster); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	consumer, err := r.js.Consumer(ctx, r.names.CommandsStream(), conversation.WorkerConsumer)
	if err != nil {
		return err
	}
	return behind(consumer.CachedInfo().Cluster)
}

// behind says what a stream or a consumer of three copies lacks.
func behind(info *jetstream.ClusterInfo) error {
	if info == nil || info.Leader == "" || len(info.Replicas) != 2 {
		return fmt.Errorf("leader and two copies: %+v", info)
	}
	for _, peer := range info.Replicas {
		if !peer.Current || peer.Offline {
			return fmt.Errorf("%s is behind", peer.Name)
		}
	}
	return nil
}

// leaderKilled kills the node that leads the commands, and starts it again.
func leaderKilled(t *testing.T) {
	t.Helper()
	r, c := clusterRig(t)
	workers := []*worker{r.start(t), r.start(t)}
	p := r.busyProducer(t, "kill", clusterMix)
	p.flows(t)
	r.killLeaders(t, c, p, sized(1, 8))
	r.finish(t, p, workers...)
}

// killLeaders kills the node that leads the rig's commands, and starts it again, some times.
func (r *rig) killLeaders(t *testing.T, c *localstack.NATSCluster, p *busy, times int) {
	t.Helper()
	for range times {
		lost := r.leader(t, c)
		must(t, lost.Kill(t.Context()))
		began := time.Now()
		p.flows(t)
		t.Logf("%s, the leader, was killed; the next %d deletions took %v", lost.Name(), clusterMix.ahead/2, time.Since(began).Round(time.Millisecond))
		if now := r.leader(t, c); now == lost {
			t.Errorf("%s leads, which was killed", now.Name())
		}
		must(t, lost.Start(t.Context()))
		r.whole(t)
		p.flows(t)
	}
}

// shardsLeaderKilled kills the node that leads one shard's commands, under load, while
// another shard has commands too.
func shardsLeaderKilled(t *testing.T) {
	t.Helper()
	r, c := clusterRig(t, inShard("eu"))
	other := newRig(t, onCluster(c), inShard("us"), withSetup("--stream-replicas=3"))
	other.whole(t)
	workers := []*worker{r.start(t), other.start(t)}
	p := r.busyProducer(t, "kill", clusterMix)
	p.flows(t)
	q := newTrickle(t, other, sized(150, 2000))
	p.alsoExpect(len(q.chats))
	r.killLeaders(t, c, p, sized(1, 8))
	<-q.ended
	must(t, q.err)
	other.settled(t)
	_, want := p.stop(t)
	termAll(t, workers)
	r.auditLedger(t, want)
	others := q.want()
	other.auditLedger(t, others)
	maps.Copy(want, others)
	r.auditEvents(t, want)
}

// nodesRestarted restarts nodes in turn, as a rollout does, the leader first.
func nodesRestarted(t *testing.T) {
	t.Helper()
	r, c := clusterRig(t)
	w := r.start(t)
	p := r.busyProducer(t, "restart", clusterMix)
	p.flows(t)
	nodes := c.Nodes()
	first := slices.Index(nodes, r.leader(t, c))
	for i := range sized(2, 12) {
		node := nodes[(first+i)%len(nodes)]
		must(t, node.Stop(t.Context()))
		p.flows(t)
		must(t, node.Start(t.Context()))
		r.whole(t)
	}
	r.finish(t, p, w)
}

// leaderCutOff has a worker that knows the leader and another node, each through a
// network of its own, and one that knows all and comes when the first is cut off.
func leaderCutOff(t *testing.T) {
	t.Helper()
	r, c := clusterRig(t)
	leader := r.leader(t, c)
	var other *localstack.NATSNode
	for _, node := range c.Nodes() {
		if node != leader {
			other = node
		}
	}
	near, far := localtest.Proxy(t, leader.Addr()), localtest.Proxy(t, other.Addr())
	far.Cut() // so that the worker finds the leader
	w := r.start(t, "NATS_URL="+strings.Join([]string{"nats://" + near.Addr(), "nats://" + far.Addr()}, ","))
	far.Mend()
	p := r.busyProducer(t, "cut", clusterMix)
	p.flows(t)

	cut := func(what string, proxy *localstack.Proxy, how func()) {
		t.Helper()
		if proxy.Connections() == 0 {
			t.Fatalf("%s: the worker is not connected there", what)
		}
		began := time.Now()
		how()
		p.flows(t)
		t.Logf("%s: the next %d deletions took %v", what, clusterMix.ahead/2, time.Since(began).Round(time.Millisecond))
		proxy.Mend()
	}
	cut("the way to the leader drops everything", near, near.Freeze)
	cut("the way to the other node is closed", far, far.Cut)
	cut("the way to the leader is closed", near, near.Cut)

	near.Freeze()
	far.Freeze()
	w.awaitNotReady(t, "nats:")
	second := r.start(t)
	p.flows(t) // what the first one has in flight comes to the second
	near.Mend()
	far.Mend()
	w.awaitReady(t, timeout)
	p.flows(t)
	r.finish(t, p, w, second)
}

// finish lets the workers do what is left, stops them and audits all of it.
func (r *rig) finish(t *testing.T, p *busy, workers ...*worker) {
	t.Helper()
	commands, want := p.stop(t)
	termAll(t, workers)
	r.audit(t, want)
	t.Logf("%d commands, %d deletions, %d messages", commands, len(want), sum(want))
}
