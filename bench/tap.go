package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// tap stands on the wire between a contestant and Postgres and times each
// transaction as the client sees it: from the first byte that is sent while no
// transaction is open to the server's word that none is open any more. It reads
// the frames of the protocol and changes nothing. Safe for concurrent use.
type tap struct {
	listener         net.Listener
	network, address string // the server's
	url              string // what the contestant connects to

	mu      sync.Mutex // guards what follows
	longest time.Duration
	count   int
	conns   map[net.Conn]bool
	closed  bool
	open    sync.WaitGroup
}

// openTap listens at a socket in dir for those who want the database.
func openTap(ctx context.Context, dir, database string) (*tap, error) {
	config, err := pgconn.ParseConfig(database)
	if err != nil {
		return nil, err
	}
	t := &tap{conns: map[net.Conn]bool{}, url: throughSocket(database, dir)}
	t.network, t.address = pgconn.NetworkAddress(config.Host, config.Port)
	t.listener, err = new(net.ListenConfig).Listen(ctx, "unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		return nil, err
	}
	t.open.Go(t.accept)
	return t, nil
}

// throughSocket is the address of the same database by a socket in dir, without
// TLS, which would hide the frames.
func throughSocket(database, dir string) string {
	u, err := url.Parse(database)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return database + " host=" + dir + " port=5432 sslmode=disable"
	}
	query := u.Query()
	query.Set("host", dir)
	query.Set("port", "5432")
	query.Set("sslmode", "disable")
	if u.User != nil {
		query.Set("user", u.User.Username())
		if password, ok := u.User.Password(); ok {
			query.Set("password", password)
		}
	}
	u.User, u.Host, u.RawQuery = nil, "", query.Encode()
	return u.String()
}

func (t *tap) accept() {
	for {
		client, err := t.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial(t.network, t.address) //nolint:noctx // a local socket
		if err != nil {
			_ = client.Close()
			continue
		}
		t.pass(client, server)
	}
}

// pass passes on what two connections say until one of them ends.
func (t *tap) pass(client, server net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_, _ = client.Close(), server.Close()
		return
	}
	t.conns[client], t.conns[server] = true, true
	c := &tapped{tap: t}
	end := func() {
		_, _ = client.Close(), server.Close()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.conns, client)
		delete(t.conns, server)
	}
	t.open.Go(func() { defer end(); relay(server, client, c.sent) })
	t.open.Go(func() { defer end(); relay(client, server, c.received) })
}

// relay copies until either end closes, and shows each piece first.
func relay(to, from net.Conn, show func([]byte)) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			show(buffer[:n])
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// reset forgets what was seen.
func (t *tap) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.longest, t.count = 0, 0
}

// seen is the longest transaction since the reset, and how many there were.
func (t *tap) seen() (time.Duration, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.longest, t.count
}

func (t *tap) note(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.longest, t.count = max(t.longest, took), t.count+1
}

// close ends all connections.
func (t *tap) close() error {
	err := t.listener.Close()
	t.mu.Lock()
	t.closed = true
	for conn := range t.conns {
		if closeErr := conn.Close(); !errors.Is(closeErr, net.ErrClosed) { // its relay may have been first
			err = errors.Join(err, closeErr)
		}
	}
	t.mu.Unlock()
	t.open.Wait()
	return err
}

// tapped is one connection that is listened to.
type tapped struct {
	tap *tap

	mu      sync.Mutex // guards what follows
	greeted bool       // the start of the connection is over
	since   time.Time  // when the open transaction began; zero if none is open

	frame frameReader // for received alone
}

// sent sees what the client says.
func (c *tapped) sent([]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		c.since = time.Now()
	}
}

// received sees what the server says.
func (c *tapped) received(data []byte) {
	c.frame.read(data, func(status byte) {
		if status != 'I' {
			return // a transaction is open
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.greeted && !c.since.IsZero() {
			c.tap.note(time.Since(c.since))
		}
		c.greeted, c.since = true, time.Time{}
	})
}

// frameReader finds ReadyForQuery in what a server says. A frame is a type, a
// length of four bytes that counts itself, and the rest.
type frameReader struct {
	head   []byte // of the frame, up to six bytes
	skip   int    // bytes of the frame still to come after that
	inside bool
}

// read calls ready with the status of each ReadyForQuery.
func (f *frameReader) read(data []byte, ready func(status byte)) {
	const header = 5
	for len(data) > 0 {
		if f.inside {
			n := min(f.skip, len(data))
			data, f.skip = data[n:], f.skip-n
			f.inside = f.skip > 0
			continue
		}
		want := header
		if len(f.head) >= header && f.head[0] == 'Z' {
			want++
		}
		n := min(want-len(f.head), len(data))
		f.head, data = append(f.head, data[:n]...), data[n:]
		if len(f.head) == header && f.head[0] == 'Z' || len(f.head) < header {
			continue
		}
		if f.head[0] == 'Z' {
			ready(f.head[header])
		} else {
			f.skip = int(binary.BigEndian.Uint32(f.head[1:header])) - (header - 1)
			f.inside = f.skip > 0
		}
		f.head = f.head[:0]
	}
}
