package broker

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// inFlight holds the deliveries that were taken and aren't settled.
type inFlight struct {
	slots, max int
	gauge      prometheus.Gauge
	freed      chan struct{} // holds one token when there may be room again

	mu      sync.Mutex // guards what follows
	slotted int        // of all, those that still have their slot
	bytes   int
	all     *list.List    // of *slot, oldest first
	emptied chan struct{} // closed while nothing is in flight
}

func newInFlight(cfg Config) *inFlight {
	emptied := make(chan struct{})
	close(emptied)
	return &inFlight{
		slots: cfg.Slots, max: cfg.MaxInFlight, gauge: cfg.Metrics.InFlight,
		freed: make(chan struct{}, 1), all: list.New(), emptied: emptied,
	}
}

// room returns how many deliveries may be taken, and how many bytes before the
// last of them. 0 for none.
func (f *inFlight) room() (n, bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n = min(f.slots-f.slotted, f.max-f.all.Len())
	bytes = maxBytesInFlight - f.bytes
	if n <= 0 || bytes <= 0 {
		return 0, 0
	}
	return n, bytes
}

// take gives s a slot, if there is one.
func (f *inFlight) take(s *slot) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.slotted >= f.slots || f.all.Len() >= f.max {
		return false
	}
	if f.all.Len() == 0 {
		f.emptied = make(chan struct{})
	}
	s.element = f.all.PushBack(s)
	f.slotted++
	f.bytes += s.size
	f.gauge.Set(float64(f.all.Len()))
	return true
}

// leave frees the slot of s alone.
func (f *inFlight) leave(s *slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.freeSlot(s)
	f.wake()
}

// settled removes s.
func (f *inFlight) settled(s *slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.freeSlot(s)
	f.all.Remove(s.element)
	f.bytes -= s.size
	f.gauge.Set(float64(f.all.Len()))
	if f.all.Len() == 0 {
		close(f.emptied)
	}
	f.wake()
}

// freeSlot is called with mu held.
func (f *inFlight) freeSlot(s *slot) {
	if !s.left {
		s.left = true
		f.slotted--
	}
}

// wake is called with mu held.
func (f *inFlight) wake() {
	select {
	case f.freed <- struct{}{}:
	default:
	}
}

// empty waits until nothing is in flight.
func (f *inFlight) empty(ctx context.Context) error {
	f.mu.Lock()
	emptied := f.emptied
	f.mu.Unlock()
	select {
	case <-emptied:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// snapshot returns what is in flight.
func (f *inFlight) snapshot() []*slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*slot, 0, f.all.Len())
	for e := f.all.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*slot))
	}
	return all
}

func (f *inFlight) oldest() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if front := f.all.Front(); front != nil {
		return time.Since(front.Value.(*slot).taken)
	}
	return 0
}

func (f *inFlight) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all.Len()
}
