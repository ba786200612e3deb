package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

// crash runs a worker that kills itself at a point, and waits until it has.
func (r *rig) crash(t testing.TB, point string, settings ...string) {
	t.Helper()
	w := r.launch(t, append(settings, "LETHE_CRASH_AT="+point)...)
	w.awaitEnd(t, timeout)
	var exit *exec.ExitError
	if !errors.As(w.err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the worker ended with %v; want it killed at %s:\n%s", w.err, point, w.log.last(20))
	}
}

// The points of a worker's way through small commands, and through a long one.
func TestACrashAtAnyStepLosesNothingAndTellsNothingTwice(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"after_pull", "after_pull:5", "after_commit", "after_publish", "before_ack"} {
		t.Run("express/"+point, func(t *testing.T) {
			t.Parallel()
			crashExpress(t, point)
		})
	}
	for _, point := range []string{"after_pull", "in_batch", "in_batch:9", "after_commit", "after_commit:2", "after_publish", "after_publish:2", "before_ack", "before_ack:2"} {
		t.Run("long/"+point, func(t *testing.T) {
			t.Parallel()
			crashLong(t, point)
		})
	}
}

// crashExpress has a batch of commands, one of them for several conversations.
func crashExpress(t *testing.T, point string) {
	t.Helper()
	r := newRig(t)
	chats := r.crowd(t, "demo", "u", 8, 20)
	want := map[deletionKey]int{}
	var cmds []conversation.Command
	for _, c := range chats {
		cmd := c.ask()
		want[deletionKey{cmd.CommandID, "g"}] = 20
		cmds = append(cmds, cmd)
	}
	bulk, more := r.bulk(t, "demo", "bulk", 5, 20)
	for _, c := range more {
		want[deletionKey{bulk.CommandID, c.id}] = 20
	}
	cmds, chats = append(cmds, bulk), append(chats, more...)
	r.flood(t, cmds)
	r.crash(t, point)
	r.flood(t, cmds[4:])
	later := map[chat]int64{}
	for _, c := range chats {
		later[c] = r.say(t, c)
	}
	r.start(t)
	r.awaitStored(t, len(want), typed(conversation.TypeDeleted))
	r.settled(t)
	r.told(t, want)
	for _, c := range chats {
		r.wantLeft(t, c, left{Messages: 1, First: later[c], Last: later[c], Row: true, Unread: 1})
	}
	r.noAttempts(t)
}

// crashLong has a deletion of many batches, with a small one beside it.
func crashLong(t *testing.T, point string) {
	t.Helper()
	const messages = 6000
	settings := []string{"--express-rows", "100", "max-rows=200"}
	r := newRig(t)
	small, c := r.crowd(t, "demo", "small", 1, 20)[0], chat{"demo", "huge", "g"}
	r.huge(t, c, messages)
	cmd, other := c.ask(), small.ask()
	r.send(t, cmd)
	if strings.HasSuffix(point, ":2") {
		r.send(t, other) // the first time the point is passed by what is finished at once
	}
	r.crash(t, point, settings...)
	_, before, _, _ := r.ledger(t, cmd.CommandID, "g")
	if !strings.HasSuffix(point, ":2") {
		r.send(t, other)
	}
	r.again(t, cmd)
	later := r.say(t, c)
	w := r.start(t, settings...)
	r.awaitStored(t, 2, typed(conversation.TypeDeleted))
	r.settled(t)
	w.term(t)
	r.told(t, map[deletionKey]int{{cmd.CommandID, "g"}: messages, {other.CommandID, "g"}: 20})
	r.wantLeft(t, c, left{Messages: 1, First: later, Last: later, Row: true, Unread: 1})
	r.wantLeft(t, small, nothing)
	if _, after, _, _ := r.ledger(t, cmd.CommandID, "g"); after < before {
		t.Errorf("the cursor went back from %d to %d", before, after)
	}
	r.workOnce(t, messages+20, 0)
	r.noAttempts(t)
}

// A command that fails has an event and a dead letter, each of them once.
func TestACrashOnTheWayToADeadLetterStoresItOnce(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"after_pull", "after_commit", "after_publish", "before_ack"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			settings := []string{"--max-attempts", "1"}
			c := chat{"demo", "alice", "held"}
			r.fill(t, c, 10)
			mend := r.breakDeletes(t, c)
			cmd := c.ask("free")
			refused := []byte(`{"app_id":"demo","user_id":"alice","command_id":"refused","conversations":[]}`)
			sequences := []uint64{
				r.again(t, cmd),
				r.publish(t, "conversation.delete.demo", refused),
				r.publish(t, "conversation.delete.demo", []byte("nonsense")),
			}
			r.crash(t, point, settings...)
			w := r.start(t, settings...)
			for _, seq := range sequences {
				r.letter(t, seq)
			}
			r.settled(t)
			if n := len(r.letters(t)); n != len(sequences) {
				t.Errorf("%d dead letters; want %d", n, len(sequences))
			}
			onceStored(t, r, 1, of(cmd.CommandID, "held"), typed(conversation.TypeDeleteFailed))
			onceStored(t, r, 1, of(cmd.CommandID, "free"), typed(conversation.TypeDeleted))
			onceStored(t, r, 1, of("refused"), typed(conversation.TypeDeleteFailed))
			onceStored(t, r, 3)
			r.wantLeft(t, c, left{Messages: 10, Reactions: 1, First: 1, Last: 10, Row: true, Unread: 10})
			mend()
			w.term(t)
		})
	}
}

// onceStored asserts that exactly n events match, and that no two that were ever
// published under one id differ in what they are about.
func onceStored(t *testing.T, r *rig, n int, ms ...match) {
	t.Helper()
	stored := r.awaitStored(t, n, ms...)
	if len(stored) != n {
		t.Errorf("%d events are stored; want %d:\n%s", len(stored), n, eventLines(stored))
	}
	_, heard, _ := r.seen(ms...)
	ids := map[string]bool{}
	for _, e := range heard {
		ids[e.id()] = true
	}
	if len(ids) != n {
		t.Errorf("%d distinct ids were published; want %d:\n%s", len(ids), n, eventLines(heard))
	}
}
