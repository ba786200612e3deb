package broker

import (
	"sync"
	"sync/atomic"
	"time"
)

// pulse tells the stream, three times in each AckWait, that what is in flight is
// being worked on: from the first Run until Close, so that it goes on for what
// is settled after the pulling has ended.
type pulse struct {
	changed chan time.Duration // a new AckWait
	quit    chan struct{}
	ackWait atomic.Int64 // nanoseconds

	mu      sync.Mutex // guards what follows, and changes of ackWait
	started bool
	done    chan struct{} // closed when the goroutine has ended
}

func newPulse(ackWait time.Duration) *pulse {
	if ackWait == 0 {
		ackWait = defaultAckWait
	}
	done := make(chan struct{})
	close(done)
	p := &pulse{changed: make(chan time.Duration), quit: make(chan struct{}), done: done}
	p.ackWait.Store(int64(ackWait))
	return p
}

// start begins to call beat. A second call does nothing.
func (p *pulse) start(beat func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.quit:
		return
	default:
	}
	if p.started {
		return
	}
	p.started, p.done = true, make(chan struct{})
	go p.run(beat, time.Duration(p.ackWait.Load()), p.done)
}

func (p *pulse) run(beat func(), ackWait time.Duration, done chan struct{}) {
	defer close(done)
	ticker := time.NewTicker(ackWait / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			beat()
		case ackWait = <-p.changed:
			ticker.Reset(ackWait / 3)
			beat() // the old rhythm may have been too slow
		case <-p.quit:
			return
		}
	}
}

// follow takes over the consumer's AckWait, which may not be the configured one.
func (p *pulse) follow(ackWait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ackWait <= 0 || p.ackWait.Swap(int64(ackWait)) == int64(ackWait) {
		return
	}
	if !p.started {
		return
	}
	select {
	case p.changed <- ackWait:
	case <-p.done:
	}
}

// AckWait returns how long the stream waits for a sign of life before it gives a
// command to another worker: the consumer's, as it was last read. Before, it is the
// configured one.
func (b *Broker) AckWait() time.Duration { return time.Duration(b.pulse.ackWait.Load()) }

// stop ends the pulse and waits for the end.
func (p *pulse) stop() {
	p.mu.Lock()
	done := p.done
	select {
	case <-p.quit:
	default:
		close(p.quit)
	}
	p.mu.Unlock()
	<-done
}

// beatAll is the pulse's beat.
func (b *Broker) beatAll() {
	if !b.nc.IsConnected() {
		return // it would arrive late and prove nothing
	}
	for _, p := range b.hand.snapshot() {
		if err := p.beat(); err != nil {
			b.log.Warn("no sign of life for what is in flight; it may be redelivered", "error", err)
			return
		}
	}
}
