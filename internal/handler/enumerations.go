package handler

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// maxEnumerations is how many enumerations a worker runs at a time, and enumerationsWaiting how many wait
	// for one to end, each for waitQueueTimeout at most.
	maxEnumerations, enumerationsWaiting = 2, 64
	// expectedBack is for how long the last room is kept for an app whose enumeration had to be deferred: longer than [purge.DeferDelay] at most.
	expectedBack = 10 * time.Second
)

// enumerations are those that run in a worker. Safe for concurrent use.
type enumerations struct {
	stopping context.Context
	mu       sync.Mutex // guards what follows
	commands map[purge.Key]bool
	inside   map[*enumeration]bool // those that have room
	turns    turns
}

func newEnumerations(stopping context.Context) *enumerations {
	return &enumerations{stopping: stopping, commands: map[purge.Key]bool{}, inside: map[*enumeration]bool{}, turns: newTurns()}
}

// enter waits for room for the enumeration, and returns what frees it. It reports false where the command must be deferred: there is no
// room in time, or the same command, sent twice, runs already.
func (r *enumerations) enter(e *enumeration) (release func(), ok bool) {
	k := purge.Key{App: e.d.App, Command: e.d.Command}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.commands[k] {
		return nil, false
	}
	r.commands[k] = true
	t := newTicket(k.App)
	r.turns.add(t, time.Now())
	if !r.awaitRoom(e, t) {
		delete(r.commands, k)
		return nil, false
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.commands, k)
		if r.inside[e] {
			delete(r.inside, e)
			r.turns.release(k.App, time.Now())
		}
	}, true
}

// errNoRoom is that an enumeration that has given way finds no room in time.
var errNoRoom = errors.New("no room for the enumeration")

// giveWay leaves the enumeration's room to another app's that waits, where its own app has more than one, and waits for the next
// one. Its pages in flight go on. It reports whether it has waited; the error is errNoRoom where that was too long.
func (r *enumerations) giveWay(e *enumeration) (waited bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !r.turns.wanted(e.d.App, now) {
		return false, nil
	}
	delete(r.inside, e)
	t := newTicket(e.d.App)
	r.turns.giveWay(t, now)
	if !r.awaitRoom(e, t) {
		return true, errNoRoom
	}
	return true, nil
}

// awaitRoom is called with mu held, and holds it when it returns.
func (r *enumerations) awaitRoom(e *enumeration, t *ticket) bool {
	for o := range r.inside {
		o.signal() // which may have to give way
	}
	timeout := time.NewTimer(waitQueueTimeout)
	defer timeout.Stop()
	r.mu.Unlock()
	select {
	case <-t.called: // at once, or soon
	default:
		e.job.slot.Leave()
		select {
		case <-t.called:
		case <-timeout.C:
		case <-r.stopping.Done():
		}
	}
	r.mu.Lock()
	if !t.admitted && r.turns.leave(t, time.Now()) {
		time.AfterFunc(expectedBack, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.turns.admit(time.Now())
		})
	}
	if t.admitted {
		r.inside[e] = true
	}
	return t.admitted
}

// ticket is what an enumeration waits with. What guards its [turns] guards it, too.
type ticket struct {
	app      string
	called   chan struct{} // closed when it has been admitted or turned away
	admitted bool
}

func newTicket(app string) *ticket { return &ticket{app: app, called: make(chan struct{})} }

// turns decides whose turn it is: of the apps that wait the one that has the fewest running, and of those the one whose last turn was first. An app
// whose ticket had to be turned away while it had none running finds room when it comes again: others don't take the last one meanwhile. It reads no clock,
// and isn't safe for concurrent use.
type turns struct {
	waiting  []*ticket // in the order in which they came
	running  map[string]int
	total    int                  // of running
	last     map[string]int       // the number of an app's last turn
	turn     int                  // the number of the last one
	expected map[string]time.Time // apps that were turned away, and until when they are expected
}

func newTurns() turns {
	return turns{running: map[string]int{}, last: map[string]int{}, expected: map[string]time.Time{}}
}

// add lets a ticket wait. Where there are too many, one of the app that has the most is turned away: the last one.
func (q *turns) add(t *ticket, now time.Time) {
	q.waiting = append(q.waiting, t)
	if q.admit(now); len(q.waiting) <= enumerationsWaiting {
		return
	}
	counts := map[string]int{}
	for _, w := range q.waiting {
		counts[w.app]++
	}
	away := t
	for _, w := range q.waiting {
		if w.app == away.app || counts[w.app] > counts[away.app] {
			away = w
		}
	}
	close(away.called)
	q.leave(away, now)
}

// leave ends the wait of a ticket that has not been admitted. It reports true where its app has none running, so that it is expected.
func (q *turns) leave(t *ticket, now time.Time) bool {
	q.waiting = slices.DeleteFunc(q.waiting, func(w *ticket) bool { return w == t })
	if q.running[t.app] > 0 {
		return false
	}
	q.expected[t.app] = now.Add(expectedBack)
	return true
}

// wanted reports whether a room of the app is for another one, which has fewer running and waits, or is expected.
func (q *turns) wanted(app string, now time.Time) bool {
	for other, until := range q.expected {
		if other != app && q.running[app] > 1 && !now.After(until) {
			return true
		}
	}
	return slices.ContainsFunc(q.waiting, func(w *ticket) bool { return q.running[w.app]+1 < q.running[app] })
}

// giveWay ends a turn that isn't over: the ticket for the rest of it is the first of its app.
func (q *turns) giveWay(t *ticket, now time.Time) {
	q.waiting = slices.Insert(q.waiting, 0, t)
	q.release(t.app, now)
}

// release ends a turn.
func (q *turns) release(app string, now time.Time) {
	q.total--
	if q.running[app]--; q.running[app] == 0 {
		delete(q.running, app)
	}
	q.admit(now)
}

// admit admits all that there is room for.
func (q *turns) admit(now time.Time) {
	for t := q.next(now); t != nil; t = q.next(now) {
		q.waiting = slices.DeleteFunc(q.waiting, func(w *ticket) bool { return w == t })
		q.turn++
		q.last[t.app] = q.turn
		q.running[t.app]++
		q.total++
		delete(q.expected, t.app)
		t.admitted = true
		close(t.called)
	}
	for app := range q.last { // those that nobody waits for begin anew
		if q.running[app] == 0 && !slices.ContainsFunc(q.waiting, func(w *ticket) bool { return w.app == app }) {
			delete(q.last, app)
		}
	}
}

// next is the ticket whose turn it is; nil if there is no room for any.
func (q *turns) next(now time.Time) (next *ticket) {
	if q.total >= maxEnumerations {
		return nil
	}
	for _, t := range q.waiting {
		if next == nil || q.running[t.app] < q.running[next.app] || q.running[t.app] == q.running[next.app] && q.last[t.app] < q.last[next.app] {
			next = t
		}
	}
	expected := false
	for app, until := range q.expected {
		if now.After(until) {
			delete(q.expected, app)
		} else {
			expected = true
		}
	}
	if next != nil && expected && q.running[next.app] > 0 && q.total+1 == maxEnumerations {
		return nil
	}
	return next
}
