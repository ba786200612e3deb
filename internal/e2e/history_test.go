package e2e

import (
	"fmt"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

func TestKeepHistoryRemovesTheRowAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t, "--express-rows=10")
	keep := func(cmd conversation.Command) conversation.Command { cmd.KeepHistory = true; return cmd }
	all := left{Messages: 40, Reactions: 4, Attachments: 2, First: 1, Last: 40}
	t.Run("with_nothing_newer", func(t *testing.T) {
		t.Parallel()
		c := chat{"demo", "alone", "c2c_bob"}
		r.fill(t, c, 40)
		cmd := keep(c.ask())
		r.send(t, cmd)
		wantFields(t, r.deleted(t, cmd.CommandID, c.id), "history_kept", true, "messages_deleted", 0, "through_seq", 40, "conversation_removed", true)
		r.wantLeft(t, c, all)

		r.again(t, cmd)
		r.awaitHeard(t, 2, of(cmd.CommandID))
		r.onlyDeleted(t, cmd.CommandID, c.id)
		r.wantLeft(t, c, all)

		history := c.ask()
		r.send(t, history)
		wantFields(t, r.deleted(t, history.CommandID, c.id), "history_kept", false, "messages_deleted", 40, "conversation_removed", true)
		r.wantLeft(t, c, nothing)
	})
	t.Run("not_under_newer_messages", func(t *testing.T) {
		t.Parallel()
		c := chat{"demo", "newer", "c2c_bob"}
		r.fill(t, c, 40)
		cmd := keep(c.through(25))
		r.send(t, cmd)
		wantFields(t, r.deleted(t, cmd.CommandID, c.id), "history_kept", true, "messages_deleted", 0, "through_seq", 25, "conversation_removed", false)
		want := all
		want.Row, want.Unread = true, 15
		r.wantLeft(t, c, want)
	})
	t.Run("in_a_bulk_command", func(t *testing.T) {
		t.Parallel()
		c, d := chat{"demo", "bulk", "c2c_bob"}, chat{"demo", "bulk", "c2c_eve"}
		r.fill(t, c, 20)
		r.fill(t, d, 20)
		cmd := keep(c.ask(d.id, "never_was"))
		r.send(t, cmd)
		r.onlyDeleted(t, cmd.CommandID, c.id, d.id, "never_was")
		r.wantLeft(t, c, left{Messages: 20, Reactions: 2, Attachments: 1, First: 1, Last: 20})
		r.wantLeft(t, d, left{Messages: 20, Reactions: 2, Attachments: 1, First: 21, Last: 40})
	})
}

func TestTheUnreadCountIsAtMostTheNewerMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	for unread, want := range map[int]int{40: 15, 16: 15, 15: 15, 14: 14, 3: 3, 0: 0} {
		for _, kept := range []bool{false, true} {
			t.Run(fmt.Sprintf("of_%d_remain_%d_kept_%t", unread, want, kept), func(t *testing.T) {
				t.Parallel()
				c := chat{"demo", fmt.Sprintf("u%d%t", unread, kept), "g"}
				r.fill(t, c, 40)
				r.unread(t, c, unread)
				r.exec(t, `update chat.conversations set draft = 'dear', pinned = true where user_id = $1`, c.user)
				cmd := c.through(25)
				cmd.KeepHistory = kept
				r.send(t, cmd)
				r.deleted(t, cmd.CommandID, c.id)
				if got := r.left(t, c); !got.Row || got.Unread != want {
					t.Errorf("row %t, unread_count %d; want %d", got.Row, got.Unread, want)
				}
				if !one[bool](t, r, `select draft = 'dear' and pinned and last_seq = 40 from chat.conversations where user_id = $1`, c.user) {
					t.Error("other columns of the row that stays were changed")
				}
			})
		}
	}
}

