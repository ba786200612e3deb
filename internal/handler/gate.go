package handler

import (
	"context"
	"sort"
	"strings"
	"sync"
)

// Gate keeps the worker from pulling commands while the infrastructure is at
// fault. It is closed while any reason is noted. The zero value is not usable;
// see [NewGate]. Safe for concurrent use.
type Gate struct {
	mu      sync.Mutex
	reasons map[string]closure
	opened  chan struct{} // closed while the gate is open
	changed func(reason string, closed bool)
}

// closure says why the gate is closed.
type closure struct {
	text   string
	paused bool // by an operator: the worker is ready, and paused
	tries  bool // the worker isn't ready, but takes commands to try
}

// NewGate returns an open gate. changed, if not nil, is called for each reason that
// comes or goes.
func NewGate(changed func(reason string, closed bool)) *Gate {
	opened := make(chan struct{})
	close(opened)
	return &Gate{reasons: map[string]closure{}, opened: opened, changed: changed}
}

// Close notes that reason keeps the worker from working, and why. A second call
// replaces the reason. It reports whether the reason is new.
func (g *Gate) Close(reason, text string) bool { return g.close(reason, closure{text: text}) }

// Pause is Close for an operator's pause, which is no fault: the worker pulls no
// commands, but is ready.
func (g *Gate) Pause(reason, text string) bool {
	return g.close(reason, closure{text: text, paused: true})
}

// Try lets the worker take commands although reason is noted, to find out whether
// it still holds; the worker isn't ready. It does nothing if reason isn't noted.
func (g *Gate) Try(reason string) { g.try(reason, true) }

// Untry takes Try back.
func (g *Gate) Untry(reason string) { g.try(reason, false) }

func (g *Gate) try(reason string, tries bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if why, known := g.reasons[reason]; known && why.tries != tries {
		why.tries = tries
		g.reasons[reason] = why
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

func (g *Gate) close(reason string, why closure) bool {
	g.mu.Lock()
	_, known := g.reasons[reason]
	g.reasons[reason] = why
	g.update()
	g.mu.Unlock()
	if !known && g.changed != nil {
		g.changed(reason, true)
	}
	return !known
}

// Open takes reason back. It reports whether it was noted.
func (g *Gate) Open(reason string) bool {
	g.mu.Lock()
	_, known := g.reasons[reason]
	delete(g.reasons, reason)
	g.update()
	g.mu.Unlock()
	if known && g.changed != nil {
		g.changed(reason, false)
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
	for reason, why := range g.reasons {
		if !why.paused {
			lines = append(lines, reason+": "+strings.ReplaceAll(why.text, "\n", "; "))
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "; ")
}
