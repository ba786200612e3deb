package conversation

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Bounds of a Feed's memory.
const (
	maxHints    = 256  // live copies not yet found in the stream; any more are found there
	maxProgress = 64   // progress not yet asked for; the oldest goes first
	maxSeen     = 4096 // ids of delivered events
)

// inbox is what a Feed receives live and remembers. The subscriptions' callbacks
// and Next share it.
type inbox struct {
	names Names
	wake  chan struct{} // holds one token when there is something new

	mu      sync.Mutex // guards all below
	hints   []hint     // in order of arrival
	running []Event    // progress, oldest first
	seen    map[string]struct{}
	order   []string // the ids in seen, a ring once it is full
	oldest  int
}

// hint is the live copy of an event that the stream keeps.
type hint struct {
	event Event
	at    time.Time
}

func newInbox(n Names) *inbox {
	return &inbox{names: n, wake: make(chan struct{}, 1), seen: make(map[string]struct{})}
}

// receive is the callback of the subscriptions. What it can't read it leaves
// to Next, which meets it in the stream.
func (b *inbox) receive(m *nats.Msg) {
	e, err := b.names.ParseEvent(m.Subject, m.Header, m.Data)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Deleting != nil {
		b.addProgress(e)
	} else {
		b.addHint(e)
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// addProgress drops what comes after the end of its own deletion. mu is held.
func (b *inbox) addProgress(e Event) {
	d := e.Deleting
	for _, id := range [2]string{DeletedID(d.AppID, d.CommandID, d.ConversationID), everyoneDeletedID(d.AppID, d.CommandID, d.ConversationID, d.UserID)} {
		if _, over := b.seen[id]; over {
			return
		}
	}
	if len(b.running) == maxProgress {
		b.running = append(b.running[:0], b.running[1:]...)
	}
	b.running = append(b.running, e)
}

// addHint is called with mu held.
func (b *inbox) addHint(e Event) {
	if _, known := b.seen[e.ID]; known {
		return
	}
	for i := range b.hints {
		if b.hints[i].event.ID == e.ID {
			return
		}
	}
	if len(b.hints) == maxHints {
		return // the polls for the others find it too
	}
	b.hints = append(b.hints, hint{e, time.Now()})
}

// progress takes the oldest progress.
func (b *inbox) progress() (Event, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.running) == 0 {
		return Event{}, false
	}
	e := b.running[0]
	b.running = append(b.running[:0], b.running[1:]...)
	return e, true
}

// hinted reports whether a live event hasn't been delivered yet.
func (b *inbox) hinted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.hints) > 0
}

// overdue takes the oldest event that was received before then and that the
// stream hasn't shown since: one re-emitted, which the stream has from before.
func (b *inbox) overdue(then time.Time) (Event, bool) {
	b.mu.Lock()
	if len(b.hints) == 0 || b.hints[0].at.After(then) {
		b.mu.Unlock()
		return Event{}, false
	}
	e := b.hints[0].event
	b.mu.Unlock()
	return e, b.deliver(e)
}

// deliver records that e goes to the caller, and reports false if it went
// before. It takes away the hint of it and progress that it makes obsolete.
func (b *inbox) deliver(e Event) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.hints {
		if b.hints[i].event.ID == e.ID {
			b.hints = append(b.hints[:i], b.hints[i+1:]...)
			break
		}
	}
	if _, known := b.seen[e.ID]; known {
		return false
	}
	b.remember(e.ID)
	b.dropProgress(e.CommandID(), e.ConversationID())
	return true
}

// dropProgress is called with mu held.
func (b *inbox) dropProgress(command, conversation string) {
	kept := b.running[:0]
	for _, p := range b.running {
		if p.CommandID() != command || p.ConversationID() != conversation {
			kept = append(kept, p)
		}
	}
	b.running = kept
}

// remember is called with mu held, for an id that isn't in seen.
func (b *inbox) remember(id string) {
	b.seen[id] = struct{}{}
	if len(b.order) < maxSeen {
		b.order = append(b.order, id)
		return
	}
	delete(b.seen, b.order[b.oldest])
	b.order[b.oldest] = id
	b.oldest = (b.oldest + 1) % maxSeen
}
