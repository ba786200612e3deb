package repo

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-im/lethe/internal/purge"
)

// everyoneOf is a deletion for everyone of a room, through message n.
func everyoneOf(command string, room int, n int64) purge.Deletion {
	d := hideOf(command, "boss", room, int(n))
	d.Scope, d.RequestedBy, d.Boundary = purge.ScopeEveryone, "boss", &n
	return d
}

// Members whose conversation goes for everyone go before they are told so: who has left, too. Each event counts what its member could see.
func TestMembersOfAConversationThatGoesAreRemovedAtFirst(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "false")
	users := []string{"alice", "bob", "carol", "dave", "erin", "frank", "gina"}
	fillLog(t, r, 1, 10, users...)
	fillLog(t, r, 2, 10, "alice", "bob")
	execSQL(t, r.pool, `update log.members set from_n = 4 where who = 'carol'; update log.members set n = 7 where who = 'dave'; update log.members set left_at = now() where who = 'erin'`)
	steps(t, r, hideOf("before", "bob", 1, 2))
	d := everyoneOf("c", 1, 10)
	if got := removeMembers(t, r, d); !slices.Equal(got, users) {
		t.Errorf("removed %q; want %q", got, users)
	}
	e, err := r.Enumerate(t.Context(), d)
	if slices.Sort(e.Open); err != nil || !e.At.Done || !slices.Equal(e.Open, users) {
		t.Errorf("the ledger has %+v, %v; want all of them open, and no more to come", e, err)
	}
	if got := logLeft(t, r, 1); got != "messages 1-10 (10), 3 receipts, 2 attachments, 0 members, 1 pins, 1 rooms" {
		t.Errorf("%s are left; want all but the members", got)
	}
	var b purge.Batch
	for _, user := range users {
		one := d
		one.User, one.Token = user, tokens()
		b.Deletions = append(b.Deletions, one)
	}
	hidden := map[string]int64{}
	for _, rec := range bulk(t, r, b).Records {
		if hidden[rec.User] = rec.MessagesDeleted; rec.State != purge.Done || !rec.ConversationRemoved || rec.Erased || rec.Unknown {
			t.Errorf("%+v; want it done, and the conversation removed", rec)
		}
	}
	if want := map[string]int64{"alice": 10, "bob": 8, "carol": 7, "dave": 3, "erin": 10, "frank": 10, "gina": 10}; !cmp.Equal(hidden, want) {
		t.Errorf("hidden: %v; want %v", hidden, want)
	}
	if err := r.EraseEveryone(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if told := carryOutErasure(t, r, 1, 3); len(told) != 8 {
		t.Errorf("told %q; want all members, and bob twice", told)
	}
	if got := logLeft(t, r, 1); got != "messages - (0), 0 receipts, 0 attachments, 0 members, 0 pins, 0 rooms" {
		t.Errorf("%s are left; want nothing", got)
	}
	if got := logLeft(t, r, 2); got != "messages 1-10 (10), 3 receipts, 2 attachments, 2 members, 1 pins, 1 rooms" {
		t.Errorf("of the other room %s are left; want all", got)
	}
}

// A newer message, which may be under way, keeps the members and their conversation.
func TestANewerMessageKeepsMembers(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "false")
	fillLog(t, r, 1, 10, "alice", "bob")
	d := everyoneOf("c", 1, 10)
	tx := begin(t, r)
	if _, err := tx.Exec(t.Context(), `insert into log.messages (room, sender, n, at, ms) values (1, 'bob', 11, now(), 0)`); err != nil {
		t.Fatal(err)
	}
	slow := openRepo(t, Config{URL: r.cfg.URL, Plan: r.cfg.Plan, Target: 30 * time.Second})
	removed := make(chan []string)
	go func() { removed <- removeMembers(t, slow, d) }()
	waitFor(t, r, `select exists (select from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.datname = current_database())`)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-removed; len(got) > 0 {
		t.Errorf("removed %q; want nobody", got)
	}
	if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{{
		Key:   purge.Key{App: "demo", Command: "c", User: "alice", Conversation: "1"},
		Scope: d.Scope, RequestedBy: d.RequestedBy, Boundary: d.Boundary, StoredAt: d.StoredAt, Digest: d.Digest, Token: tokens(),
	}}}).Records[0]; rec.State != purge.Done || rec.ConversationRemoved {
		t.Errorf("%+v; want it done, and the conversation there", rec)
	}
	if err := r.EraseEveryone(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	carryOutErasure(t, r, 1, 3)
	if got := logLeft(t, r, 1); got != "messages 11-11 (1), 0 receipts, 0 attachments, 2 members, 1 pins, 1 rooms" {
		t.Errorf("%s are left; want the newer message and its conversation", got)
	}
}

