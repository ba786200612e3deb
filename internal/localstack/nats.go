package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// defaultMaxStore is NATSOptions.MaxStore's default: a bound, not a reservation.
	defaultMaxStore = 16 << 30
	// natsReady bounds the start, recovery of the store included.
	natsReady = 30 * time.Second
)

// NATSOptions says how a nats-server is to be. The zero value suits tests.
type NATSOptions struct {
	// StoreDir is JetStream's folder. It stays after Close. Empty means a
	// temporary one that doesn't, not even when the process is killed.
	StoreDir string
	// Port on 127.0.0.1. Zero means any that is free.
	Port int
	// MaxStore bounds all streams together, in bytes on disk. Zero means 16 GiB.
	MaxStore int64
	// MaxPayload is the largest message in bytes. Zero means the server's default,
	// 1 MiB.
	MaxPayload int32
	// Configure, if set, has the last word on the server's options, at every start.
	Configure func(*server.Options)
	// SyncAlways syncs every write to disk before it is acknowledged, as in
	// production.
	SyncAlways bool
}

// NATS is a nats-server with JetStream in this process, listening on 127.0.0.1.
// Safe for concurrent use.
type NATS struct {
	opts   NATSOptions
	folder *folder // nil: StoreDir is the caller's
	port   *port   // nil: Port is the caller's

	mu     sync.Mutex // guards what follows; held through a start or a stop
	server *server.Server
	closed bool
}

// StartNATS starts a server, ready in some milliseconds. Close it; if the process
// ends without, however it ends, a temporary store goes, too.
func StartNATS(opts NATSOptions) (*NATS, error) {
	n := &NATS{opts: opts}
	if n.opts.MaxStore == 0 {
		n.opts.MaxStore = defaultMaxStore
	}
	if n.opts.Port == 0 {
		var err error
		if n.port, err = reservePort(); err != nil {
			return nil, err
		}
		n.opts.Port = n.port.number
	}
	if n.opts.StoreDir == "" {
		f, err := newFolder(context.Background(), []string{os.TempDir(), "/tmp"}, "lethe-nats-")
		if err != nil {
			return nil, errors.Join(err, n.port.release())
		}
		n.folder, n.opts.StoreDir = f, f.path
	}
	if err := n.Start(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// URL is the server's address, the same after a restart.
func (n *NATS) URL() string {
	return "nats://" + local(n.opts.Port)
}

// Connect connects to the server. The caller closes the connection.
func (n *NATS) Connect(opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(n.URL(), opts...)
}

// Server is the server itself, for what only it can tell, or nil when it is
// stopped. Each Start makes a new one.
func (n *NATS) Server() *server.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server
}

// Start starts the server again after Stop, with the same port and store. It fails
// if the server runs.
func (n *NATS) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return errors.New("nats-server is closed")
	case n.server != nil:
		return errors.New("nats-server runs already")
	}
	log := &natsLog{}
	s, err := server.NewServer(n.serverOptions())
	if err != nil {
		return fmt.Errorf("nats-server: %w", err)
	}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	if err := log.fatal(); err != nil || !s.ReadyForConnections(natsReady) {
		s.Shutdown()
		s.WaitForShutdown()
		return errors.Join(errors.New("nats-server did not start"), err)
	}
	n.server = s
	return nil
}

// serverOptions are made anew for each start, because a server changes its own.
func (n *NATS) serverOptions() *server.Options {
	opts := &server.Options{
		ServerName:         "localstack",
		Host:               "127.0.0.1",
		Port:               n.opts.Port,
		NoSigs:             true,
		JetStream:          true,
		StoreDir:           n.opts.StoreDir,
		JetStreamMaxMemory: 1 << 30, // servers before 2.15 take no limit of the store without one
		JetStreamMaxStore:  n.opts.MaxStore,
		MaxPayload:         n.opts.MaxPayload,
		SyncAlways:         n.opts.SyncAlways,
	}
	if n.opts.Configure != nil {
		n.opts.Configure(opts)
	}
	return opts
}

// Stop stops the server and keeps its store. Connections to it break; the client
// goes on trying. Without effect when it is stopped.
func (n *NATS) Stop() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil {
		n.server.Shutdown()
		n.server.WaitForShutdown()
		n.server = nil
	}
	return nil
}

// Close stops the server and removes its temporary store. A second call does
// nothing.
func (n *NATS) Close() error {
	if err := n.Stop(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	err := n.port.release()
	if n.folder != nil {
		err = errors.Join(err, n.folder.remove())
	}
	return err
}
