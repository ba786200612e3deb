package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// chat is one user's copy of a conversation.
type chat struct{ app, user, id string }

// fill gives the user n messages of the conversation, sent during the last hour
// and a day ago at the earliest, with a reaction on each tenth and an attachment on
// each twentieth, and the conversation's row with n unread. Seqs are the next n of
// the user's: 1 to n for a new user. It returns the last one.
func (r *rig) fill(t testing.TB, c chat, n int) int64 {
	t.Helper()
	var last int64
	err := pgx.BeginFunc(t.Context(), r.db, func(tx pgx.Tx) error {
		err := tx.QueryRow(t.Context(), `insert into chat.counters as k (app_id, user_id, last_seq) values ($1, $2, $3)
			on conflict (app_id, user_id) do update set last_seq = k.last_seq + excluded.last_seq returning last_seq`,
			c.app, c.user, n).Scan(&last)
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		first := last - int64(n) + 1
		b.Queue(`insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, sent_at, body)
			select $1, $2, $3, s, 'somebody', now() - interval '1 hour' + (s - $4) * interval '1 hour' / ($5 - $4 + 2), '{"text": "hello"}'
			from generate_series($4::bigint, $5::bigint) s`, c.app, c.user, c.id, first, last)
		b.Queue(`insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji)
			select $1, $2, $3, s, 'somebody', '+1' from generate_series($4::bigint, $5::bigint) s where s % 10 = 0`, c.app, c.user, c.id, first, last)
		b.Queue(`insert into chat.attachments (app_id, user_id, conversation_id, seq, attachment_id)
			select $1, $2, $3, s, gen_random_uuid() from generate_series($4::bigint, $5::bigint) s where s % 20 = 0`, c.app, c.user, c.id, first, last)
		b.Queue(upsertRow, c.app, c.user, c.id, last, n)
		return tx.SendBatch(t.Context(), b).Close()
	})
	if err != nil {
		t.Fatalf("fill %+v: %v", c, err)
	}
	return last
}

const upsertRow = `insert into chat.conversations as c (app_id, user_id, conversation_id, last_seq, unread_count) values ($1, $2, $3, $4, $5)
on conflict (app_id, user_id, conversation_id) do update
set last_seq = greatest(c.last_seq, excluded.last_seq), unread_count = c.unread_count + excluded.unread_count, updated_at = now()`

