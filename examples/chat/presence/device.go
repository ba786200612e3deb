package presence

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/examples/chat/limit"
	"github.com/lethe-im/lethe/examples/chat/token"
)

// Close codes of our own.
const (
	closeInvalid websocket.StatusCode = 4400 // the device sent something malformed
	closeToken   websocket.StatusCode = 4401 // the token has expired: get another
	closeSlow    websocket.StatusCode = 4408 // the device didn't read: reconnect with the cursor
	closeBusy    websocket.StatusCode = 4429 // the device says too much: reconnect with the cursor, and say less
	closeAway    websocket.StatusCode = 4503 // this instance can't: reconnect with the cursor
)

const (
	// writeTimeout is how long one frame may take to leave.
	writeTimeout = 10 * time.Second
	// maxSeen is how many ids of events a device's connection remembers.
	maxSeen = 1024
	// maxSent is how many commands a device is told the progress of.
	maxSent = 64
	// maxFromDevice bounds a message from a device, in bytes: a command's id of
	// which each byte is written as \u00XX, and the words around it.
	maxFromDevice = 1 << 10
)

// fromDevice bounds how many messages a device sends: all that it has pending when
// it connects, and then little.
var fromDevice = limit.Rate{PerSecond: 10, Burst: 2 * maxSent}

// device is one connection. What is to be sent waits in a queue; a goroutine
// writes it and ends when the queue is empty, so that a quiet device costs the
// one goroutine that reads. Safe for concurrent use but for the fields that say
// otherwise.
type device struct {
	conn    *websocket.Conn
	user    string
	id      string
	expires time.Time
	limit   int // of the queue, in bytes

	cursor uint64    // the last event told; guarded by the hub's mu once joined
	epoch  string    // the stream that it belongs to; guarded like cursor
	beat   time.Time // of the next cursor frame; guarded by the hub's mu
	seen   ids       // told before; guarded like cursor

	mu      sync.Mutex // guards what follows
	queue   [][]byte
	size    int // of the queue, in bytes
	writing bool
	probing bool // a ping is on its way
	over    bool // nothing is queued any more
	code    websocket.StatusCode
	reason  string
	sent    []string // commands, newest last
	writer  sync.WaitGroup
}

func newDevice(conn *websocket.Conn, who token.Claims, cfg Config) *device {
	conn.SetReadLimit(maxFromDevice)
	return &device{
		conn: conn, user: who.User, id: who.Device, expires: who.Expires(), limit: cfg.Buffer,
		beat: time.Now().Add(rand.N(cfg.Beat)), // not all at once
	}
}

// wants notes an event and reports whether the device is to be told: if it is
// for it, newer than its cursor, and not told before.
func (d *device) wants(ev event) bool {
	if ev.seq <= d.cursor {
		return false
	}
	d.cursor = ev.seq
	return ev.includes(d.id) && d.seen.add(ev.id)
}

// tell queues an event, unless the device doesn't want it. One that is open needs a
// search, which only the device that it may be for waits for: it catches up. The hub's
// mu is held.
func (d *device) tell(ev event) {
	if ev.open && ev.seq > d.cursor {
		d.finish(closeAway, "an event of an old deletion: reconnect with your cursor")
	} else if d.wants(ev) {
		d.push(ev.frame)
	}
}

// restart asks the device to reload, by resync, and sends its new position. The hub's
// mu is held.
func (d *device) restart(resync []byte, position uint64, epoch string) {
	d.cursor, d.epoch = position, epoch
	d.push(resync)
	d.push(helloFrame(position, epoch))
}

// push queues a frame. A device whose queue is full is closed: it knows its
// cursor, so that it loses nothing, and nobody has to wait for it.
func (d *device) push(frame []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return
	}
	if d.size+len(frame) > d.limit {
		d.finishLocked(closeSlow, "too slow: reconnect with your cursor")
		return
	}
	d.queue = append(d.queue, frame)
	d.size += len(frame)
	d.write()
}

// pushIfIdle queues a frame that may be missed, unless much is waiting.
func (d *device) pushIfIdle(frame []byte) {
	d.mu.Lock()
	busy := d.size > d.limit/4
	d.mu.Unlock()
	if !busy {
		d.push(frame)
	}
}

