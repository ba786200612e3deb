package presence

import (
	"context"
	"fmt"
	"sync"

	"github.com/lethe-im/lethe/conversation"
)

// audience is which of a user's devices are told of an event.
type audience struct {
	origin string // the device that asked, "" if it isn't known
	toAll  bool   // all of them; otherwise the origin alone
}

// includes is the rule of multi-client sync: all of the user's devices are told if
// the event says so, and otherwise the one that asked.
func (a audience) includes(device string) bool {
	return a.toAll || a.origin != "" && a.origin == device
}

// ofDeleted is the audience of a finished deletion. A member for whom somebody else
// deleted has no device that asked, so all of them are told.
func ofDeleted(d *conversation.Deleted) audience {
	byAnother := d.Scope == conversation.ScopeEveryone && d.RequestedBy != d.UserID
	return audience{origin: d.OriginDeviceID, toAll: d.MultiClientSync || byAnother}
}

// deletion names one deletion. No id has a control character.
func deletion(user, command, conversation string) string {
	return user + "\x00" + command + "\x00" + conversation
}

// maxAudiences is how many hidden deletions an instance remembers the audience of.
const maxAudiences = 4096

// audiences remembers whom hidden deletions were told to: their event of type erased,
// which may follow much later, is for the same devices and doesn't name them. Safe for
// concurrent use.
type audiences struct {
	mu    sync.Mutex // guards what follows
	of    map[string]audience
	order []string // the keys of it, oldest first
}

// address gives an event of type erased the audience of its deletion; ev.open says that
// it isn't known here. Of a hidden deletion it remembers the audience.
func (a *audiences) address(ev event) event {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.of[ev.deletion]
	switch {
	case ev.open && ok:
		ev.audience, ev.open = known, false
	case !ev.open && ev.deletion != "" && !ok:
		a.add(ev.deletion, ev.audience)
	}
	return ev
}

// add is called with mu held.
func (a *audiences) add(deletion string, who audience) {
	if a.of == nil {
		a.of = map[string]audience{}
	}
	if len(a.order) == maxAudiences {
		delete(a.of, a.order[0])
		a.order = a.order[1:]
	}
	a.of[deletion] = who
	a.order = append(a.order, deletion)
}

// search finds the audience of an open event in the stream, among all that it keeps of
// the user. Where the deletion has gone from there nobody is told.
func (s *Service) search(ctx context.Context, ev event) (event, error) {
	if ev = s.audiences.address(ev); !ev.open { // known by now
		return ev, nil
	}
	for e, err := range s.client.Missed(ctx, s.App, ev.user, 0, ev.seq) {
		if err != nil {
			return ev, fmt.Errorf("search for the deletion of an event: %w", err)
		}
		earlier, err := newEvent(e)
		if err != nil || e.Deleted == nil {
			continue
		}
		s.audiences.address(earlier)
		if earlier.deletion == ev.deletion {
			ev.audience = earlier.audience
		}
	}
	ev.open = false
	return ev, nil
}
