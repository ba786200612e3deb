package handler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// order admits what waits, one after the other, and returns the apps in the order of their turns.
func (q *turns) order(now time.Time, tickets ...*ticket) string {
	var apps []string
	for range tickets {
		for _, t := range tickets {
			if t.admitted && t.app != "" {
				apps = append(apps, t.app)
				app := t.app
				t.app = "" // it has had its turn
				q.release(app, now)
			}
		}
	}
	return strings.Join(apps, "")
}

func TestTurnsGoRoundTheApps(t *testing.T) {
	t.Parallel()
	now := time.Now()
	q := newTurns()
	running := []*ticket{newTicket("a"), newTicket("a")}
	for _, r := range running {
		if q.add(r, now); !r.admitted {
			t.Fatal("an app alone doesn't have all of the room")
		}
	}
	var tickets []*ticket
	for _, app := range strings.Split("aaaaabbc", "") {
		tickets = append(tickets, newTicket(app))
		q.add(tickets[len(tickets)-1], now)
	}
	q.release("a", now)
	if got := q.order(now, tickets...); got != "bcbaaaaa" {
		t.Errorf("turns: %s; want bcbaaaaa: one of a runs all the time", got)
	}
}

// Of two that run for one app, one gives way to another app's, and goes on before the others of its app.
func TestAnAppThatHasAllTheRoomGivesWay(t *testing.T) {
	t.Parallel()
	now := time.Now()
	q := newTurns()
	for range 3 {
		q.add(newTicket("a"), now)
	}
	if q.wanted("a", now) {
		t.Error("a is to give way to nobody")
	}
	b := newTicket("b")
	q.add(b, now)
	if !q.wanted("a", now) || q.wanted("b", now) {
		t.Fatal("a isn't to give way to b")
	}
	rest := newTicket("a")
	q.giveWay(rest, now)
	if !b.admitted || rest.admitted || q.wanted("a", now) {
		t.Errorf("b admitted: %v, a: %v, wanted of a: %v; want b in a's place", b.admitted, rest.admitted, q.wanted("a", now))
	}
	if q.release("b", now); !rest.admitted {
		t.Error("what has given way isn't the next one of its app")
	}
	late := newTicket("b")
	q.add(late, now)
	q.leave(late, now) // and comes again soon
	if !q.wanted("a", now) || q.wanted("a", now.Add(expectedBack+1)) {
		t.Error("a is to give way to who is expected, and to nobody else")
	}
	rest = newTicket("a")
	q.giveWay(rest, now)
	if again := newTicket("b"); rest.admitted || !func() bool { q.add(again, now); return again.admitted }() {
		t.Error("b has found no room when it came again")
	}
}

func TestAnAppThatIsTurnedAwayFindsRoomWhenItComesAgain(t *testing.T) {
	t.Parallel()
	now := time.Now()
	q := newTurns()
	var as []*ticket
	for range 10 {
		as = append(as, newTicket("a"))
		q.add(as[len(as)-1], now)
	}
	b := newTicket("b")
	q.add(b, now)
	if b.admitted || !q.leave(b, now) || q.leave(as[9], now) {
		t.Fatal("b is to be expected, and a isn't")
	}
	q.release("a", now)
	if as[2].admitted {
		t.Error("a has taken the room that b is to find")
	}
	if again := newTicket("b"); !func() bool { q.add(again, now); return again.admitted }() {
		t.Error("b has found no room")
	}
	q.release("b", now)
	if !as[2].admitted {
		t.Error("a has to wait though nobody else is expected any more")
	}
	q.release("a", now)
	b = newTicket("b")
	q.leave(b, now) // and never comes again
	if q.release("a", now); q.total != 1 {
		t.Errorf("%d run; want one, and room for b", q.total)
	}
	if q.admit(now.Add(expectedBack + 1)); q.total != 2 {
		t.Errorf("%d run; want 2 once b is late", q.total)
	}
}

func TestAFullWaitingRoomTurnsAwayWhoHasTheMost(t *testing.T) {
	t.Parallel()
	now := time.Now()
	q := newTurns()
	var as []*ticket
	for range maxEnumerations + enumerationsWaiting {
		as = append(as, newTicket("a"))
		q.add(as[len(as)-1], now)
	}
	away := func(t *ticket) bool {
		select {
		case <-t.called:
			return !t.admitted
		default:
			return false
		}
	}
	more := newTicket("a")
	if q.add(more, now); !away(more) {
		t.Error("one more of a waits; want it turned away")
	}
	b := newTicket("b")
	if q.add(b, now); away(b) || !away(as[len(as)-1]) {
		t.Error("b is turned away; want the last of a")
	}
	for i := range enumerationsWaiting - 1 {
		q.add(newTicket(fmt.Sprint("app", i)), now)
	}
	last := newTicket("z")
	if q.add(last, now); !away(last) || len(q.waiting) != enumerationsWaiting {
		t.Errorf("%d wait; want the last one turned away where each app has one", len(q.waiting))
	}
	if q.release("a", now); !b.admitted || slices.Contains(q.waiting, b) {
		t.Error("b isn't the next one")
	}
}
