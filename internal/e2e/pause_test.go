package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

// An operator's hand holds all workers, also one that starts meanwhile, and across
// a stop; what was held is done when it lets go.
func TestAPauseHoldsAllWorkersAndLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	giant := chat{"demo", "giant", "g"}
	r.huge(t, giant, 150_000)
	crowd := r.crowd(t, "demo", "u", 20, 20)
	settings := []string{"max-rows=100", "min-rows=50"}
	first, second := r.start(t, settings...), r.start(t, settings...)
	long := giant.ask()
	r.send(t, long)
	eventually(t, timeout, "the long deletion is under way", func() bool { _, cursor, _, _ := r.ledger(t, long.CommandID, "g"); return cursor > 0 })

	if out := r.must(t, "pause"); !strings.Contains(out, "lane all: paused") {
		t.Errorf("pause printed %q", out)
	}
	for _, w := range []*worker{first, second} {
		readyButPaused(t, w)
	}
	wantWaiting(t, r, long, "paused")
	_, stopped, _, _ := r.ledger(t, long.CommandID, "g")
	cmds := make([]conversation.Command, 0, len(crowd))
	for _, c := range crowd {
		cmds = append(cmds, c.ask())
		r.send(t, cmds[len(cmds)-1])
	}
	first.term(t) // it holds the long deletion, or the second does
	third := r.start(t, settings...)
	readyButPaused(t, third)
	second.term(t)
	wantWaiting(t, r, long, "paused")
	const inFlight = 2 * 100 // the batch in flight, and the one before it, whose end the ledger learns with it
	if state, cursor, _, _ := r.ledger(t, long.CommandID, "g"); state != "pending" || cursor > stopped+inFlight {
		t.Errorf("the long deletion is %s at %d; want it released at %d, where the pause found it", state, cursor, stopped)
	}
	stored, _, _ := r.seen(typed(conversation.TypeDeleted))
	if n := len(stored) + one[int](t, r, `select count(*)::int from lethe.deletions where state = 'done'`); n > 0 {
		t.Errorf("%d deletions were finished or told during the pause", n)
	}
	if n := metric(t, "lethe_commands_in_flight", "", third); n != 0 {
		t.Errorf("the worker that began during the pause has taken %v commands", n)
	}

	r.must(t, "resume")
	for _, cmd := range cmds {
		r.awaitStored(t, 1, of(cmd.CommandID))
	}
	r.awaitStored(t, 1, of(long.CommandID))
	r.settled(t)
	wantWaiting(t, r, long, "")
	if code, body := third.get(t, "/readyz"); code != http.StatusOK || strings.TrimSpace(body) != "ready" {
		t.Errorf("/readyz = %d %q after the pause; want 200 ready", code, body)
	}
	r.noAttempts(t)
	r.wantEmpty(t)
	third.term(t)
}

// A pause of the long lane holds what is long, and nothing else.
func TestAPauseOfTheLongLaneHoldsLargeDeletionsAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	giant := chat{"demo", "giant", "g"}
	r.huge(t, giant, 20_000)
	small := r.crowd(t, "demo", "u", 1, 20)[0]
	r.must(t, "pause", "--lane", "long") // while no worker runs
	w := r.start(t)
	long := giant.ask()
	r.send(t, long)
	readyButPaused(t, w)
	wantWaiting(t, r, long, "paused")
	eventually(t, timeout, "the progress says so", func() bool {
		_, heard, _ := r.seen(typed(conversation.TypeDeleting))
		return slices.ContainsFunc(heard, func(e event) bool { return e.command() == long.CommandID && e.body["waiting_for"] == "paused" })
	})
	cmd := small.ask()
	r.send(t, cmd)
	r.awaitStored(t, 1, of(cmd.CommandID))
	if state, cursor, _, _ := r.ledger(t, long.CommandID, "g"); state != "running" || cursor > 0 {
		t.Errorf("the long deletion is %s at %d; want it held before its first batch, with its lease", state, cursor)
	}
	if held, taking := metric(t, "lethe_throttled", `reason="paused"`, w), metric(t, "lethe_not_pulling", "", w); held != 1 || taking != 0 {
		t.Errorf("lethe_throttled is %v, lethe_not_pulling %v; want 1 and 0", held, taking)
	}
	r.must(t, "resume", "--lane", "long")
	r.awaitStored(t, 1, of(long.CommandID))
	r.settled(t)
	if s := metric(t, "lethe_throttled_seconds_total", `reason="paused"`, w); s <= 0 {
		t.Errorf("lethe_throttled_seconds_total is %v; want more", s)
	}
	w.term(t)
}

// readyButPaused waits until the worker says that it is paused, and asserts that
// it is ready.
func readyButPaused(t testing.TB, w *worker) {
	t.Helper()
	eventually(t, timeout, "/readyz says paused", func() bool {
		code, body := w.get(t, "/readyz")
		if code != http.StatusOK {
			t.Fatalf("/readyz = %d %q; want a paused worker to be ready", code, body)
		}
		return strings.Contains(body, "ready; throttled: paused")
	})
}

// wantWaiting waits until `worker status` says what a command's only deletion waits for.
func wantWaiting(t testing.TB, r *rig, cmd conversation.Command, want string) {
	t.Helper()
	eventually(t, timeout, "waiting_for is "+want, func() bool {
		var status struct {
			WaitingFor string `json:"waiting_for"`
		}
		res := r.call(t, "status", cmd.CommandID, "--json")
		return res.code == 0 && json.Unmarshal([]byte(res.out), &status) == nil && status.WaitingFor == want
	})
}
