package broker

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/lethe-im/lethe/internal/natserr"
)

// Beginnings of subjects: of JetStream's API, and of those that deliveries are
// settled on.
const (
	jetstreamAPI = "$JS.API."
	ackPrefix    = "$JS.ACK."
)

// denials passes each denial to those who wait for just that operation.
type denials struct {
	log   *slog.Logger
	inbox string // how the subjects of answers begin
	api   string // and those of requests to JetStream of the domain; see [denials.ofAPI]

	mu       sync.Mutex // guards what follows
	watchers map[*watcher]struct{}
	logged   map[string]time.Time // when each kind was last logged
}

type watcher struct {
	match  func(*natserr.Denial) bool
	report func(error)
}

func newDenials(cfg Config) *denials {
	return &denials{log: cfg.Log, inbox: cfg.InboxPrefix + ".", api: namesOf(cfg.Names, cfg.Domain).api, watchers: map[*watcher]struct{}{}, logged: map[string]time.Time{}}
}

// watch calls report, which must not block, for each denial that match accepts, until
// the function that it returns is called.
func (d *denials) watch(match func(*natserr.Denial) bool, report func(error)) (stop func()) {
	w := &watcher{match, report}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watchers[w] = struct{}{}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, w)
	}
}

// report passes the denial on. It returns whether somebody waited for it; otherwise it
// is logged, each kind once a minute.
func (d *denials) report(found *natserr.Denial) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	heard := false
	for w := range d.watchers {
		if w.match(found) {
			w.report(found)
			heard = true
		}
	}
	if heard {
		return true
	}
	kind := found.Operation + " " + root(found.Subject)
	if now := time.Now(); now.Sub(d.logged[kind]) >= time.Minute {
		d.logged[kind] = now
		d.log.Error("NATS refuses an operation", "error", found)
	}
	return false
}

// root returns the first two tokens of a subject: kinds are few, subjects many.
func root(subject string) string {
	first, rest, _ := strings.Cut(subject, ".")
	second, _, _ := strings.Cut(rest, ".")
	return first + "." + second
}

// ofInbox matches the subscriptions that answers come on.
func (d *denials) ofInbox(found *natserr.Denial) bool {
	return found.Operation == natserr.Subscribe && strings.HasPrefix(found.Subject, d.inbox)
}

// ofAPI matches a request to JetStream's API whose subject contains part, and
// the answers to it. A server of the domain takes the domain out of the subject before it
// asks the permissions, and one of another domain doesn't.
func (d *denials) ofAPI(part string) func(*natserr.Denial) bool {
	return func(found *natserr.Denial) bool {
		return d.ofInbox(found) || found.Operation == natserr.Publish &&
			(strings.HasPrefix(found.Subject, d.api) || strings.HasPrefix(found.Subject, jetstreamAPI)) && strings.Contains(found.Subject, part)
	}
}