// say sends one message now, as a sender does: its seq from the user's counter,
// with the conversation's row, in one transaction. It returns the seq.
func (r *rig) say(t testing.TB, c chat) int64 {
	t.Helper()
	var seq int64
	err := pgx.BeginFunc(t.Context(), r.db, func(tx pgx.Tx) error {
		err := tx.QueryRow(t.Context(), `insert into chat.counters as k (app_id, user_id, last_seq) values ($1, $2, 1)
			on conflict (app_id, user_id) do update set last_seq = k.last_seq + 1 returning last_seq`, c.app, c.user).Scan(&seq)
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ($1, $2, $3, $4, clock_timestamp())`, c.app, c.user, c.id, seq)
		b.Queue(upsertRow, c.app, c.user, c.id, seq, 1)
		return tx.SendBatch(t.Context(), b).Close()
	})
	if err != nil {
		t.Fatalf("say in %+v: %v", c, err)
	}
	return seq
}

// sayN sends n messages and returns the last one's seq.
func (r *rig) sayN(t testing.TB, c chat, n int) (last int64) {
	t.Helper()
	for range n {
		last = r.say(t, c)
	}
	return last
}

// react hangs a reaction and an attachment on a message.
func (r *rig) react(t testing.TB, c chat, seq int64) {
	t.Helper()
	r.exec(t, `insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji) values ($1, $2, $3, $4, 'x', '🎉')`, c.app, c.user, c.id, seq)
	r.exec(t, `insert into chat.attachments (app_id, user_id, conversation_id, seq, attachment_id) values ($1, $2, $3, $4, gen_random_uuid())`, c.app, c.user, c.id, seq)
}

// unread sets the row's counter.
func (r *rig) unread(t testing.TB, c chat, n int) {
	t.Helper()
	r.exec(t, `update chat.conversations set unread_count = $4 where app_id = $1 and user_id = $2 and conversation_id = $3`, c.app, c.user, c.id, n)
}

// left is what a user has of a conversation.
type left struct {
	Messages, Reactions, Attachments int
	First, Last                      int64 // seqs; 0 without messages
	Row                              bool
	Unread                           int
}

// nothing is left of a conversation that is gone.
var nothing = left{}

// left counts what the user has of the conversation.
func (r *rig) left(t testing.TB, c chat) left {
	t.Helper()
	var l left
	err := r.db.QueryRow(t.Context(), `
		with m as (select count(*) as n, coalesce(min(seq), 0) as first, coalesce(max(seq), 0) as last from chat.messages where (app_id, user_id, conversation_id) = ($1, $2, $3))
		select m.n, m.first, m.last,
			(select count(*) from chat.reactions where (app_id, user_id, conversation_id) = ($1, $2, $3)),
			(select count(*) from chat.attachments where (app_id, user_id, conversation_id) = ($1, $2, $3)),
			c.app_id is not null, coalesce(c.unread_count, 0)
		from m left join chat.conversations c on (c.app_id, c.user_id, c.conversation_id) = ($1, $2, $3)`, c.app, c.user, c.id).
		Scan(&l.Messages, &l.First, &l.Last, &l.Reactions, &l.Attachments, &l.Row, &l.Unread)
	if err != nil {
		t.Fatalf("count %+v: %v", c, err)
	}
	return l
}

// wantLeft asserts what is left of a conversation.
func (r *rig) wantLeft(t testing.TB, c chat, want left) {
	t.Helper()
	if got := r.left(t, c); got != want {
		t.Errorf("left of %+v:\n%+v; want\n%+v", c, got, want)
	}
}

// orphans counts child rows of messages that are gone, and messages without
// their conversation's row, in the whole database.
func (r *rig) orphans(t testing.TB) string {
	t.Helper()
	children := one[int](t, r, `select count(*)::int from (
		select app_id, user_id, conversation_id, seq from chat.reactions union all select app_id, user_id, conversation_id, seq from chat.attachments) x
		where not exists (select from chat.messages m where (m.app_id, m.user_id, m.conversation_id, m.seq) = (x.app_id, x.user_id, x.conversation_id, x.seq))`)
	messages := one[int](t, r, `select count(*)::int from chat.messages m
		where not exists (select from chat.conversations c where (c.app_id, c.user_id, c.conversation_id) = (m.app_id, m.user_id, m.conversation_id))`)
	if children+messages == 0 {
		return ""
	}
	return fmt.Sprintf("%d child rows have no message, %d messages have no conversation", children, messages)
}

// slowDeletes makes every 100th message's delete of these users take some milliseconds
// longer, until mend is called: however fast the machine is, a huge deletion lasts.
func (r *rig) slowDeletes(t testing.TB, users ...string) (mend func()) {
	t.Helper()
	r.exec(t, `create function public.dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(0.02); return old; end $$`)
	r.exec(t, `create trigger dawdle before delete on chat.messages for each row
		when (old.seq % 100 = 0 and old.user_id in ('`+strings.Join(users, "', '")+`')) execute function public.dawdle()`)
	return func() {
		t.Helper()
		r.exec(t, `create or replace function public.dawdle() returns trigger language plpgsql as $$ begin return old; end $$`)
	}
}

// breakDeletes makes every delete of a message of this conversation fail, until
// mend is called, as a trigger of the user's own might. It is a failure of the
// deletion itself, and not of the infrastructure.
func (r *rig) breakDeletes(t testing.TB, c chat) (mend func()) {
	t.Helper()
	r.exec(t, `select pg_advisory_xact_lock(42); -- others may do it at this moment
		create table if not exists public.broken (app_id text, user_id text, conversation_id text);
		create or replace function public.refuse() returns trigger language plpgsql as $$
		begin
			if exists (select from public.broken b where (b.app_id, b.user_id, b.conversation_id) = (old.app_id, old.user_id, old.conversation_id)) then
				raise exception 'this conversation is on legal hold' using errcode = 'P0001';
			end if;
			return old;
		end $$;
		drop trigger if exists refuse on chat.messages; create trigger refuse before delete on chat.messages for each row execute function public.refuse();`)
	r.exec(t, `insert into public.broken values ($1, $2, $3)`, c.app, c.user, c.id)
	return func() {
		t.Helper()
		r.exec(t, `delete from public.broken where (app_id, user_id, conversation_id) = ($1, $2, $3)`, c.app, c.user, c.id)
	}
}
