package handler

import (
	"context"
	"sort"
	"strings"
	"sync"
)

// Gate keeps the worker from taking new commands while the infrastructure is at
// fault. It is closed while any cause is noted. The zero value is not usable;
// see [NewGate]. Safe for concurrent use.
type Gate struct {
	mu      sync.Mutex
	reasons map[string]reason
	opened  chan struct{} // closed while the gate is open
	changed func(cause string, closed bool)
}

// reason is why the gate is closed.
type reason struct {
	text  string
	meant bool // by an operator: the worker is ready, and paused
	tries bool // the worker isn't ready, but takes commands to try
}

// NewGate returns an open gate. changed, if not nil, is called for each cause that
// comes or goes.
func NewGate(changed func(cause string, closed bool)) *Gate {
	opened := make(chan struct{})
	close(opened)
	return &Gate{reasons: map[string]reason{}, opened: opened, changed: changed}
}

// Close notes that cause keeps the worker from working, and why. A second call
// replaces the reason. It reports whether the cause is new.
func (g *Gate) Close(cause, text string) bool { return g.close(cause, reason{text: text}) }

// Pause is Close for an operator's pause, which is no fault: the worker pulls no
// commands, but is ready.
func (g *Gate) Pause(cause, text string) bool { return g.close(cause, reason{text: text, meant: true}) }

// Try lets the worker take commands although cause is noted, to find out whether
// it still holds; the worker isn't ready. It does nothing if cause isn't noted.
func (g *Gate) Try(cause string) { g.try(cause, true) }

// Untry takes Try back.
func (g *Gate) Untry(cause string) { g.try(cause, false) }

func (g *Gate) try(cause string, tries bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if why, known := g.reasons[cause]; known && why.tries != tries {
		why.tries = tries
		g.reasons[cause] = why
		g.update()
	}
}

// update opens and closes the gate, as the reasons say. It is called with mu held.
func (g *Gate) update() {
	closed := false
	for _, why := range g.reasons {
		closed = closed || !why.tries
	}
	select {
	case <-g.opened:
		if closed {
			g.opened = make(chan struct{})
		}
	default:
		if !closed {
			close(g.opened)
		}
	}
}

func (g *Gate) close(cause string, why reason) bool {
	g.mu.Lock()
	_, known := g.reasons[cause]
	g.reasons[cause] = why
	g.update()
	g.mu.Unlock()
	if !known && g.changed != nil {
		g.changed(cause, true)
	}
	return !known
}

// Open takes cause back. It reports whether it was noted.
func (g *Gate) Open(cause string) bool {
	g.mu.Lock()
	_, known := g.reasons[cause]
	delete(g.reasons, cause)
	g.update()
	g.mu.Unlock()
	if known && g.changed != nil {
		g.changed(cause, false)
	}
	return known
}

// Wait returns nil when the gate is open, or the context's error.
func (g *Gate) Wait(ctx context.Context) error {
	for {
		g.mu.Lock()
		opened := g.opened
		g.mu.Unlock()
		select {
		case <-opened:
			return nil
		default:
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Reason returns what fault keeps the gate closed, in one line; "" while none
// does.
func (g *Gate) Reason() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	lines := make([]string, 0, len(g.reasons))
	for cause, why := range g.reasons {
		if !why.meant {
			lines = append(lines, cause+": "+strings.ReplaceAll(why.text, "\n", "; "))
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "; ")
}
