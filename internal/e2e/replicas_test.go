package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

func TestThreeReplicasShareTheWorkAndDoNoneOfItTwice(t *testing.T) {
	t.Parallel()
	small, hugeSize := sized(1000, 30_000), sized(30_000, 4_000_000)
	const messages = 20
	r := newRig(t)
	giants := []chat{{"demo", "giant0", "g"}, {"demo", "giant1", "g"}}
	want := map[deletionKey]int{}
	var huge, cmds []conversation.Command
	for _, c := range giants {
		r.huge(t, c, hugeSize)
		cmd := c.ask()
		huge = append(huge, cmd)
		want[deletionKey{cmd.CommandID, "g"}] = hugeSize
	}
	for _, c := range r.crowd(t, "demo", "u", small, messages) {
		cmd := c.ask()
		want[deletionKey{cmd.CommandID, "g"}] = messages
		cmds = append(cmds, cmd)
		if len(cmds)%5 == 0 { // side by side, later, and far apart
			cmds = append(cmds, cmd, cmds[len(cmds)/2])
		}
	}

	mend := r.slowDeletes(t, "giant0", "giant1")
	// The huge ones in small batches, so that they last.
	settings := []string{"max-rows=100"}
	workers := []*worker{r.launch(t, settings...), r.launch(t, settings...), r.launch(t, settings...)}
	for _, w := range workers {
		w.awaitReady(t, timeout)
	}
	r.flood(t, huge)
	r.flood(t, huge)
	for _, cmd := range huge {
		eventually(t, timeout, "the huge deletions are under way", func() bool { _, cursor, _, _ := r.ledger(t, cmd.CommandID, "g"); return cursor > 0 })
	}
	began := time.Now()
	r.flood(t, cmds)
	r.awaitStored(t, small, func(e event) bool { return e.command() != huge[0].CommandID && e.command() != huge[1].CommandID })
	took := time.Since(began)
	for _, cmd := range huge {
		if state, _, _, _ := r.ledger(t, cmd.CommandID, "g"); state == "done" {
			t.Errorf("a huge deletion is done before the small ones, which took %v: they had to wait", took)
		}
	}
	mend()
	r.awaitStored(t, len(want))
	r.settled(t)
	r.told(t, want)
	r.wantEmpty(t)
	r.noAttempts(t)
	total := small*messages + 2*hugeSize
	if got := metric(t, "lethe_messages_purged_total", "", workers...); int(got) != total {
		t.Errorf("the replicas count %.0f messages; want %d", got, total)
	}
	if got := metric(t, "lethe_deletions_total", `state="done"`, workers...); int(got) != len(want) {
		t.Errorf("the replicas count %.0f deletions; want %d", got, len(want))
	}
	if got := one[int](t, r, `select sum(messages_deleted)::int from lethe.deletions`); got != total {
		t.Errorf("the ledger counts %d messages; want %d", got, total)
	}
	for i, w := range workers {
		if got := metric(t, "lethe_deletions_total", "", w); got < float64(small)/20 {
			t.Errorf("replica %d did %.0f of %d deletions: the work isn't shared", i, got, len(want))
		}
		w.term(t)
	}
	r.workOnce(t, total, total/100) // a batch that a busy machine has kept waiting for a lock is done again
}

// As many huge deletions as there are places for: what is small goes on all the
// same, whatever has befallen it before.
func TestASmallDeletionNeverWaitsForAHugeOne(t *testing.T) {
	t.Parallel()
	settings := []string{"max-rows=50", "min-rows=50", "long-lanes=1"}
	r := newRig(t)
	giant := chat{"demo", "giant", "g"}
	r.huge(t, giant, 300_000)
	crowd := r.crowd(t, "demo", "u", 6, 20)
	locked, handed := crowd[0], crowd[1]

	// One that a worker releases at its stop, because its rows are locked.
	release := r.hold(t, `select from chat.messages where user_id = $1 and seq = 7 for update`, handed.user)
	first := r.start(t)
	back := handed.ask()
	r.send(t, back)
	eventually(t, timeout, "it is taken up", func() bool { state, _, _, _ := r.ledger(t, back.CommandID, "g"); return state != "" })
	first.term(t)

	w := r.start(t, settings...)
	cmd := giant.ask()
	r.send(t, cmd)
	eventually(t, timeout, "the huge deletion is under way", func() bool { _, cursor, _, _ := r.ledger(t, cmd.CommandID, "g"); return cursor > 0 })
	release()
	soon(t, r, back.CommandID, 6*time.Second) // it may wait to be tried again

	// One whose row somebody holds for some seconds.
	release = r.hold(t, `select from chat.messages where user_id = $1 and seq = 7 for update`, locked.user)
	held := locked.ask()
	r.send(t, held)
	never(t, 2*time.Second, "the deletion of a held row is told", func() bool { stored, _, _ := r.seen(of(held.CommandID)); return len(stored) > 0 })
	release()
	soon(t, r, held.CommandID, 6*time.Second)

	// One that shares its command with a huge one, and one whose row is held there.
	release = r.hold(t, `select from chat.messages where user_id = $1 and conversation_id = 'held' for update`, giant.user)
	for _, id := range []string{"free", "held"} {
		r.fill(t, chat{giant.app, giant.user, id}, 10)
	}
	release()
	release = r.hold(t, `select from chat.messages where user_id = $1 and conversation_id = 'held' for update`, giant.user)
	bulk := giant.ask("free", "held")
	slices.Reverse(bulk.Conversations)
	r.send(t, bulk)
	soon(t, r, bulk.CommandID, time.Second, "free")
	never(t, 2*time.Second, "the deletion of held rows is told", func() bool { stored, _, _ := r.seen(of(bulk.CommandID, "held")); return len(stored) > 0 })
	release()
	soon(t, r, bulk.CommandID, 6*time.Second, "held")

	if state, _, _, _ := r.ledger(t, cmd.CommandID, "g"); state != "running" {
		t.Fatalf("the huge deletion is %s; want it running still: the test is too small", state)
	}
	r.noAttempts(t)
	w.term(t)
}

// soon asserts that a command's deletion is told in time.
func soon(t testing.TB, r *rig, command string, limit time.Duration, conversations ...string) {
	t.Helper()
	eventually(t, limit, fmt.Sprintf("the event of %s %v", command, conversations), func() bool {
		stored, _, _ := r.seen(of(command, conversations...), typed(conversation.TypeDeleted))
		return len(stored) > 0
	})
}
