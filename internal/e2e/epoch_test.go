package e2e

import (
	"bytes"
	"strconv"

	"github.com/lethe-im/lethe/conversation"
)

// epoch is what happened from one quiet moment of a check to the next.
type epoch struct {
	*model
	fresh     []*asked     // decided since the last one
	deleted   map[chat]int // messages, by their events
	deletions map[chat]int
}

// check compares the world with the model. With P the greatest boundary that was
// told for a conversation and R that of any deletion, history kept or not: all
// messages above P are left and no others; the conversation has its row exactly
// if a message above R was ever said, and as many unread ones. The events count
// each message once.
func (e *epoch) check() {
	for _, a := range e.asked {
		e.decide(a)
	}
	e.refusals()
	before := map[chat]account{}
	for c, a := range e.chats {
		before[c] = *a
	}
	e.each(func(_ *content, c chat, _ *int64) { e.deletions[c]++ })
	e.each(func(won *content, c chat, through *int64) { e.deletion(won, c, through, before[c]) })
	e.each(func(won *content, c chat, through *int64) {
		a := e.account(c)
		reached, least := a.removed, bounded(won.first[c.id], through)
		if !won.cmd.KeepHistory {
			reached = a.purged
		}
		if reached < least && e.chats[c] != nil {
			e.rt.Errorf("%s: %+v is deleted up to %d; want %d", encode(e.t, won.cmd), c, reached, least)
		}
	})
	for _, c := range e.names {
		was, a := before[c], e.chats[c]
		if gone := len(was.newer(was.purged)) - len(a.newer(a.purged)); e.deleted[c] != gone {
			e.rt.Errorf("%+v: the events count %d messages; want %d", c, e.deleted[c], gone)
		}
		if got, want := e.r.left(e.t, c), a.left(); got != want {
			e.rt.Errorf("left of %+v, whose boundaries are %d and %d:\n%+v; want\n%+v", c, a.purged, a.removed, got, want)
		}
	}
	if e.rt.Failed() {
		stored, _, _ := e.r.seen(e.ours)
		e.rt.Fatalf("events:\n%s", eventLines(stored))
	}
}

// each calls do for the deletions of this epoch.
func (e *epoch) each(do func(won *content, c chat, through *int64)) {
	for _, a := range e.fresh {
		for _, target := range a.winner.cmd.Conversations {
			do(a.winner, chat{e.app, a.winner.cmd.UserID, target.ID}, target.ThroughSeq)
		}
	}
}

// bounded is seq, or the boundary that was asked for, if that is less.
func bounded(seq int64, through *int64) int64 {
	if through != nil {
		return min(seq, *through)
	}
	return seq
}

func (e *epoch) ours(ev event) bool { return ev.text("app_id") == e.app }

// decide finds out which content of a command has won, and asserts that the
// others were refused, each copy once.
func (e *epoch) decide(a *asked) {
	id := a.contents[0].cmd.CommandID
	want, distinct := 0, map[string]event{}
	complete := poll(timeout, func() bool {
		stored, _, _ := e.r.seen(of(id), e.ours)
		for _, ev := range stored {
			distinct[ev.id()] = ev
		}
		if a.winner == nil {
			a.winner = winner(a, stored)
		}
		want = a.wanted()
		return a.winner != nil && len(distinct) >= want
	})
	if !complete || len(distinct) != want {
		e.rt.Fatalf("command %s has %d distinct events; want %d: %v", id, len(distinct), want, distinct)
	}
	if !a.checked {
		a.checked = true
		e.fresh = append(e.fresh, a)
	}
	e.same(id)
	failed := 0
	for _, ev := range distinct {
		if ev.kind() != conversation.TypeDeleteFailed {
			continue
		}
		failed++
		if ev.text("reason") != string(conversation.ReasonCommandIDReused) || ev.conversation() != "" {
			e.rt.Errorf("event %s; want %s of the whole command", ev, conversation.ReasonCommandIDReused)
		}
	}
	if got := a.refused(); failed != got {
		e.rt.Errorf("command %s has %d failures; want %d, one for each copy of another content", id, failed, got)
	}
}

