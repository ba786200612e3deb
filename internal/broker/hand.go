package broker

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// hand holds what was taken and isn't settled.
type hand struct {
	slots, most int
	gauge       prometheus.Gauge
	freed       chan struct{} // holds one token when there may be room again

	mu      sync.Mutex // guards what follows
	slotted int        // of all, those that still have their slot
	bytes   int
	all     *list.List    // of *slot, oldest first
	emptied chan struct{} // closed while nothing is in flight
}

func newHand(cfg Config) *hand {
	emptied := make(chan struct{})
	close(emptied)
	return &hand{
		slots: cfg.Slots, most: cfg.MaxInFlight, gauge: cfg.Metrics.InFlight,
		freed: make(chan struct{}, 1), all: list.New(), emptied: emptied,
	}
}

// room returns how many deliveries may be taken, and how many bytes before the
// last of them. 0 for none.
func (h *hand) room() (n, bytes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n = min(h.slots-h.slotted, h.most-h.all.Len())
	bytes = bytesInHand - h.bytes
	if n <= 0 || bytes <= 0 {
		return 0, 0
	}
	return n, bytes
}

// take gives p a slot, if there is one.
func (h *hand) take(p *slot) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.slotted >= h.slots || h.all.Len() >= h.most {
		return false
	}
	if h.all.Len() == 0 {
		h.emptied = make(chan struct{})
	}
	p.element = h.all.PushBack(p)
	h.slotted++
	h.bytes += p.size
	h.gauge.Set(float64(h.all.Len()))
	return true
}

// leave frees p's slot alone.
func (h *hand) leave(p *slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.freeSlot(p)
	h.wake()
}

// settled takes p out of the hand.
func (h *hand) settled(p *slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.freeSlot(p)
	h.all.Remove(p.element)
	h.bytes -= p.size
	h.gauge.Set(float64(h.all.Len()))
	if h.all.Len() == 0 {
		close(h.emptied)
	}
	h.wake()
}

// freeSlot is called with mu held.
func (h *hand) freeSlot(p *slot) {
	if !p.left {
		p.left = true
		h.slotted--
	}
}

// wake is called with mu held.
func (h *hand) wake() {
	select {
	case h.freed <- struct{}{}:
	default:
	}
}

// empty waits until nothing is in flight.
func (h *hand) empty(ctx context.Context) error {
	h.mu.Lock()
	emptied := h.emptied
	h.mu.Unlock()
	select {
	case <-emptied:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// snapshot returns what is in flight.
func (h *hand) snapshot() []*slot {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*slot, 0, h.all.Len())
	for e := h.all.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*slot))
	}
	return all
}

func (h *hand) oldest() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if front := h.all.Front(); front != nil {
		return time.Since(front.Value.(*slot).taken)
	}
	return 0
}

func (h *hand) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all.Len()
}
