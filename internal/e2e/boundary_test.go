package e2e

import (
	"math"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

func TestTheBoundaryIsTheSeqThatWasAskedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	for _, c := range []struct {
		name    string
		asked   int64
		through int64
		left    left
	}{
		{"in_the_middle", 25, 25, left{Messages: 15, Reactions: 2, Attachments: 1, First: 26, Last: 40, Row: true, Unread: 15}},
		{"the_newest", 40, 40, nothing},
		{"one_before_the_newest", 39, 39, left{Messages: 1, Reactions: 1, Attachments: 1, First: 40, Last: 40, Row: true, Unread: 1}},
		{"never_past_the_newest", 1000, 40, nothing},
		{"never_past_the_newest_for_the_greatest_number", math.MaxInt64, 40, nothing},
		{"zero_deletes_nothing", 0, 0, left{Messages: 40, Reactions: 4, Attachments: 2, First: 1, Last: 40, Row: true, Unread: 40}},
		{"the_first", 1, 1, left{Messages: 39, Reactions: 4, Attachments: 2, First: 2, Last: 40, Row: true, Unread: 39}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ch := chat{"demo", c.name, "c2c_bob"}
			r.fill(t, ch, 40)
			cmd := ch.through(c.asked)
			r.send(t, cmd)
			e := r.deleted(t, cmd.CommandID, ch.id)
			wantFields(t, e, "through_seq", c.through, "messages_deleted", 40-c.left.Messages, "conversation_removed", !c.left.Row)
			r.wantLeft(t, ch, c.left)
		})
	}
}

func TestTheBoundaryMayLieInAGap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	c, other := chat{"demo", "alice", "c2c_bob"}, chat{"demo", "alice", "group_1"}
	r.fill(t, c, 10)
	r.fill(t, other, 10)
	r.fill(t, c, 10)
	cmd := c.through(15)
	r.send(t, cmd)
	wantFields(t, r.deleted(t, cmd.CommandID, c.id), "through_seq", 15, "messages_deleted", 10, "conversation_removed", false)
	r.wantLeft(t, c, left{Messages: 10, Reactions: 1, First: 21, Last: 30, Row: true, Unread: 10})
	r.wantLeft(t, other, left{Messages: 10, Reactions: 1, Attachments: 1, First: 11, Last: 20, Row: true, Unread: 10})

	rest := c.ask()
	r.send(t, rest)
	wantFields(t, r.deleted(t, rest.CommandID, c.id), "through_seq", 30, "messages_deleted", 10, "conversation_removed", true)
	r.wantLeft(t, c, nothing)
}

func TestWithoutASeqTheBoundaryIsWhatHadBeenSent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	later := func(t *testing.T, c chat, where string) {
		t.Helper()
		r.exec(t, `update chat.messages set sent_at = now() + interval '1 hour' where app_id = $1 and user_id = $2 and conversation_id = $3 and `+where, c.app, c.user, c.id)
	}
	for _, c := range []struct {
		name    string
		later   string // messages that the clock says come in an hour
		through int64
		left    left
	}{
		{"all", "false", 40, nothing},
		{"not_what_comes_later", "seq > 30", 30, left{Messages: 10, Reactions: 1, Attachments: 1, First: 31, Last: 40, Row: true, Unread: 10}},
		{"then_seq_alone_decides", "seq = 20", 40, nothing},
		{"nothing_had_been_sent", "true", 0, left{Messages: 40, Reactions: 4, Attachments: 2, First: 1, Last: 40, Row: true, Unread: 40}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ch := chat{"demo", c.name, "c2c_bob"}
			r.fill(t, ch, 40)
			later(t, ch, c.later)
			cmd := ch.ask()
			r.send(t, cmd)
			wantFields(t, r.deleted(t, cmd.CommandID, ch.id), "through_seq", c.through, "messages_deleted", 40-c.left.Messages)
			r.wantLeft(t, ch, c.left)
		})
	}
	t.Run("with_a_seq_clocks_do_not_matter", func(t *testing.T) {
		t.Parallel()
		ch := chat{"demo", "clockless", "c2c_bob"}
		r.fill(t, ch, 40)
		later(t, ch, "true")
		cmd := ch.through(30)
		r.send(t, cmd)
		wantFields(t, r.deleted(t, cmd.CommandID, ch.id), "through_seq", 30, "messages_deleted", 30)
	})
}

