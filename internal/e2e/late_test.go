package e2e

import (
	"context"
	"fmt"
	"testing"
)

// A writer that took its seq long ago: its message comes below the boundary,
// behind a batch that has passed, or while the deletion is about to finish.
func TestWhatComesBelowTheBoundaryWhileItIsPurgedGoesToo(t *testing.T) {
	t.Parallel()
	t.Run("behind_the_cursor", func(t *testing.T) {
		t.Parallel()
		lateBehindCursor(t)
	})
	for _, part := range []string{"with_the_conversation", "with_a_conversation_that_was_gone", "with_a_reaction"} {
		t.Run("at_the_end/"+part, func(t *testing.T) {
			t.Parallel()
			lateAtTheEnd(t, part)
		})
	}
}

func lateBehindCursor(t *testing.T) {
	t.Helper()
	const messages = 4000
	r := newRig(t)
	c := chat{"demo", "alice", "g"}
	r.huge(t, c, messages)
	r.exec(t, `delete from chat.messages where seq % 100 = 7`) // seqs for the late ones
	release := r.hold(t, `select from chat.messages where seq = $1 for update`, messages/2)
	r.start(t, "--express-rows", "50", "max-rows=100")
	cmd := c.ask()
	r.send(t, cmd)
	late := 0
	insert := func(seq int64) {
		t.Helper()
		late++
		r.exec(t, `insert into chat.messages (app_id, user_id, conversation_id, seq) values ($1, $2, $3, $4)`, c.app, c.user, c.id, seq)
		r.exec(t, upsertRow, c.app, c.user, c.id, seq, 1)
		r.react(t, c, seq)
	}
	for _, passed := range []int64{200, 1000, messages/2 - 200} {
		eventually(t, timeout, fmt.Sprintf("the purge has passed %d", passed), func() bool {
			_, cursor, _, _ := r.ledger(t, cmd.CommandID, c.id)
			return cursor >= passed
		})
		insert(passed - 93)
	}
	for _, ahead := range []int64{2507, 3907} {
		insert(ahead)
	}
	newer := r.say(t, c)
	release()
	e := r.deleted(t, cmd.CommandID, c.id)
	wantFields(t, e, "through_seq", messages, "messages_deleted", messages-messages/100+late, "conversation_removed", false)
	r.wantLeft(t, c, left{Messages: 1, First: newer, Last: newer, Row: true, Unread: 1})
	if got := r.orphans(t); got != "" {
		t.Error(got)
	}
	r.settled(t)
	r.told(t, map[deletionKey]int{{cmd.CommandID, c.id}: messages - messages/100 + late})
}

// lateAtTheEnd has a sender commit at the moment at which the finishing
// transaction waits for what it holds.
func lateAtTheEnd(t *testing.T, part string) {
	t.Helper()
	const messages, late = 300, 7
	r := newRig(t)
	c := chat{"demo", "alice", "g"}
	r.huge(t, c, messages)
	r.exec(t, `delete from chat.messages where seq = $1`, late)
	if part == "with_a_conversation_that_was_gone" {
		r.exec(t, `delete from chat.conversations`)
	}
	ctx := t.Context()
	tx, err := r.db.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // closed, unless the test has failed
	do := func(sql string, args ...any) {
		t.Helper()
		if _, err := tx.Exec(ctx, sql, args...); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	do(`insert into chat.messages (app_id, user_id, conversation_id, seq) values ($1, $2, $3, $4)`, c.app, c.user, c.id, late)
	if part == "with_a_reaction" {
		do(hangOn, c.app, c.user, c.id, late, "friend")
	}
	do(upsertRow, c.app, c.user, c.id, late, 1)

	r.start(t, "--express-rows", "10", "--target", "5s")
	cmd := c.ask()
	r.send(t, cmd)
	if part == "with_a_conversation_that_was_gone" {
		// Nothing holds the deletion up: the sender's rows can't be seen, and come after it.
		eventually(t, timeout, "all is gone or told", func() bool {
			stored, _, _ := r.seen(of(cmd.CommandID))
			return len(stored) > 0 || r.waitsForLock(t)
		})
	} else {
		eventually(t, timeout, "the worker waits for the conversation's row", func() bool { return r.waitsForLock(t) })
	}
	stored, _, _ := r.seen(of(cmd.CommandID))
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	r.deleted(t, cmd.CommandID, c.id)
	r.settled(t)
	if len(stored) > 0 { // the sender was the later one
		r.wantLeft(t, c, left{Messages: 1, First: late, Last: late, Row: true, Unread: 1})
		r.told(t, map[deletionKey]int{{cmd.CommandID, c.id}: messages - 1})
		return
	}
	r.wantLeft(t, c, nothing)
	r.told(t, map[deletionKey]int{{cmd.CommandID, c.id}: messages})
}

// waitsForLock reports whether one of the workers' statements waits for a row or a table; a wait for the server's own LWLocks is none.
func (r *rig) waitsForLock(t testing.TB) bool {
	t.Helper()
	return one[bool](t, r, `select exists (select from pg_stat_activity where datname = current_database() and application_name = 'lethe' and wait_event_type = 'Lock')`)
}
