package e2e

import (
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

// A process that is stopped for longer than its lease doesn't know it: it goes on
// with what it had in flight, and another worker has it now.
func TestAStaleWorkerDoesNoHarm(t *testing.T) {
	t.Parallel()
	t.Run("while_another_one_goes_on_with_its_long_deletion", func(t *testing.T) {
		t.Parallel()
		staleLong(t, false)
	})
	t.Run("after_another_one_has_finished_its_long_deletion", func(t *testing.T) {
		t.Parallel()
		staleLong(t, true)
	})
	t.Run("that_waits_for_a_row", func(t *testing.T) {
		t.Parallel()
		staleWaiting(t)
	})
	t.Run("under_a_load_of_small_commands", func(t *testing.T) {
		t.Parallel()
		staleExpress(t)
	})
	t.Run("that_is_about_to_count_a_failure", func(t *testing.T) {
		t.Parallel()
		staleFailure(t)
	})
}

func staleLong(t *testing.T, finished bool) {
	t.Helper()
	const messages = 60_000
	r := newRig(t)
	c, settings := chat{"demo", "alice", "g"}, []string{"max-rows=100"}
	r.huge(t, c, messages)
	mend := func() {}
	if !finished {
		mend = r.slowDeletes(t, c.user)
	}
	cmd := c.ask()
	r.send(t, cmd)
	watch := &cursorWatch{r: r, command: cmd.CommandID}
	stale := r.start(t, settings...)
	for range 3 {
		from := watch.cursor
		eventually(t, timeout, "the deletion goes on", func() bool { return watch.look(t) || watch.cursor > from+1000 })
		stale.stop(t)
		next := r.start(t, settings...)
		watch.look(t)
		from = watch.cursor
		eventually(t, timeout, "another worker takes over", func() bool { return watch.look(t) || watch.cursor > from+1000 })
		if finished {
			eventually(t, timeout, "the deletion is done", func() bool { return watch.look(t) })
		} else {
			watch.check(t, messages)
		}
		r.say(t, c)
		stale.cont(t)
		stale.awaitReady(t, timeout)
		from = watch.cursor
		eventually(t, timeout, "nobody is held up", func() bool { return watch.look(t) || watch.cursor > from+1000 })
		if finished {
			stale.term(t)
			stale = next
			break
		}
		stale.term(t)
		stale = next
	}
	mend()
	eventually(t, 2*timeout, "the deletion is done", func() bool { return watch.look(t) })
	r.settled(t)
	r.told(t, map[deletionKey]int{{cmd.CommandID, "g"}: messages})
	if got := r.left(t, c); got.First != messages+1 || !got.Row {
		t.Errorf("left: %+v; want what was said since", got)
	}
	r.noAttempts(t)
	stale.term(t)
	r.workOnce(t, messages, 3*100)
}

// staleWaiting stops a worker that holds the lease of a deletion whose row
// somebody else has locked, in the express lane at first.
func staleWaiting(t *testing.T) {
	t.Helper()
	r := newRig(t)
	var cmds []conversation.Command
	chats := r.crowd(t, "demo", "u", 20, 20)
	want := map[deletionKey]int{}
	for _, c := range chats {
		cmds = append(cmds, c.ask())
		want[deletionKey{cmds[len(cmds)-1].CommandID, "g"}] = 20
	}
	release := r.hold(t, `select from chat.messages where seq = 20 for update`)
	stale := r.start(t)
	r.flood(t, cmds)
	eventually(t, timeout, "all are taken up", func() bool {
		return one[int](t, r, `select count(*)::int from lethe.deletions where lease_until is not null`) == len(cmds)
	})
	stale.stop(t)
	next := r.start(t)
	eventually(t, timeout, "another worker has taken over", func() bool {
		return metric(t, "lethe_retries_total", `reason="blocked"`, next) >= float64(len(cmds))
	})
	release()
	r.awaitStored(t, len(want))
	for _, c := range chats {
		r.say(t, c)
	}
	stale.cont(t)
	stale.awaitReady(t, timeout)
	r.settled(t)
	r.told(t, want)
	for _, c := range chats {
		r.wantLeft(t, c, left{Messages: 1, First: 21, Last: 21, Row: true, Unread: 1})
	}
	r.noAttempts(t)
	stale.term(t)
	next.term(t)
}

// staleExpress stops one of two workers at random moments.
func staleExpress(t *testing.T) {
	t.Helper()
	rnd := random(t)
	rounds, small := sized(2, 20), sized(500, 2000)
	r := newRig(t)
	stale, next := r.start(t), r.start(t)
	want := map[deletionKey]int{}
	for i := range rounds {
		var cmds []conversation.Command
		for _, c := range r.crowd(t, "demo", string(rune('a'+i)), small, 20) {
			cmds = append(cmds, c.ask())
			want[deletionKey{cmds[len(cmds)-1].CommandID, "g"}] = 20
		}
		r.flood(t, cmds[:small/2])
		r.flood(t, cmds[small/2:])
		pause(t, between(rnd, 0, 30*1000*1000))
		stale.stop(t)
		r.awaitStored(t, len(want))
		r.flood(t, cmds[:10])
		stale.cont(t)
		r.settled(t)
		stale, next = next, stale
	}
	r.told(t, want)
	r.wantEmpty(t)
	r.noAttempts(t)
	stale.term(t)
	next.term(t)
	r.workOnce(t, len(want)*20, small*20) // what the stopped one had under way is rolled back, or not
}

// staleFailure stops a worker while it waits to try a failed deletion again.
func staleFailure(t *testing.T) {
	t.Helper()
	r := newRig(t)
	c := chat{"demo", "alice", "g"}
	r.fill(t, c, 20)
	mend := r.breakDeletes(t, c)
	settings := []string{"--max-attempts", "5"}
	stale := r.start(t, settings...)
	cmd := c.ask()
	seq := r.send(t, cmd).Sequence
	eventually(t, timeout, "it has failed twice", func() bool { _, _, _, attempts := r.ledger(t, cmd.CommandID, "g"); return attempts >= 2 })
	stale.stop(t)
	next := r.start(t, settings...)
	e := r.failed(t, cmd.CommandID, "g")
	wantFields(t, e, "reason", "attempts_exhausted")
	stale.cont(t)
	stale.awaitReady(t, timeout)
	r.letter(t, seq)
	if _, _, _, attempts := r.ledger(t, cmd.CommandID, "g"); attempts != 5 {
		t.Errorf("%d attempts are counted; want 5", attempts)
	}
	onceStored(t, r, 1, of(cmd.CommandID))
	mend()
	stale.term(t)
	next.term(t)
}
