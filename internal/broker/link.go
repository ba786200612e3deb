package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/internal/natserr"
)

// Causes that the broker closes the gate for.
const (
	causeLink     = "nats"
	causeCommands = "commands"
	causeAcks     = "acks"
)

// link follows the state of the connection and keeps the gate in step with it.
type link struct {
	gate gate
	log  *slog.Logger
	urls string

	mu      sync.Mutex    // guards what follows, and the gate's cause "nats"
	up      bool          // as last seen
	seen    bool          // whether it was ever observed
	last    error         // why it is down, as far as known
	changed chan struct{} // closed and replaced at each event
}

func newLink(cfg Config) *link {
	return &link{gate: cfg.Gate, log: cfg.Log, urls: redact(cfg.URL), changed: make(chan struct{})}
}

// observe reads the state of the connection after an event. The event itself is no
// evidence: it is reported later than it happens.
func (l *link) observe(nc *nats.Conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	up := nc.IsConnected()
	if err != nil {
		l.last = err
	}
	was, seen := l.up, l.seen
	l.up, l.seen = up, true
	close(l.changed)
	l.changed = make(chan struct{})
	switch {
	case up:
		old := checkServer(nc, oldestServer, "Lethe")
		if !was {
			l.last = nil
			l.log.Info("connected to NATS", "url", nc.ConnectedUrlRedacted(), "server", nc.ConnectedServerName(), "version", nc.ConnectedServerVersion())
		}
		if old == nil {
			l.gate.Open(causeLink)
			break
		}
		l.gate.Close(causeLink, old.Error()) // until the connection is to a newer one
		if !was {
			l.log.Error("nats-server is too old; not pulling commands", "error", old)
		}
	default:
		l.gate.Close(causeLink, l.reason(nc))
		if was || !seen {
			l.log.Warn("no connection to NATS; retrying", withError(l.why(nc), "url", l.urls)...)
		}
	}
}

// changes returns a channel that is closed at the next event.
func (l *link) changes() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// await returns nil once there is a connection, or an error that reports why there
// is none when ctx ends.
func (l *link) await(ctx context.Context, nc *nats.Conn) error {
	for {
		changed := l.changes()
		if nc.IsConnected() {
			return nil
		}
		if nc.IsClosed() {
			return fmt.Errorf("NATS at %s: %w", l.urls, nats.ErrConnectionClosed)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			l.mu.Lock()
			reason := l.reason(nc)
			l.mu.Unlock()
			return fmt.Errorf("%s: %w", reason, ctx.Err())
		}
	}
}

// reason describes in one line what is wrong. mu is held.
func (l *link) reason(nc *nats.Conn) string {
	text := "no connection to NATS at " + l.urls
	err := l.why(nc)
	if err == nil {
		return text
	}
	if refusal(err) {
		return text + ": " + err.Error() + ": check the credentials"
	}
	return text + ": " + err.Error()
}

// why returns the best known cause. mu is held.
func (l *link) why(nc *nats.Conn) error {
	if l.last != nil {
		return l.last
	}
	return nc.LastError()
}

// refusal reports whether a server answered and refused the credentials.
func refusal(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) ||
		errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired) ||
		strings.Contains(strings.ToLower(err.Error()), "authorization violation")
}

func (b *Broker) reconnected(nc *nats.Conn) {
	b.link.observe(nc, nil)
	b.acks.reopen() // permissions come with the connection
}

func (b *Broker) closed(nc *nats.Conn) {
	if b.closing.Load() {
		return
	}
	b.link.observe(nc, nc.LastError())
	b.log.Error("connection to NATS closed permanently; restart the worker", withError(nc.LastError())...)
}

func (b *Broker) disconnected(nc *nats.Conn, err error) {
	if !b.closing.Load() {
		b.link.observe(nc, err)
	}
}

// withError adds an error, if there is one, to the attributes of a log line.
func withError(err error, attrs ...any) []any {
	if err == nil {
		return attrs
	}
	return append(attrs, "error", err)
}

// asyncError receives what the server reports on the side.
func (b *Broker) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if d, ok := natserr.AsDenial(err); ok {
		if !b.denials.report(d) && strings.HasPrefix(d.Subject, ackPrefix) {
			b.metrics.SettleErrors.Inc()
			b.acks.denied(b.AckWait())
		}
		return
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	b.log.Warn("NATS reports an error", "subject", subject, "error", err)
}

// ackWatch closes the gate while the server refuses acknowledgements: each
// delivery would come again and again. Since a refusal shows only at the next
// acknowledgement, the gate opens again after an AckWait, or on a new connection.
type ackWatch struct {
	gate gate

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	ended bool
}

func (w *ackWatch) denied(ackWait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	w.gate.Close(causeAcks, "not allowed to publish on "+ackPrefix+">: allow it in the permissions of this NATS user, or every command is redelivered")
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(ackWait, w.reopen)
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
