package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATSCluster is nats-servers with JetStream that know each other, each in a
// process of its own, so that one can be lost and come back. Clients aren't told
// of nodes that they don't know.
type NATSCluster struct {
	nodes  []*NATSNode
	folder *folder // stores
	ports  []*port
}

// StartNATSCluster starts a cluster of so many nodes, 3 for streams of three
// copies, and waits until JetStream answers at each: some seconds. The program
// must call [ServeNATSNode] first, since the nodes are copies of it. Close it; if
// the process ends without, neither a process nor a file stays behind.
func StartNATSCluster(ctx context.Context, size int) (*NATSCluster, error) {
	f, err := newFolder(ctx, []string{os.TempDir(), "/tmp"}, "lethe-nats-cluster-")
	if err != nil {
		return nil, err
	}
	c := &NATSCluster{folder: f}
	if err := c.start(ctx, size); err != nil {
		return nil, errors.Join(err, c.close(ctx))
	}
	return c, nil
}

func (c *NATSCluster) start(ctx context.Context, size int) error {
	ports, err := c.reserve(3 * size) //nolint:contextcheck // to listen on this machine takes no time
	if err != nil {
		return err
	}
	for i := range size {
		name := fmt.Sprintf("node-%d", i)
		n := &NATSNode{folder: c.folder, settings: nodeSettings{
			Name: name, Store: filepath.Join(c.folder.path, name), Port: ports[i], Monitor: ports[size+i], Route: ports[2*size+i], Routes: ports[2*size:],
		}}
		c.nodes = append(c.nodes, n)
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if err := awaitNATS(ctx, func() error { return answers(ctx, n) }); err != nil {
			return fmt.Errorf("JetStream at %s: %w", n.Name(), err)
		}
	}
	return nil
}

// answers asks a node's JetStream, which has nothing to say before the cluster has
// a leader.
func answers(ctx context.Context, n *NATSNode) error {
	nc, err := nats.Connect(n.URL())
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = js.AccountInfo(ctx)
	return err
}

// reserve reserves so many ports until the cluster is closed.
func (c *NATSCluster) reserve(n int) (numbers []int, err error) {
	for range n {
		p, err := reservePort()
		if err != nil {
			return nil, err
		}
		c.ports, numbers = append(c.ports, p), append(numbers, p.number)
	}
	return numbers, nil
}

// Nodes are the cluster's, those that don't run included.
func (c *NATSCluster) Nodes() []*NATSNode { return slices.Clone(c.nodes) }

// Node is the node of that name, or nil.
func (c *NATSCluster) Node(name string) *NATSNode {
	for _, n := range c.nodes {
		if n.Name() == name {
			return n
		}
	}
	return nil
}

// URL is the addresses of all nodes, with commas between them.
func (c *NATSCluster) URL() string {
	urls := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		urls[i] = n.URL()
	}
	return strings.Join(urls, ",")
}

// Close ends all nodes at once and removes their stores. Call it once.
func (c *NATSCluster) Close() error { return c.close(context.Background()) }

// close is Close, even if ctx has ended.
func (c *NATSCluster) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Kill(ctx))
	}
	// With a node that runs the folder would be waited for in vain; its guard removes
	// it when this process ends.
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, p := range c.ports {
		errs = append(errs, p.release())
	}
	return errors.Join(append(errs, c.folder.remove())...)
}
