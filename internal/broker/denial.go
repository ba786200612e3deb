package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Beginnings of subjects: of JetStream's API, and of those that deliveries are
// settled on.
const (
	jetstreamAPI = "$JS.API."
	ackPrefix    = "$JS.ACK."
)

// denial is an operation that the server's permissions forbid. The server says
// so on the side; whoever waits for an answer hears nothing.
type denial struct {
	operation string // "Publish" or "Subscription"
	subject   string
	err       error
}

// Error says what to allow.
func (d *denial) Error() string {
	verb := "publish on"
	if d.operation == "Subscription" {
		verb = "subscribe to"
	}
	return fmt.Sprintf("not allowed to %s %s: allow it in the permissions of this NATS user: %v", verb, d.subject, d.err)
}

// Unwrap returns the client's error.
func (d *denial) Unwrap() error { return d.err }

// denialText is the only place where the server names operation and subject.
var denialText = regexp.MustCompile(`(?i)violation for (publish|subscription) to ("(?:[^"\\]|\\.)*")`)

func parseDenial(err error) (*denial, bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil, false
	}
	d := &denial{err: err}
	if m := denialText.FindStringSubmatch(err.Error()); m != nil {
		d.operation = "Publish"
		if strings.EqualFold(m[1], "subscription") {
			d.operation = "Subscription"
		}
		if s, uerr := strconv.Unquote(m[2]); uerr == nil {
			d.subject = s
		}
	}
	return d, true
}

// denials passes each denial to those who wait for just that operation.
type denials struct {
	log   *slog.Logger
	inbox string // how the subjects of answers begin

	mu       sync.Mutex // guards what follows
	watchers map[*watcher]struct{}
	logged   map[string]time.Time // when each kind was last logged
}

type watcher struct {
	match func(*denial) bool
	tell  func(error)
}

func newDenials(cfg Config) *denials {
	return &denials{log: cfg.Log, inbox: cfg.InboxPrefix + ".", watchers: map[*watcher]struct{}{}, logged: map[string]time.Time{}}
}

// watch calls tell, which must not block, for each denial that match says yes
// to, until the function that it returns is called.
func (d *denials) watch(match func(*denial) bool, tell func(error)) (stop func()) {
	w := &watcher{match, tell}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watchers[w] = struct{}{}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, w)
	}
}

// tell reports whether somebody waited for it; otherwise it is logged, each
// kind once a minute.
func (d *denials) tell(found *denial) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	told := false
	for w := range d.watchers {
		if w.match(found) {
			w.tell(found)
			told = true
		}
	}
	if told {
		return true
	}
	kind := found.operation + " " + root(found.subject)
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
func (d *denials) ofInbox(found *denial) bool {
	return found.operation == "Subscription" && strings.HasPrefix(found.subject, d.inbox)
}

// ofAPI matches a request to JetStream's API whose subject contains part, and
// the answers to it.
func (d *denials) ofAPI(part string) func(*denial) bool {
	return func(found *denial) bool {
		return d.ofInbox(found) || found.operation == "Publish" &&
			strings.HasPrefix(found.subject, jetstreamAPI) && strings.Contains(found.subject, part)
	}
}