// finish drops what is queued and closes the connection with a code, once the
// frame that is being written has left. Only the first call counts.
func (d *device) finish(code websocket.StatusCode, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.finishLocked(code, reason)
}

func (d *device) finishLocked(code websocket.StatusCode, reason string) {
	if d.over {
		return
	}
	d.over, d.code, d.reason = true, code, reason
	d.queue, d.size = nil, 0
	d.write()
}

// write makes sure that somebody writes. mu is held.
func (d *device) write() {
	if !d.writing {
		d.writing = true
		d.writer.Go(d.drain)
	}
}

// drain writes until nothing is left to do.
func (d *device) drain() {
	for {
		frame, over := d.next()
		switch {
		case over:
			_ = d.conn.Close(d.code, d.reason) // it may have gone already
			return
		case frame == nil:
			return
		}
		if d.send(frame) != nil {
			d.abandon()
		}
	}
}

// next takes the next frame; over says that the connection is to be closed.
func (d *device) next() (frame []byte, over bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.over:
		return nil, true // writing stays true: nobody else writes any more
	case len(d.queue) == 0:
		d.queue, d.writing = nil, false
		return nil, false
	}
	frame, d.queue[0] = d.queue[0], nil
	d.queue = d.queue[1:]
	d.size -= len(frame)
	return frame, false
}

// send writes one frame. Only one goroutine does so at a time.
func (d *device) send(frame []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return d.conn.Write(ctx, websocket.MessageText, frame)
}

// abandon gives up a connection that can't be written to or read from.
func (d *device) abandon() {
	_ = d.conn.CloseNow() // it may have gone already
	d.finish(websocket.StatusAbnormalClosure, "")
}

// probe asks a device whether it is still there, and gives it up if it doesn't
// answer in time. One that lost its network says nothing more, and would keep its
// place for hours.
func (d *device) probe(reply time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over || d.probing {
		return
	}
	d.probing = true
	d.writer.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), reply)
		defer cancel()
		if d.conn.Ping(ctx) != nil {
			d.abandon()
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.probing = false
	})
}

// read takes what the device says until the connection ends.
func (d *device) read() {
	var said limit.Bucket
	for open := true; ; {
		_, data, err := d.conn.Read(context.Background())
		if err != nil {
			return
		}
		if !open {
			continue // it hasn't seen yet that it is being closed
		}
		if said.Take(time.Now(), fromDevice, 1) > 0 {
			d.finish(closeBusy, fmt.Sprintf("more than %.0f messages a second: send fewer", fromDevice.PerSecond))
			open = false
		} else if problem := d.hear(data); problem != "" {
			d.finish(closeInvalid, problem)
			open = false
		}
	}
}

// hear does what a message of the device asks for, and returns what is wrong with
// it, "" if nothing is.
func (d *device) hear(data []byte) string {
	var said struct {
		Type      string `json:"type"`
		CommandID string `json:"command_id"`
	}
	if !utf8.Valid(data) || json.Unmarshal(data, &said) != nil {
		return "expected a JSON object with a type"
	}
	switch said.Type { // others may come with newer devices
	case "ping":
		d.push(pongFrame)
	case "sent":
		if !validID(said.CommandID, conversation.MaxCommandID) {
			return fmt.Sprintf("command_id: expected 1 to %d bytes without control characters", conversation.MaxCommandID)
		}
		d.asked(said.CommandID)
	}
	return ""
}

// validID is the contract's rule for ids.
func validID(id string, most int) bool {
	return id != "" && len(id) <= most && utf8.ValidString(id) && !slices.ContainsFunc([]rune(id), unicode.IsControl)
}

// asked notes that the device sent a command and wants to hear of its progress.
func (d *device) asked(command string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Contains(d.sent, command) {
		return
	}
	if len(d.sent) == maxSent {
		d.sent = slices.Delete(d.sent, 0, 1)
	}
	d.sent = append(d.sent, command)
}

// hasAsked reports whether the device sent a command.
func (d *device) hasAsked(command string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.sent, command)
}
