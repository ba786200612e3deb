package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// distance stands between workers and Postgres and makes the way longer: what
// either side says arrives so much later at the other, however much is said
// meanwhile. Safe for concurrent use.
type distance struct {
	listener         net.Listener
	network, address string // the server's
	url              string // what the workers connect to
	oneWay           time.Duration

	mu     sync.Mutex // guards what follows
	conns  map[net.Conn]bool
	closed bool
	open   sync.WaitGroup
}

// openDistance listens at a socket in dir for those who want the database.
func openDistance(ctx context.Context, dir, database string, oneWay time.Duration) (*distance, error) {
	config, err := pgconn.ParseConfig(database)
	if err != nil {
		return nil, err
	}
	d := &distance{conns: map[net.Conn]bool{}, url: throughSocket(database, dir), oneWay: oneWay}
	d.network, d.address = pgconn.NetworkAddress(config.Host, config.Port)
	d.listener, err = new(net.ListenConfig).Listen(ctx, "unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		return nil, err
	}
	d.open.Go(d.accept)
	return d, nil
}

func (d *distance) accept() {
	for {
		client, err := d.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial(d.network, d.address) //nolint:noctx // a local socket
		if err != nil {
			_ = client.Close()
			continue
		}
		d.join(client, server)
	}
}

// join passes on what two connections say until one of them ends.
func (d *distance) join(client, server net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_, _ = client.Close(), server.Close()
		return
	}
	d.conns[client], d.conns[server] = true, true
	end := func() {
		_, _ = client.Close(), server.Close()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.conns, client)
		delete(d.conns, server)
	}
	d.open.Go(func() { defer end(); d.carry(server, client) })
	d.open.Go(func() { defer end(); d.carry(client, server) })
}

// parcel is a piece that is to arrive at a time.
type parcel struct {
	due  time.Time
	data []byte
}

// carry passes on what from says, later, until either side ends.
func (d *distance) carry(to, from net.Conn) {
	parcels := make(chan parcel, 1024)
	gone := make(chan struct{})
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		defer close(parcels)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			select {
			case parcels <- parcel{time.Now().Add(d.oneWay), buffer[:n]}:
			case <-gone:
				return
			}
			if err != nil {
				return
			}
		}
	})
	defer from.Close() //nolint:errcheck // it ends the reading; both ends are closed twice anyway
	defer close(gone)
	for p := range parcels {
		sleepExactly(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			return
		}
	}
}

// close ends all connections.
func (d *distance) close() error {
	err := d.listener.Close()
	d.mu.Lock()
	d.closed = true
	for conn := range d.conns {
		if closeErr := conn.Close(); !errors.Is(closeErr, net.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	}
	d.mu.Unlock()
	d.open.Wait()
	return err
}