// refusals asserts that each refused copy has a dead letter.
func (e *epoch) refusals() {
	want, got := 0, 0
	for _, a := range e.asked {
		want += a.refused()
	}
	for _, l := range e.r.letters(e.t) {
		if l.subject == conversation.DeadLetterSubject(e.app) {
			got++
		}
	}
	if got != want {
		e.rt.Errorf("%d dead letters; want %d", got, want)
	}
}

// refused counts the copies that aren't the winner's.
func (a *asked) refused() (n int) {
	for _, c := range a.contents {
		if c != a.winner {
			n += c.copies
		}
	}
	return n
}

// wanted counts the events that a command must have.
func (a *asked) wanted() int {
	if a.winner == nil {
		return 0
	}
	return len(a.winner.cmd.Conversations) + a.refused()
}

// winner is the content that a deleted event is about.
func winner(a *asked, stored []event) *content {
	for _, ev := range stored {
		for _, c := range a.contents {
			if ev.kind() == conversation.TypeDeleted && ev.text("user_id") == c.cmd.UserID && ev.text("history_kept") == strconv.FormatBool(c.cmd.KeepHistory) {
				return c
			}
		}
	}
	return nil
}

// same asserts that all copies of an event, also those that the stream has
// dropped, are the same, and that each was stored.
func (e *epoch) same(id string) {
	stored, heard, _ := e.r.seen(of(id), e.ours)
	first := map[string]event{}
	for _, ev := range stored {
		if _, again := first[ev.id()]; again {
			e.rt.Errorf("stored twice: %s", ev)
		}
		first[ev.id()] = ev
	}
	for _, ev := range heard {
		was, found := first[ev.id()]
		if !found {
			e.rt.Errorf("published and not stored: %s", ev)
		} else if was.kind() == conversation.TypeDeleted && (!bytes.Equal(was.data, ev.data) || was.subject != ev.subject) {
			e.rt.Errorf("a repeated event differs:\n%s\n%s", was, ev)
		}
	}
}

// deletion checks the event of one deletion, and moves the model's boundaries.
func (e *epoch) deletion(won *content, c chat, asked *int64, was account) {
	events, _, _ := e.r.seen(of(won.cmd.CommandID, c.id), typed(conversation.TypeDeleted), e.ours)
	if len(events) != 1 {
		e.rt.Fatalf("command %s has %d deleted events for %s; want one", won.cmd.CommandID, len(events), c.id)
	}
	ev, a := events[0], e.account(c)
	through, err := strconv.ParseInt(ev.text("through_seq"), 10, 64)
	n, err2 := strconv.Atoi(ev.text("messages_deleted"))
	if err != nil || err2 != nil || ev.text("user_id") != c.user || won.cmd.KeepHistory && n != 0 {
		e.rt.Errorf("event %s; the command is %s", ev, encode(e.t, won.cmd))
	}

	alone := e.deletions[c] == 1
	least, most := boundaries(won, c, asked, was, a, alone)
	if through < least || through > most {
		e.rt.Errorf("%s; want through_seq between %d and %d", ev, least, most)
	}
	a.removed = max(a.removed, through)
	if !won.cmd.KeepHistory {
		a.purged = max(a.purged, through)
	}
	e.deleted[c] += n
	if newest := a.newest(); alone && won.first[c.id] == newest {
		stays := newest > through && newest > was.removed
		if ev.text("conversation_removed") != strconv.FormatBool(!stays) {
			e.rt.Errorf("%s; want conversation_removed %t", ev, !stays)
		}
	}
}

// boundaries is where a boundary may lie: at the newest message that there was
// when the command was stored, the first time or at most the last, or, if a seq
// was asked for, when it was taken up. Where others delete at the same time there
// may be nothing left to decide it by.
func boundaries(won *content, c chat, asked *int64, was account, a *account, alone bool) (least, most int64) {
	first, last := won.first[c.id], won.last[c.id]
	if asked != nil {
		last = a.newest()
	}
	if alone && first > was.purged {
		least = bounded(first, asked)
	}
	if last > was.purged {
		most = bounded(last, asked)
	}
	return least, most
}
