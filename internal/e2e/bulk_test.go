package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

// bulk is a command for n conversations of a user, g0 to g(n-1), of some messages
// each.
func (r *rig) bulk(t testing.TB, app, user string, n, messages int) (conversation.Command, []chat) {
	t.Helper()
	cmd := conversation.Command{CommandID: conversation.NewCommandID(), AppID: app, UserID: user}
	var chats []chat
	for i := range n {
		c := chat{app, user, fmt.Sprintf("g%d", i)}
		r.fill(t, c, messages)
		chats = append(chats, c)
		cmd.Conversations = append(cmd.Conversations, conversation.Target{ID: c.id})
	}
	return cmd, chats
}

func ids(chats []chat) []string {
	var all []string
	for _, c := range chats {
		all = append(all, c.id)
	}
	return all
}

func TestABulkCommandTakesAHundredConversations(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	cmd, chats := r.bulk(t, "demo", "alice", 100, 3)
	half := r.left(t, chats[7]).First
	cmd.Conversations[7].ThroughSeq = &half
	r.send(t, cmd)
	r.onlyDeleted(t, cmd.CommandID, ids(chats)...)
	distinct := map[string]bool{}
	for _, e := range r.awaitStored(t, 100, of(cmd.CommandID)) {
		distinct[e.id()] = true
		if want := map[bool]int{true: 1, false: 3}[e.conversation() == "g7"]; e.text("messages_deleted") != fmt.Sprint(want) {
			t.Errorf("%s; want messages_deleted %d", e, want)
		}
	}
	if len(distinct) != 100 {
		t.Errorf("100 deletions have %d distinct ids", len(distinct))
	}
	for i, c := range chats {
		want := nothing
		if i == 7 {
			want = r.left(t, c)
			if want.Messages != 2 || !want.Row || want.Unread != 2 {
				t.Errorf("g7 has %+v; want 2 messages and the row", want)
			}
		}
		r.wantLeft(t, c, want)
	}
	r.settled(t)
}

func TestEachEventOfABulkCommandGoesOutAsSoonAsItIsFinal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.start(t)
	cmd, chats := r.bulk(t, "demo", "alice", 30, 2)
	release := r.hold(t, `select from chat.messages where user_id = 'alice' and conversation_id = 'g11' for update`)
	seq := r.send(t, cmd).Sequence
	rest := slices.DeleteFunc(ids(chats), func(id string) bool { return id == "g11" })
	r.awaitStored(t, 29, of(cmd.CommandID))
	r.onlyDeleted(t, cmd.CommandID, rest...)

	// A stop and a start in between repeat what is final, and lose nothing.
	w.term(t)
	if _, found := r.streamMessage(t, conversation.CommandsStream, seq); !found {
		t.Error("the command has left the stream before its last deletion was final")
	}
	r.start(t)
	release()
	r.onlyDeleted(t, cmd.CommandID, ids(chats)...)
	r.settled(t)
	for _, c := range chats {
		r.wantLeft(t, c, nothing)
	}
}

func TestALockedRowHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	held := chat{"demo", "held", "g"}
	r.fill(t, held, 40)
	heldRow := chat{"demo", "heldrow", "g"}
	r.fill(t, heldRow, 40)
	release := r.hold(t, `select from chat.messages where user_id = 'held' and seq = 20 for update`)
	releaseRow := r.hold(t, `select from chat.conversations where user_id = 'heldrow' for update`)
	first, row := held.ask(), heldRow.ask()
	r.send(t, first)
	r.send(t, row)
	var neighbours []conversation.Command
	for i := range 50 {
		c := chat{"demo", fmt.Sprintf("u%d", i), "g"}
		r.fill(t, c, 10)
		cmd := c.ask()
		r.send(t, cmd)
		neighbours = append(neighbours, cmd)
	}
	r.start(t)
	for _, cmd := range neighbours {
		r.deleted(t, cmd.CommandID, "g")
	}
	if stored, _, _ := r.seen(func(e event) bool { return e.command() == first.CommandID || e.command() == row.CommandID }); len(stored) > 0 {
		t.Errorf("told before it was so: %s", stored[0])
	}
	release()
	releaseRow()
	wantFields(t, r.deleted(t, first.CommandID, "g"), "messages_deleted", 40)
	wantFields(t, r.deleted(t, row.CommandID, "g"), "messages_deleted", 40, "conversation_removed", true)
	r.wantLeft(t, held, nothing)
	r.wantLeft(t, heldRow, nothing)
	r.settled(t)
}