// Who joins while the log is erased for everyone is a member of what is left, also when the end is done again after a crash.
func TestWhoJoinsDuringTheErasureForEveryoneStays(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "false")
	fillLog(t, r, 1, 10, "alice", "bob")
	d := everyoneOf("c", 1, 10)
	removeMembers(t, r, d)
	for range 2 {
		if err := r.EraseEveryone(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		execSQL(t, r.pool, `insert into log.members (room, who) values (1, 'carol') on conflict do nothing`)
		carryOutErasure(t, r, 1, 3)
		if got := logLeft(t, r, 1); got != "messages - (0), 0 receipts, 0 attachments, 1 members, 1 pins, 1 rooms" {
			t.Errorf("%s are left; want carol's membership", got)
		}
	}
}

// Of two workers one removes the members, and a trigger that keeps one makes nobody say that they are removed.
func TestMembersAreRemovedOnce(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "false")
	fillLog(t, r, 1, 10, "alice", "bob")
	execSQL(t, r.pool, `create function log.keep() returns trigger language plpgsql as $$ begin return null; end $$;
		create trigger keep before delete on log.members for each row when (old.who = 'bob') execute function log.keep()`)
	d := everyoneOf("c", 1, 10)
	if _, err := r.Enumerate(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	users, to, moved, err := r.RemoveMembers(t.Context(), d, purge.Place{}, nil, 10)
	if slices.Sort(users); err != nil || !moved || !to.Done || !slices.Equal(users, []string{"alice", "bob"}) {
		t.Errorf("removed %q, %+v, %t, %v; want both", users, to, moved, err)
	}
	if users, _, moved, err := r.RemoveMembers(t.Context(), d, purge.Place{}, nil, 10); err != nil || moved || len(users) > 0 {
		t.Errorf("again: %q, %t, %v; want it moved by another worker", users, moved, err)
	}
	for user, removed := range map[string]bool{"alice": true, "bob": false} {
		one := d
		one.User = user
		if rec := steps(t, r, one).Records[0]; rec.State != purge.Done || rec.ConversationRemoved != removed {
			t.Errorf("%s: %+v; want done, removed %t", user, rec, removed)
		}
	}
}

// Where a trigger keeps members of a conversation that goes, each page of them would be the same one.
func TestMembersThatATriggerKeepsEndTheirRemoval(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "false")
	fillLog(t, r, 1, 10, "alice", "bob", "carol")
	execSQL(t, r.pool, `create function log.leave() returns trigger language plpgsql as $$ begin update log.members set left_at = now() where room = old.room and who = old.who; return null; end $$;
		create trigger leave before delete on log.members for each row execute function log.leave()`)
	d := everyoneOf("c", 1, 10)
	if _, err := r.Enumerate(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	var open []string
	at := purge.Place{}
	for range 3 {
		users, to, moved, err := r.RemoveMembers(t.Context(), d, at, open, 2)
		var kept purge.Kept
		if errors.As(err, &kept) {
			if kept.Table != `"log"."members"` || kept.Rows != 2 || to != at || moved {
				t.Errorf("%+v, %+v, %t; want two of the members kept, and nothing moved", kept, to, moved)
			}
			if n := queryOne[int](t, r.pool, `select count(*) from log.members where left_at is null`); n != 3 {
				t.Errorf("%d members are there; want all: nothing is committed", n)
			}
			return
		}
		if err != nil || len(users) == 0 {
			t.Fatalf("removed %q, %v; want an error about what is kept", users, err)
		}
		open, at = append(open, users...), to
	}
	t.Errorf("removed %q, and so forever", open)
}