// A worker that starts late must not delete what the user has never seen.
func TestTheBoundaryIsDecidedByTheStreamsTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain, seq, beyond, kept := chat{"demo", "plain", "g"}, chat{"demo", "seq", "g"}, chat{"demo", "beyond", "g"}, chat{"demo", "kept", "g"}
	commands := map[chat]conversation.Command{plain: plain.ask(), seq: seq.through(40), beyond: beyond.through(43), kept: kept.ask()}
	for c, cmd := range commands {
		r.fill(t, c, 40)
		cmd.KeepHistory = c == kept
		commands[c] = cmd
		r.send(t, cmd)
		r.sayN(t, c, 5)
	}
	r.start(t)
	five := left{Messages: 5, First: 41, Last: 45, Row: true, Unread: 5}
	wantFields(t, r.deleted(t, commands[plain].CommandID, "g"), "through_seq", 40, "messages_deleted", 40, "conversation_removed", false)
	r.wantLeft(t, plain, five)
	wantFields(t, r.deleted(t, commands[seq].CommandID, "g"), "through_seq", 40, "messages_deleted", 40)
	r.wantLeft(t, seq, five)
	// "never past the newest message that existed when the deletion was first taken up"
	wantFields(t, r.deleted(t, commands[beyond].CommandID, "g"), "through_seq", 43, "messages_deleted", 43)
	r.wantLeft(t, beyond, left{Messages: 2, First: 44, Last: 45, Row: true, Unread: 2})
	wantFields(t, r.deleted(t, commands[kept].CommandID, "g"), "through_seq", 40, "messages_deleted", 0, "conversation_removed", false)
	r.wantLeft(t, kept, left{Messages: 45, Reactions: 4, Attachments: 2, First: 1, Last: 45, Row: true, Unread: 5})
}

func TestTheBoundaryStaysWhereItWasPinned(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.start(t)

	// What the worker has to take up again and again, since somebody holds one of
	// the messages.
	plain, beyond := chat{"demo", "plain", "g"}, chat{"demo", "beyond", "g"}
	r.fill(t, plain, 40)
	r.fill(t, beyond, 40)
	release := r.hold(t, `select from chat.messages where conversation_id = 'g' and seq = 20 for update`)
	commands := []conversation.Command{plain.ask(), beyond.through(1000)}
	for _, cmd := range commands {
		r.send(t, cmd)
		eventually(t, timeout, "the boundary is pinned", func() bool {
			return r.state(t, cmd.CommandID, "g")["through_seq"] == "40"
		})
	}
	r.sayN(t, plain, 3)
	r.sayN(t, beyond, 3)
	for _, cmd := range commands {
		r.again(t, cmd) // a duplicate, with another time in the stream
	}
	w.kill()
	r.sayN(t, plain, 2)
	r.sayN(t, beyond, 2)
	r.start(t)
	release()
	for i, c := range []chat{plain, beyond} {
		wantFields(t, r.deleted(t, commands[i].CommandID, "g"), "through_seq", 40, "messages_deleted", 40, "conversation_removed", false)
		r.wantLeft(t, c, left{Messages: 5, First: 41, Last: 45, Row: true, Unread: 5})
	}
	r.settled(t)
	for i, c := range []chat{plain, beyond} {
		r.again(t, commands[i])
		r.settled(t)
		r.onlyDeleted(t, commands[i].CommandID, "g")
		r.wantLeft(t, c, left{Messages: 5, First: 41, Last: 45, Row: true, Unread: 5})
	}
}

// A failed try has decided the boundary, although it has deleted nothing.
func TestTheBoundaryStaysThroughFailedTries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain, beyond := chat{"demo", "plain", "g"}, chat{"demo", "beyond", "g"}
	commands := map[chat]conversation.Command{plain: plain.ask(), beyond: beyond.through(1000)}
	mend := map[chat]func(){}
	for c := range commands {
		r.fill(t, c, 40)
		mend[c] = r.breakDeletes(t, c)
	}
	r.start(t, "--max-attempts=1000")
	for c, cmd := range commands {
		r.send(t, cmd)
		eventually(t, timeout, "a try has failed", func() bool {
			n := r.state(t, cmd.CommandID, "g")["attempts"]
			return n != "" && n != "0"
		})
		r.sayN(t, c, 5)
		mend[c]()
	}
	for c, cmd := range commands {
		wantFields(t, r.deleted(t, cmd.CommandID, "g"), "through_seq", 40, "messages_deleted", 40)
		r.wantLeft(t, c, left{Messages: 5, First: 41, Last: 45, Row: true, Unread: 5})
	}
}

func TestSeqsMayBeAsLargeAsTheyCan(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t, "--express-rows=1", "min-rows=1", "max-rows=1")
	seqs := []int64{1, 1<<53 + 1, math.MaxInt64 - 1, math.MaxInt64}
	for name, c := range map[string]struct{ asked, through, deleted int64 }{
		"all": {-1, math.MaxInt64, 4}, "the_greatest": {math.MaxInt64, math.MaxInt64, 4}, "one_less": {math.MaxInt64 - 1, math.MaxInt64 - 1, 3}, "beyond_a_double": {1<<53 + 1, 1<<53 + 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ch := chat{"demo", name, "g"}
			for _, seq := range seqs {
				r.exec(t, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ($1, $2, $3, $4, now() - interval '1 hour')`, ch.app, ch.user, ch.id, seq)
				r.react(t, ch, seq)
			}
			cmd := ch.ask()
			if c.asked >= 0 {
				cmd = ch.through(c.asked)
			}
			r.send(t, cmd)
			wantFields(t, r.deleted(t, cmd.CommandID, "g"), "through_seq", c.through, "messages_deleted", c.deleted)
			if got := r.left(t, ch); got.Messages != 4-int(c.deleted) || got.Reactions != got.Messages || got.Attachments != got.Messages {
				t.Errorf("left: %+v; want %d of each", got, 4-c.deleted)
			}
		})
	}
}
