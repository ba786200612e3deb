package e2e

import (
	"fmt"
	"testing"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// What the plans of examples/plans with one log for all members promise: a deletion hides the log from its user, and what all have
// deleted goes, with everything that belongs to it and nothing else.
func TestLayoutsOfSharedLogs(t *testing.T) {
	t.Parallel()
	forLayouts(t, localtest.Logs, func(t *testing.T, l localtest.Layout) {
		t.Helper()
		r := newStrangersRig(t, l)
		r.start(t)
		log := r.IDs[0][2]
		seqs := r.Seqs(t, "public", "", log)
		var first conversation.Command
		for i, user := range r.Users {
			n := []int{6, 12, 9}[i] // of its twelve messages
			cmd := r.ask(t, user, log, seqs[n-1])
			r.send(t, cmd)
			e := r.deleted(t, cmd.CommandID, log)
			wantFields(t, e, "user_id", user, "through_seq", seqs[n-1], "messages_deleted", n, "erased", false, "conversation_removed", false)
			r.ByHand(t, user, log, seqs[n-1], "hide")
			if i == 0 {
				first = cmd
			}
		}
		if len(r.Users) > 0 {
			r.wantErased(t, first, fmt.Sprint(seqs[5]))
			r.ByHand(t, "", log, seqs[5], "forget", "leave")
		}
		r.Compare(t, false)
		r.noAttempts(t)
	})
}
