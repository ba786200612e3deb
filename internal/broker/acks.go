package broker

import (
	"log/slog"
	"sync"
	"time"
)

// ackWatch closes the gate while the server refuses acknowledgements: each
// delivery would come again and again. Since a refusal shows only at the next
// acknowledgement, the gate opens again after an AckWait, or on a new connection.
type ackWatch struct {
	gate  gate
	log   *slog.Logger
	wait  func() time.Duration
	count func()

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	ended bool
}

func newAckWatch(cfg Config, wait func() time.Duration) *ackWatch {
	return &ackWatch{gate: cfg.Gate, log: cfg.Log, wait: wait, count: cfg.Metrics.SettleErrors.Inc}
}

func (w *ackWatch) denied() {
	w.count()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	w.gate.Close(causeAcks, "not allowed to publish on "+ackPrefix+">: allow it in the permissions of this NATS user, or every command is redelivered")
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(w.wait(), w.reopen)
}

func (w *ackWatch) reopen() { w.gate.Open(causeAcks) }

func (w *ackWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.timer != nil {
		w.timer.Stop()
	}
}
