package presence

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go/jetstream"
)

// hub knows how far the instance has read the stream, and which devices are up
// to that point. Safe for concurrent use. Nothing waits while mu is held: a
// device that is slow has its own queue.
type hub struct {
	remember int

	mu        sync.Mutex                      // guards all below; before a device's
	devices   map[string]map[*device]struct{} // by user
	position  uint64                          // all events up to here have been delivered
	recent    []event                         // the newest of them, oldest first
	floor     uint64                          // recent has all events after this
	created   time.Time                       // of the stream: another one counts anew
	reason    string                          // why the position doesn't move on, "" if it does
	dismissal *time.Timer                     // armed while reason is set
}

func newHub(remember int) *hub {
	return &hub{remember: remember, devices: map[string]map[*device]struct{}{}, reason: "starting"}
}

// align compares the hub's position with a stream and returns the sequence to
// read from. At first it goes back a little, for the devices of an instance that
// was restarted.
func (h *hub) align(created time.Time, s jetstream.StreamState) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.created.IsZero():
		h.position = s.LastSeq - min(s.LastSeq, uint64(h.remember))
		if s.FirstSeq > 0 {
			h.position = max(h.position, s.FirstSeq-1)
		}
		h.floor = h.position
	case !created.Equal(h.created), s.LastSeq < h.position, h.position+1 < s.FirstSeq:
		// The stream was made again, or has lost events that we didn't see.
		h.position, h.floor, h.recent = s.LastSeq, s.LastSeq, nil
		h.created = created
		h.each(func(d *device) { d.restart(lostFrame, h.position, h.epoch()) })
	}
	h.created = created
	return h.position + 1
}

// deliver tells an event to the devices that it is for. One from before the
// position was delivered before.
func (h *hub) deliver(ev event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ev.seq <= h.position {
		return
	}
	h.position = ev.seq
	h.keep(ev)
	for d := range h.devices[ev.user] {
		d.tell(ev)
	}
}

// keep is called with mu held.
func (h *hub) keep(ev event) {
	h.recent = append(h.recent, ev)
	if len(h.recent) > h.remember {
		h.floor = h.recent[0].seq
		h.recent[0] = event{}
		h.recent = h.recent[1:]
	}
}

// What a device lacks that can't join yet.
var (
	errAnotherStream = errors.New("the cursor is of another stream")
	errOlderEvents   = errors.New("events are missing that only the stream has")
)

// join makes a device live that has all events up to its cursor. Where newer
// ones are at hand it returns them instead, to be told first. The error says what
// is to be done before.
func (h *hub) join(d *device) (newer []event, lacks error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case d.epoch != h.epoch(): // also where the stream was made again meanwhile
		return nil, errAnotherStream
	case d.cursor < h.floor:
		return nil, errOlderEvents
	}
	for _, ev := range h.recent {
		if ev.seq > d.cursor && ev.user == d.user {
			newer = append(newer, ev)
		}
	}
	if len(newer) > 0 {
		return newer, nil
	}
	of := h.devices[d.user]
	if of == nil {
		of = map[*device]struct{}{}
		h.devices[d.user] = of
	}
	of[d] = struct{}{}
	d.push(cursorFrame(max(h.position, d.cursor)))
	return nil, nil
}

// leave forgets a device, if it has joined.
func (h *hub) leave(d *device) {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.devices[d.user]
	delete(of, d)
	if len(of) == 0 {
		delete(h.devices, d.user)
	}
}

// standing is how far the hub is, in which stream, and from where it remembers.
type standing struct {
	position, floor uint64
	epoch           string
}

func (h *hub) standing() standing {
	h.mu.Lock()
	defer h.mu.Unlock()
	return standing{h.position, h.floor, h.epoch()}
}

// epoch names the stream, which counts anew when it is made again. mu is held.
func (h *hub) epoch() string { return strconv.FormatInt(h.created.UnixNano(), 36) }

// each is called with mu held.
func (h *hub) each(do func(*device)) {
	for _, of := range h.devices {
		for d := range of {
			do(d)
		}
	}
}

// reload tells all devices to load their lists again, since they may have missed
// what no stream keeps.
func (h *hub) reload() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.each(func(d *device) { d.restart(resyncFrame, max(h.position, d.cursor), h.epoch()) })
}

// dismiss closes all devices that have joined.
func (h *hub) dismiss(code websocket.StatusCode, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.each(func(d *device) { d.finish(code, reason) })
}

// count is how many devices have joined.
func (h *hub) count() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.each(func(*device) { n++ })
	return n
}

// beat sends the stream's position to the devices whose turn it is, pings them,
// and closes those whose tokens have expired.
func (h *hub) beat(now time.Time, every, reply time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	frame := cursorFrame(h.position)
	h.each(func(d *device) {
		switch {
		case !now.Before(d.expires):
			d.finish(closeToken, "the token has expired")
		case !now.Before(d.beat):
			d.beat = now.Add(every)
			if h.position >= d.cursor {
				d.push(frame)
			}
			d.probe(reply)
		}
	})
}