func TestConversationRemovedSaysThatNoRowExists(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	noRow := `delete from chat.conversations where app_id = $1 and user_id = $2 and conversation_id = $3`
	noMessages := `delete from chat.messages where app_id = $1 and user_id = $2 and conversation_id = $3`
	for _, c := range []struct {
		name    string
		prepare string
		through int64 // -1: none
		want    []any
		row     bool
	}{
		{"messages_and_no_row", noRow, -1, []any{"conversation_removed", true, "messages_deleted", 40, "through_seq", 40}, false},
		{"a_row_and_no_messages", noMessages, -1, []any{"conversation_removed", true, "messages_deleted", 0, "through_seq", 0}, false},
		{"a_row_and_no_messages_with_a_seq", noMessages, 12, []any{"conversation_removed", true, "messages_deleted", 0, "through_seq", 0}, false},
		{"newer_messages_and_no_row", noRow, 25, []any{"conversation_removed", true, "messages_deleted", 25, "through_seq", 25}, false},
		{"newer_messages_and_a_row", "", 25, []any{"conversation_removed", false, "messages_deleted", 25, "through_seq", 25}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ch := chat{"demo", c.name, "g"}
			r.fill(t, ch, 40)
			if c.prepare != "" {
				r.exec(t, c.prepare, ch.app, ch.user, ch.id)
			}
			cmd := ch.ask()
			if c.through >= 0 {
				cmd.Conversations[0].ThroughSeq = &c.through
			}
			r.send(t, cmd)
			wantFields(t, r.deleted(t, cmd.CommandID, ch.id), c.want...)
			if got := r.left(t, ch); got.Row != c.row {
				t.Errorf("row %t; want %t", got.Row, c.row)
			}
		})
	}
}

func TestNothingToDeleteIsASuccess(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	c := chat{"demo", "alice", "c2c_bob"}
	none := []any{"messages_deleted", 0, "through_seq", 0, "conversation_removed", true, "history_kept", false}

	unknown := c.ask()
	r.send(t, unknown)
	wantFields(t, r.deleted(t, unknown.CommandID, c.id), none...)
	beyond := c.through(500)
	r.send(t, beyond)
	wantFields(t, r.deleted(t, beyond.CommandID, c.id), none...)

	r.fill(t, c, 40)
	first, gone := c.ask(), c.ask()
	r.send(t, first)
	r.deleted(t, first.CommandID, c.id)
	r.send(t, gone)
	wantFields(t, r.deleted(t, gone.CommandID, c.id), none...)

	// What was said since is another deletion's.
	r.sayN(t, c, 2)
	r.react(t, c, 42)
	second := c.ask()
	r.send(t, second)
	wantFields(t, r.deleted(t, second.CommandID, c.id), "messages_deleted", 2, "through_seq", 42, "conversation_removed", true)
	r.wantLeft(t, c, nothing)
	r.settled(t)
	if letters := r.letters(t); len(letters) > 0 {
		t.Errorf("%d dead letters; want none", len(letters))
	}
}

func TestOnlyTheUsersOwnCopyGoes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	c := chat{"demo", "a%_", "c2c_%"}
	others := []chat{
		{"demo", "bob", "c2c_%"},
		{"demo", "A%_", "c2c_%"},
		{"demo", "a%_ ", "c2c_%"},
		{"demo", "abc", "c2c_%"},
		{"demo", "", "c2c_%"},
		{"demo2", "a%_", "c2c_%"},
		{"dem", "a%_", "c2c_%"},
		{"demo", "a%_", "c2c_bob"},
		{"demo", "a%_", "c2c_"},
		{"demo", "a%_", "C2C_%"},
		{"demo", "a%_", "c2c_% "},
	}
	r.fill(t, c, 40)
	before := map[chat]left{}
	for _, o := range others {
		r.fill(t, o, 20)
		before[o] = r.left(t, o)
	}
	cmd := c.through(1 << 40)
	r.send(t, cmd)
	wantFields(t, r.deleted(t, cmd.CommandID, c.id), "messages_deleted", 40)
	r.wantLeft(t, c, nothing)
	for _, o := range others {
		r.wantLeft(t, o, before[o])
	}
	if got := one[int64](t, r, `select last_seq from chat.counters where app_id = 'demo' and user_id = $1`, c.user); got < 40 {
		t.Errorf("the counter went back to %d: seqs would be used again", got)
	}
}
