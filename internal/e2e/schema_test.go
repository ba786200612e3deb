package e2e

import (
	"strings"
	"testing"
)

// chatColumns is the bundled schema: each table's columns in order, with the key
// columns in capitals.
const chatColumns = `
attachments APP_ID:text USER_ID:text CONVERSATION_ID:text SEQ:bigint ATTACHMENT_ID:uuid object_key:text bytes:bigint
conversations APP_ID:text USER_ID:text CONVERSATION_ID:text last_seq:bigint unread_count:integer draft:text pinned:boolean updated_at:timestamp with time zone
counters APP_ID:text USER_ID:text last_seq:bigint
messages APP_ID:text USER_ID:text CONVERSATION_ID:text SEQ:bigint sender_id:text sent_at:timestamp with time zone body:jsonb
reactions APP_ID:text USER_ID:text CONVERSATION_ID:text SEQ:bigint REACTOR_ID:text EMOJI:text reacted_at:timestamp with time zone
`

func TestTheBundledSchemaIsAsTheContractSays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := one[string](t, r, `select string_agg(line, E'\n' order by line) from (
		select c.table_name || ' ' || string_agg(case when k.column_name is null then c.column_name else upper(c.column_name) end || ':' || c.data_type, ' ' order by c.ordinal_position) as line
		from information_schema.columns c
		left join (information_schema.key_column_usage k join information_schema.table_constraints p using (constraint_schema, constraint_name))
			on k.table_schema = 'chat' and k.table_name = c.table_name and k.column_name = c.column_name and p.constraint_type = 'PRIMARY KEY'
		where c.table_schema = 'chat' group by c.table_name) t`)
	if want := strings.TrimSpace(chatColumns); got != want {
		t.Errorf("the schema chat is\n%s; want\n%s", got, want)
	}
	if n := one[int](t, r, `select count(*)::int from information_schema.columns where table_schema = 'chat' and is_nullable = 'YES'`); n != 0 {
		t.Errorf("%d columns may be null", n)
	}
	if n := one[int](t, r, `select count(*)::int from information_schema.table_constraints where table_schema = 'chat' and constraint_type = 'FOREIGN KEY'`); n != 0 {
		t.Errorf("%d foreign keys; want none", n)
	}
	r.exec(t, `insert into chat.conversations (app_id, user_id, conversation_id) values ('a', 'u', 'c');
		insert into chat.messages (app_id, user_id, conversation_id, seq) values ('a', 'u', 'c', 1);
		insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji) values ('a', 'u', 'c', 1, 'r', 'e');
		insert into chat.attachments (app_id, user_id, conversation_id, seq, attachment_id) values ('a', 'u', 'c', 1, gen_random_uuid());
		insert into chat.counters (app_id, user_id) values ('a', 'u')`)
	if !one[bool](t, r, `select c.last_seq = 0 and unread_count = 0 and draft = '' and not pinned and updated_at > now() - interval '1 minute'
			and sender_id = '' and body = '{}' and sent_at > now() - interval '1 minute' and object_key = '' and bytes = 0 and k.last_seq = 0
		from chat.conversations c, chat.messages, chat.attachments, chat.counters k`) {
		t.Error("a default is not 0, '', false, '{}' or now()")
	}
}

func TestTheLedgerNeverHoldsAMessage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.start(t, "--max-attempts=2", "LOG_LEVEL=debug")
	fine, broken := chat{"demo", "alice", "g"}, chat{"demo", "bob", "g"}
	r.fill(t, fine, 10)
	r.fill(t, broken, 10)
	r.exec(t, `update chat.messages set body = '{"text": "the secret"}', sender_id = 'the secret'`)
	r.breakDeletes(t, broken)
	for _, c := range []chat{fine, broken} {
		cmd := c.ask()
		r.send(t, cmd)
		r.awaitStored(t, 1, of(cmd.CommandID))
	}
	r.settled(t)
	ledger := one[string](t, r, `select string_agg(d::text, E'\n') || coalesce((select string_agg(c::text, '') from lethe.commands c), '') from lethe.deletions d`)
	for what, text := range map[string]string{"the ledger": ledger, "the log": w.log.String()} {
		if strings.Contains(text, "secret") {
			t.Errorf("%s holds a message's content", what)
		}
	}
	if n := strings.Count(ledger, "\n"); n != 1 {
		t.Errorf("%d rows in the ledger; want 2", n+1)
	}
}

// What is final is forgotten after --ledger-retention; what is not, never.
func TestTheLedgerForgetsWhatIsFinal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	done, held := chat{"demo", "alice", "g"}, chat{"demo", "bob", "g"}
	r.fill(t, done, 10)
	r.fill(t, held, 10)
	release := r.hold(t, `select from chat.messages where user_id = 'bob' for update`)
	first, second := done.ask(), held.ask()
	r.send(t, first)
	r.send(t, second)
	w := r.start(t)
	r.deleted(t, first.CommandID, "g")
	eventually(t, timeout, "the boundary is pinned", func() bool { return r.state(t, second.CommandID, "g")["through_seq"] == "10" })
	w.term(t)
	eventually(t, timeout, "a second has passed", func() bool {
		return one[bool](t, r, `select completed_at < now() - interval '1 second' from lethe.deletions where command_id = $1`, first.CommandID)
	})
	r.start(t, "LETHE_LEDGER_RETENTION=1s")
	eventually(t, timeout, "it is forgotten", func() bool { return len(r.state(t, first.CommandID, "g")) == 0 })
	refused(t, r.call(t, "status", first.CommandID), "a forgotten command")
	if got := r.state(t, second.CommandID, "g"); got["through_seq"] != "10" {
		t.Errorf("what is not final has gone too, or lost its boundary: %v", got)
	}
	release()
	wantFields(t, r.deleted(t, second.CommandID, "g"), "messages_deleted", 10)
}
