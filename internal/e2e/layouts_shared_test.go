package e2e

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// A message that users share goes with the last pointer to it, and so does a file with the last message, whatever
// pointers come and go meanwhile: nothing stays to which nothing refers, and nothing goes to which something does.
func TestLayoutsSharedMessagesGoWithTheLastPointer(t *testing.T) {
	t.Parallel()
	shared := slices.DeleteFunc(slices.Clone(localtest.Layouts), func(l localtest.Layout) bool { return !l.Shared })
	forLayouts(t, shared, func(t *testing.T, l localtest.Layout) {
		t.Helper()
		r := newLayoutRig(t, l)
		for range 2 {
			r.start(t, stageSettings...)
		}
		var writers sync.WaitGroup
		for _, what := range []string{"give", "give", "take", "say"} {
			writers.Go(func() { r.write(t, what, sized(60, 2000)) })
		}
		done := make(chan struct{})
		go func() { writers.Wait(); close(done) }()
		for written := false; !written; { // the last round is without writers
			select {
			case <-done:
				written = true
			default:
			}
			var cmds []conversation.Command
			for i, user := range r.Users {
				for _, id := range r.IDs[i] {
					cmds = append(cmds, r.ask(t, user, id, last(r.Seqs(t, "public", user, id))))
				}
			}
			r.flood(t, cmds)
			for _, cmd := range cmds {
				r.deleted(t, cmd.CommandID, cmd.Conversations[0].ID)
			}
		}
		r.settled(t)
		if orphans := one[string](t, r.rig, `select coalesce(string_agg(o, ', '), '') from layout.orphans() o`); orphans != "" {
			t.Errorf("nothing refers to %s", orphans)
		}
		r.noAttempts(t)
	})
}

// write does one thing n times, each time for some user. What a deletion forestalls is no fault.
func (r *layoutRig) write(t *testing.T, what string, n int) {
	t.Helper()
	for range n {
		u := rand.IntN(len(r.Users))
		args := []any{r.App, r.Users[u], r.IDs[u][rand.IntN(3)]}
		sql := `select layout.` + what + `($1, $2, $3)`
		if what == "say" {
			sql, args = `select layout.say($1, $2, $3, 3, $4, '1 microsecond', true)`, append(args, time.Now())
		}
		_, err := r.db.Exec(t.Context(), sql, args...)
		if err != nil && !strings.Contains(err.Error(), "violates foreign key constraint") && !strings.Contains(err.Error(), "deadlock detected") {
			t.Errorf("%s: %v", what, err)
			return
		}
	}
}
