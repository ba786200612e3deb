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
		r.everyone(t, r.IDs[0][0])
		r.Compare(t, false)
		r.noAttempts(t)
	})
}

// everyone deletes a log of the first two users for everyone. Without members the event goes to who asks.
func (r *layoutRig) everyone(t *testing.T, log string) {
	t.Helper()
	seqs := r.Seqs(t, "public", "", log)
	cmd := r.ask(t, "7", log, 0)
	cmd.Scope = conversation.ScopeEveryone
	r.send(t, cmd)
	told := []string{"7"}
	if len(r.Users) > 0 {
		told = r.Users[:2]
	}
	for _, user := range told {
		e := r.awaitStored(t, 1, of(cmd.CommandID, log), typed(conversation.TypeDeleted), func(e event) bool { return e.text("user_id") == user })[0]
		wantFields(t, e, "through_seq", last(seqs), "messages_deleted", len(seqs), "scope", "everyone", "requested_by", "7")
		r.ByHand(t, user, log, last(seqs), "hide")
	}
	if len(r.Users) > 0 {
		r.awaitStored(t, len(told), of(cmd.CommandID), typed(conversation.TypeErased))
	}
	r.settled(t)
	r.ByHand(t, "7", log, last(seqs), "forget", "leave")
}
