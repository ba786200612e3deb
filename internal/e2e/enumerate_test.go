package e2e

import (
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

// The points of a worker's way through a command that names its deletions by a rule.
func TestACrashAtAnyStepOfAnEnumerationLosesNothing(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"page_noted:2", "after_commit:2", "enumeration_completed", "all_deleted_published"} {
		t.Run("all_conversations/"+point, func(t *testing.T) {
			t.Parallel()
			crashEnumeration(t, point, conversation.Command{UserID: "alice", AllConversations: true})
		})
	}
	for _, point := range []string{"page_noted:2"} {
		t.Run("everyone/"+point, func(t *testing.T) {
			t.Parallel()
			crashEnumeration(t, point, conversation.Command{
				UserID: "boss", Scope: conversation.ScopeEveryone, Conversations: []conversation.Target{{ID: "group_a"}, {ID: "group_b"}},
			})
		})
	}
}

// crashEnumeration has two conversations of each of 550 users, and as many of alice's.
func crashEnumeration(t *testing.T, point string, cmd conversation.Command) {
	t.Helper()
	const n = 1100
	r := newRig(t)
	r.exec(t, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select 'demo', u, c, s, now() - interval '1 hour' from (
			select 'u' || i as u, g as c from generate_series(1, $1::int / 2) i, unnest(array['group_a', 'group_b']) g
			union all select 'alice', 'c' || i from generate_series(1, $1::int) i) x, generate_series(1, 2) s`, n)
	r.exec(t, `insert into chat.conversations (app_id, user_id, conversation_id) select distinct app_id, user_id, conversation_id from chat.messages`)
	cmd.CommandID, cmd.AppID = conversation.NewCommandID(), "demo"
	r.send(t, cmd)
	r.crash(t, point)
	r.start(t)
	r.settled(t)
	r.awaitStored(t, n, typed(conversation.TypeDeleted))
	first := map[string]event{}
	stored, heard, _ := r.seen()
	ends := 0
	for _, e := range append(stored, heard...) {
		key := e.kind() + " " + e.text("user_id") + " " + e.text("conversation_id")
		if seen, again := first[key]; again {
			sameEvent(t, seen, e)
			continue
		}
		first[key] = e
		switch {
		case e.kind() == conversation.TypeDeleted && e.text("messages_deleted") == "2":
		case e.kind() == conversation.TypeAllDeleted && e.text("conversations") == "1100" && e.text("messages_deleted") == "2200" && e.text("failed") == "0":
			ends++
		default:
			t.Errorf("nobody asked for %s", e)
		}
	}
	if want := map[bool]int{true: 1}[cmd.AllConversations]; len(first) != n+want || ends != want {
		t.Errorf("%d different events, %d of the whole command; want %d and %d", len(first), ends, n+want, want)
	}
	if left := one[int](t, r, `select count(*) from chat.messages where (user_id = 'alice') = $1`, cmd.AllConversations); left != 0 {
		t.Errorf("%d messages are left", left)
	}
	if left := one[int](t, r, `select count(*) from chat.messages`); left != 2*n {
		t.Errorf("others have %d messages left; want %d", left, 2*n)
	}
	r.noAttempts(t)
}
