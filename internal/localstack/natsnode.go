package localstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// nodeVariable makes a process a node: it holds the node's settings as JSON.
	nodeVariable = "LETHE_LOCALSTACK_NATS_NODE"
	// nodeReady bounds the wait for a node or a cluster, on a machine that has other
	// things to do.
	nodeReady = time.Minute
	// nodePoll is how often a starting node or cluster is asked.
	nodePoll = 20 * time.Millisecond
)

// NATSNode is a nats-server of a [NATSCluster], in its own process. Safe for
// concurrent use.
type NATSNode struct {
	settings nodeSettings
	folder   *folder // the cluster's

	mu     sync.Mutex // guards server; held through a start or a stop
	server *process   // nil when it doesn't run
}

// nodeSettings is what a node's process is told.
type nodeSettings struct {
	Name, Store string
	// Port is the clients', Monitor the monitoring's, Route the cluster's, Routes
	// those of all nodes.
	Port, Monitor, Route int
	Routes               []int
}

// Name is the server's, by which JetStream names its leaders.
func (n *NATSNode) Name() string { return n.settings.Name }

// Addr is where clients find the node, as host:port.
func (n *NATSNode) Addr() string { return local(n.settings.Port) }

// URL is the node's address, the same after a restart.
func (n *NATSNode) URL() string { return "nats://" + n.Addr() }

// MonitorURL is the address of the node's monitoring endpoint, the same after a
// restart.
func (n *NATSNode) MonitorURL() string { return "http://" + local(n.settings.Monitor) }

// Start starts the node again, with the same store, and waits until it takes
// connections; its streams may be behind the others' for a while. It fails if the
// node runs.
func (n *NATSNode) Start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil && !n.server.ended() {
		return fmt.Errorf("%s runs already", n.Name())
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := json.Marshal(n.settings)
	if err != nil {
		return err
	}
	n.server, err = startProcess(ctx, processSpec{
		hold: n.folder.hold, env: append(os.Environ(), nodeVariable+"="+string(text)), argv: []string{program},
	})
	if err != nil {
		return err
	}
	if err := n.awaitReady(ctx); err != nil {
		return fmt.Errorf("start %s: %w\n%s", n.Name(), err, n.server.log)
	}
	return nil
}

func (n *NATSNode) awaitReady(ctx context.Context) error {
	return awaitNATS(ctx, func() error {
		if n.server.ended() {
			return errors.Join(errEnded, n.server.err)
		}
		nc, err := nats.Connect(n.URL(), nats.Timeout(time.Second))
		if err == nil {
			nc.Close()
		}
		return err
	})
}

// errEnded says that waiting is in vain.
var errEnded = errors.New("ended")

// awaitNATS asks until there is no error, for a while.
func awaitNATS(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, nodeReady)
	defer cancel()
	ticker := time.NewTicker(nodePoll)
	defer ticker.Stop()
	for {
		err := ask()
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// Stop stops the node as a planned restart does (SIGTERM): it hands over what it
// leads. Without effect when it doesn't run.
func (n *NATSNode) Stop(ctx context.Context) error { return n.end(ctx, "TERM") }

// Kill ends the node as the loss of its machine does (SIGKILL), but for what the
// kernel has of its writes. Without effect when it doesn't run.
func (n *NATSNode) Kill(ctx context.Context) error { return n.end(ctx, "KILL") }

func (n *NATSNode) end(ctx context.Context, signal string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server == nil {
		return nil
	}
	if err := n.server.stop(ctx, signal); err != nil {
		return fmt.Errorf("stop %s: %w", n.Name(), err)
	}
	n.server = nil
	return nil
}

// ServeNATSNode is the whole life of a process that was started as a node of a
// [NATSCluster]: it serves, and exits. In any other process it does nothing. A
// program that starts clusters calls it first.
func ServeNATSNode() {
	text := os.Getenv(nodeVariable)
	if text == "" {
		return
	}
	if err := serveNode(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serveNode serves until SIGTERM, or until SIGQUIT, which the guard sends when the
// process that started this one is gone.
func serveNode(text string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGQUIT)
	var settings nodeSettings
	if err := json.Unmarshal([]byte(text), &settings); err != nil {
		return err
	}
	s, err := server.NewServer(settings.options())
	if err != nil {
		return err
	}
	log := &natsLog{}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	if err := log.fatal(); err != nil || !s.ReadyForConnections(natsReady) {
		return errors.Join(errors.New("nats-server did not start"), err)
	}
	if <-signals == syscall.SIGTERM {
		s.Shutdown()
		s.WaitForShutdown()
	}
	return nil
}

func (s nodeSettings) options() *server.Options {
	o := &server.Options{
		ServerName: s.Name, Host: "127.0.0.1", Port: s.Port, NoSigs: true,
		HTTPHost: "127.0.0.1", HTTPPort: s.Monitor,
		JetStream: true, StoreDir: s.Store, JetStreamMaxStore: defaultMaxStore,
		// Who is to reach a node through a proxy must not hear where it really is.
		Cluster: server.ClusterOpts{Name: "localstack", Host: "127.0.0.1", Port: s.Route, NoAdvertise: true},
	}
	for _, port := range s.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: local(port)})
	}
	return o
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
