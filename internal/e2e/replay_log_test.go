package e2e

import (
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

// logTables are all that a restore of newRoomRig's database brings back.
var logTables = []string{
	"rooms.rooms", "rooms.members", "rooms.messages", "lethe.commands", "lethe.deletions", "lethe.enumerations", "lethe.watermarks",
}

// roomState is all of that, row by row, but for when the ledger learned of it, and of erasures but for what began them last.
func (r *rig) roomState(t testing.TB) string {
	t.Helper()
	var all []string
	for _, of := range []string{
		`table rooms.rooms`, `table rooms.members`, `table rooms.messages`, `select app_id, user_id, conversation_id, cleared_through from lethe.watermarks`,
		`select app_id, command_id, user_id, conversation_id, state, through_seq, conversation_removed, multi_client_sync,
			case when command_id <> '' then scope end, requested_by, erased, erased_at,
			erased_told, case when command_id <> '' then messages_deleted end, case when command_id <> '' then completed_at end from lethe.deletions`,
	} {
		all = append(all, one[string](t, r, `select coalesce(string_agg(x::text, E'\n' order by x::text), '') from (`+of+`) x`))
	}
	return strings.Join(all, "\n\n")
}

// keepRooms keeps a copy of the tables, and restores it.
func (r *rig) keepRooms(t testing.TB) (restore func()) {
	t.Helper()
	saved := func(table string) string { return "saved." + strings.ReplaceAll(table, ".", "_") }
	r.exec(t, `create schema saved`)
	for _, table := range logTables {
		r.exec(t, `create table `+saved(table)+` as table `+table)
	}
	return func() {
		r.exec(t, `truncate `+strings.Join(logTables, ", "))
		for _, table := range logTables {
			r.exec(t, `insert into `+table+` table `+saved(table))
		}
	}
}

func TestARestoredSharedLogIsHiddenAndErasedAgain(t *testing.T) {
	t.Parallel()
	r := newRoomRig(t, 500)
	settings := []string{"erase-poll=100ms", "sweep-every=500ms"}
	r.exec(t, `insert into rooms.rooms values ('h'), ('i')`)
	r.exec(t, `insert into rooms.members (room, who) values ('g', 'carol'), ('h', 'alice'), ('h', 'bob'), ('h', 'carol'), ('i', 'alice'), ('i', 'bob')`)
	r.exec(t, `insert into rooms.messages select room, n from unnest('{h,i}'::text[]) room, generate_series(1, 40) n`)
	of := func(user, id string) chat { return chat{"demo", user, id} }
	everyone, all := of("mallory", "h").ask(), of("bob", "").ask()
	everyone.Scope = conversation.ScopeEveryone
	all.Conversations, all.AllConversations = nil, true
	cmds := []conversation.Command{of("alice", "g").through(100)}

	w := r.start(t, settings...)
	r.send(t, cmds[0])
	r.deleted(t, cmds[0].CommandID, "g")
	w.term(t)
	restore, since := r.keepRooms(t), r.moment(t)

	w = r.start(t, settings...)
	for i, cmd := range []conversation.Command{
		of("alice", "g").ask(), of("bob", "g").through(200), of("carol", "g").through(50), of("carol", "g").through(300), everyone, all,
	} {
		cmds = append(cmds, cmd)
		r.send(t, cmd)
		r.settled(t) // each finds what the one before has done
		if erased := []int{0, 0, 1, 3, 6, 7}[i]; erased > 0 {
			r.awaitStored(t, erased, typed(conversation.TypeErased))
		}
	}
	r.settled(t)
	eventually(t, timeout, "nothing is left to erase or to tell", func() bool {
		return one[int](t, r, `select count(*)::int from lethe.deletions where command_id = '' and (state <> 'done' or not erased_told)`) == 0
	})
	w.term(t)
	want, lasts := r.roomState(t), r.lasts(t)
	restore()
	restored := r.roomState(t)

	got, _ := r.replay(t, 0, since, "--dry-run")
	if got.MessagesDeleted != 300+40 || got.Hidden != 9 || got.Erasures == 0 || r.roomState(t) != restored {
		t.Errorf("dry run: %+v; want 340 messages that would be erased, and 9 deletions that hide; and nothing changed", got)
	}
	if got, _ = r.replay(t, 0, since); got.MessagesDeleted != 300+40 || got.Hidden != 9 || !got.Complete {
		t.Errorf("replay: %+v; want 340 messages erased, and 9 deletions hidden", got)
	}
	if now := r.roomState(t); now != want {
		t.Errorf("after the replay:\n%s\n\nwant as before the restore:\n%s", now, want)
	}
	if got, _ = r.replay(t, 0, since); got.MessagesDeleted != 0 || got.Replayed+got.Erasures != 0 {
		t.Errorf("once more: %+v; want nothing", got)
	}
	if now := r.lasts(t); now != lasts {
		t.Errorf("last sequences and events heard: %s; want that nothing was published since %s", now, lasts)
	}

	r.start(t, settings...)
	_, before, _ := r.seen()
	for _, cmd := range cmds {
		r.send(t, cmd)
	}
	r.awaitHeard(t, len(before)+5+3+4, func(e event) bool { return e.kind() != conversation.TypeDeleting }) // erased is told once
	r.settled(t)
	r.exec(t, `delete from rooms.members where room = 'i' and who = 'alice'`) // what waits for the floor still does
	r.awaitStored(t, 1, typed(conversation.TypeErased), func(e event) bool { return e.conversation() == "i" })
	_, heard, _ := r.seen()
	bodies, erased := map[string]string{}, map[string]int{}
	for _, e := range heard {
		if body, known := bodies[e.id()]; known && body != string(e.data) {
			t.Errorf("an event was repeated otherwise: %s, then %s", body, e.data)
		}
		bodies[e.id()] = string(e.data)
		if e.kind() == conversation.TypeErased {
			erased[e.id()]++
		}
	}
	for id, n := range erased {
		if n > 1 {
			t.Errorf("erased was told %d times: %s", n, bodies[id])
		}
	}
}
