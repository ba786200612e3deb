package main

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/lethe-im/lethe/internal/localstack"
)

// tap is a proxy between a contestant and Postgres that times each transaction as the client sees it: from the first byte that
// is sent while no transaction is open to the server's word that none is open any more. Safe for concurrent use.
type tap struct {
	proxy *localstack.Proxy
	url   string // what the contestant connects to

	mu      sync.Mutex // guards what follows
	longest time.Duration
	count   int
}

// openTap listens for those who want the database.
func openTap(ctx context.Context, database string) (*tap, error) {
	proxy, through, err := localstack.OpenPostgresProxy(ctx, database, 0)
	if err != nil {
		return nil, err
	}
	t := &tap{proxy: proxy, url: through}
	proxy.Observe(func() (sent, received func([]byte)) {
		c := &tapped{tap: t}
		return c.sent, c.received
	})
	return t, nil
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
