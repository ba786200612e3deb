package broker

import (
	"sync"
	"time"
)

// heartbeat extends the ack deadline of what is in flight three times in each AckWait:
// from the first Run until Close, so that it goes on for what is settled after the
// pulling has ended.
type heartbeat struct {
	extend func()

	mu      sync.Mutex // guards what follows
	ackWait time.Duration
	timer   *time.Timer // nil before the start
	ended   bool

	beating sync.Mutex // held while extend runs
}

func newHeartbeat(ackWait time.Duration, extend func()) *heartbeat {
	if ackWait == 0 {
		ackWait = defaultAckWait
	}
	return &heartbeat{extend: extend, ackWait: ackWait}
}

// start begins to call extend. A second call does nothing.
func (h *heartbeat) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer == nil && !h.ended {
		h.timer = time.AfterFunc(h.ackWait/3, h.beat)
	}
}

func (h *heartbeat) beat() {
	h.beating.Lock()
	defer h.beating.Unlock()
	h.mu.Lock()
	ended := h.ended
	h.mu.Unlock()
	if ended {
		return
	}
	h.extend()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.timer.Reset(h.ackWait / 3)
	}
}

// follow takes over the consumer's AckWait, which may not be the configured one.
func (h *heartbeat) follow(ackWait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ackWait <= 0 || ackWait == h.ackWait {
		return
	}
	h.ackWait = ackWait
	if h.timer != nil && !h.ended {
		h.timer.Reset(0) // the old interval may have been too long
	}
}

// stop ends the heartbeat, and waits for a beat that is under way.
func (h *heartbeat) stop() {
	h.mu.Lock()
	h.ended = true
	if h.timer != nil {
		h.timer.Stop()
	}
	h.mu.Unlock()
	h.beating.Lock()
	defer h.beating.Unlock()
}

// AckWait returns how long the stream waits for a heartbeat before it gives a
// command to another worker: the consumer's, as it was last read. Before, it is the
// configured one.
func (b *Broker) AckWait() time.Duration {
	b.heartbeat.mu.Lock()
	defer b.heartbeat.mu.Unlock()
	return b.heartbeat.ackWait
}

// extendAll extends the ack deadline of all that is in flight.
func (b *Broker) extendAll() {
	if !b.nc.IsConnected() {
		return // it would arrive late and prove nothing
	}
	for _, s := range b.inFlight.snapshot() {
		if err := s.extend(); err != nil {
			b.log.Warn("could not extend ack deadline of in-flight commands; they may be redelivered", "error", err)
			return
		}
	}
}

// effectiveAckWait is the shortest time after which the stream redelivers: a
// consumer's back-off, which setup removes, replaces its AckWait.
func effectiveAckWait(ackWait time.Duration, backOff []time.Duration) time.Duration {
	if len(backOff) > 0 {
		return backOff[0]
	}
	return ackWait
}
