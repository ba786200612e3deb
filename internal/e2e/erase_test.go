package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

// roomTables are rooms whose members read one log.
const roomTables = `create schema rooms;
create table rooms.rooms (id text primary key);
create table rooms.members (room text not null, who text not null, left_at timestamptz, cleared bigint, primary key (room, who));
create index on rooms.members (who, room);
create index on rooms.members (room, cleared);
create table rooms.messages (room text not null, n bigint not null, at timestamptz not null default now() - interval '1 hour', primary key (room, n));
create index on rooms.messages (room, at);
`

const roomPlan = `tenant: demo
messages: {table: rooms.messages, conversation: room, seq: n, sent_at: at}
members: {table: rooms.members, user: who, conversation: room, where: {left_at: null}, watermark: cleared}
conversations: {table: rooms.rooms, where: {id: $conversation}, keep: true}
`

// newRoomRig is a rig on rooms: "g" has messages 1 to n, which alice and bob read.
func newRoomRig(t *testing.T, n int) *rig {
	t.Helper()
	return newRoomRigOn(t, roomPlan, n)
}

func newRoomRigOn(t *testing.T, plan string, n int) *rig {
	t.Helper()
	file := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(file, []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, withSchema(roomTables), withEnv("LETHE_PLAN="+file))
	r.exec(t, `insert into rooms.rooms values ('g')`)
	r.exec(t, `insert into rooms.members values ('g', 'alice'), ('g', 'bob')`)
	r.exec(t, `insert into rooms.messages select 'g', generate_series(1, $1::int)`, n)
	return r
}

func (r *rig) roomMessages(t testing.TB) int {
	t.Helper()
	return one[int](t, r, `select count(*)::int from rooms.messages`)
}

// wantErased is the one event that a member gets once what their command has hidden is gone.
func (r *rig) wantErased(t *testing.T, cmd conversation.Command, through string) {
	t.Helper()
	ms := []match{of(cmd.CommandID), typed(conversation.TypeErased)}
	r.awaitHeard(t, 1, ms...)
	onceStored(t, r, 1, ms...)
	e := r.awaitStored(t, 1, ms...)[0]
	if e.subject != "conversation.erased.demo."+cmd.UserID || e.text("user_id") != cmd.UserID || e.text("through_seq") != through || e.text("erased_at") == "" {
		t.Errorf("erased: %s; want it through %s for %s", e, through, cmd.UserID)
	}
	_, heard, _ := r.seen(ms...)
	for _, h := range heard {
		if string(h.data) != string(e.data) {
			t.Errorf("an event was repeated otherwise: %s, then %s", e.data, h.data)
		}
	}
}

// The points between a member's deletion and what all of them are told in the end.
func TestACrashOnTheWayToAnErasureErasesAndTellsOnce(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"after_publish", "after_raise", "in_batch:2", "after_erase", "after_told"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			settings := []string{"min-rows=100", "max-rows=100", "erase-poll=100ms", "sweep-every=500ms"}
			r := newRoomRig(t, 500)
			alice, bob := chat{"demo", "alice", "g"}.ask(), chat{"demo", "bob", "g"}.ask()
			r.flood(t, []conversation.Command{alice, bob})
			r.crash(t, point, settings...)
			r.start(t, settings...)
			r.wantErased(t, alice, "500")
			r.wantErased(t, bob, "500")
			if n := r.roomMessages(t); n != 0 {
				t.Errorf("%d messages are left; want none", n)
			}
			r.settled(t)
			for _, cmd := range []conversation.Command{alice, bob} {
				onceStored(t, r, 1, of(cmd.CommandID), typed(conversation.TypeDeleted))
			}
			onceStored(t, r, 4)
		})
	}
}

// The points of a deletion for everyone whose conversation goes: its members are removed once, who joins after that stays, and each event is as without
// the crash.
func TestACrashOnTheWayToEveryonesEnd(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"members_removed", "everyone_opened", "enumeration_completed"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			settings := []string{"erase-poll=100ms", "sweep-every=500ms"}
			r := newRoomRigOn(t, strings.Replace(roomPlan, "keep: true", "keep: false", 1), 50)
			cmd := conversation.Command{
				CommandID: conversation.NewCommandID(), AppID: "demo", UserID: "boss", Scope: conversation.ScopeEveryone, Conversations: []conversation.Target{{ID: "g"}},
			}
			r.send(t, cmd)
			r.crash(t, point, settings...)
			r.exec(t, `insert into rooms.members values ('g', 'carol')`)
			r.start(t, settings...)
			r.settled(t)
			for _, kind := range []string{conversation.TypeErased, conversation.TypeDeleted} {
				r.awaitHeard(t, 2, typed(kind))
				onceStored(t, r, 2, typed(kind))
			}
			for _, e := range r.awaitStored(t, 2, typed(conversation.TypeDeleted)) {
				if e.text("conversation_removed") != "true" || e.text("messages_deleted") != "50" {
					t.Errorf("deleted: %s; want 50 messages, and the conversation removed", e)
				}
			}
			if left := one[string](t, r, `select string_agg(who, ' ') || (select count(*) from rooms.rooms) || (select count(*) from rooms.messages) from rooms.members`); left != "carol10" {
				t.Errorf("members, rooms and messages: %s; want carol and her room", left)
			}
		})
	}
}

// Where the app has removed a member nobody needs to wait for a sweep, nor for a worker; the events follow.
func TestEraseByHandNeedsNoWorker(t *testing.T) {
	t.Parallel()
	r := newRoomRig(t, 1234)
	alice := chat{"demo", "alice", "g"}.ask()
	w := r.start(t, "sweep-every=1h")
	r.send(t, alice)
	if e := r.deleted(t, alice.CommandID, "g"); e.text("erased") != "false" || e.text("messages_deleted") != "1234" {
		t.Errorf("deleted: %s; want 1234 messages hidden, and none erased", e)
	}
	erase := []string{"erase", "--app", "demo", "--conversation", "g"}
	if out := r.must(t, erase...); !strings.Contains(out, "nothing to erase") {
		t.Errorf("while bob reads it, erase printed %q", out)
	}
	w.term(t)
	r.exec(t, `delete from rooms.members where who = 'bob'`)
	out := r.must(t, append(erase, "--json")...)
	for _, want := range []string{`"erased":true`, `"through_seq":1234`, `"messages_erased":1234`, `"untold":1`} {
		if !strings.Contains(out, want) {
			t.Errorf("erase printed %q; want %s in it", out, want)
		}
	}
	if n := r.roomMessages(t); n != 0 {
		t.Errorf("%d messages are left; want none", n)
	}
	r.start(t, "sweep-every=1h", "erase-poll=100ms")
	r.wantErased(t, alice, "1234")
}
