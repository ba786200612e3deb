package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/conversation"
)

func TestAWorkerWorksWithJustItsUserAndRole(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	w := r.start(t, "--max-attempts", "1", "--max-rows", "30", "--express-rows", "100") // for more than the second between two reports of progress

	small := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, small, 40)
	r.must(t, append(r.as(t, operatorUser, "lethe_operator"), "send", "--app", "demo", "--user", "alice", "--conversation", small.id, "--wait")...)
	r.wantLeft(t, small, left{})

	newer := chat{"demo", "carol", "c2c_bob"}
	last := r.fill(t, newer, 40)
	r.sayN(t, newer, 3)
	r.onlyDeletedOf(t, newer.through(last), 40)

	long := chat{"demo", "bob", "group_1"}
	r.huge(t, long, 200_000)
	cmd := long.ask()
	r.send(t, cmd)
	r.awaitHeard(t, 1, typed(conversation.TypeDeleting), func(e event) bool { return e.command() == cmd.CommandID })
	wantFields(t, r.deleted(t, cmd.CommandID, long.id), "messages_deleted", 200_000, "conversation_removed", true)

	w.term(t)
}

// onlyDeletedOf sends the command and waits for its one event.
func (r *rig) onlyDeletedOf(t testing.TB, cmd conversation.Command, messages int) {
	t.Helper()
	r.send(t, cmd)
	wantFields(t, r.deleted(t, cmd.CommandID, cmd.Conversations[0].ID), "messages_deleted", messages)
}

func TestDeadLettersAreRetriedByTheOperatorAlone(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	operator := r.as(t, operatorUser, "lethe_operator")
	r.start(t, "--max-attempts", "1")
	broken := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, broken, 20)
	mend := r.breakDeletes(t, broken)
	r.exec(t, "grant select on public.broken to lethe_worker") // for the trigger
	cmd := broken.ask()
	letter := r.letter(t, r.send(t, cmd).Sequence)
	mend()
	refused(t, r.call(t, "dead-letters", "retry", fmt.Sprint(letter.seq)), "the worker's user retries", "not allowed to publish", "DEAD_LETTERS")
	if out := r.must(t, append(operator, "dead-letters", "list", "--app", "demo")...); !strings.Contains(out, "attempts_exhausted") {
		t.Errorf("the operator's list: %q; want the letter", out)
	}
	r.must(t, append(operator, "dead-letters", "retry", fmt.Sprint(letter.seq))...)
	r.awaitStored(t, 1, typed(conversation.TypeDeleted), of(cmd.CommandID))
	r.wantLeft(t, broken, left{})
	if out := r.must(t, append(operator, "status", cmd.CommandID)...); !strings.Contains(out, "done") {
		t.Errorf("status as the operator: %q; want done", out)
	}
	r.must(t, append(operator, "settings", "set", "--app", "demo", "--multi-client-sync=true")...)
	if out := r.must(t, append(operator, "settings", "get", "--app", "demo")...); !strings.Contains(out, "true") && !strings.Contains(out, "on") {
		t.Errorf("settings as the operator: %q; want the switch on", out)
	}
}

// What has expired goes with the same role.
func TestAWorkerForgetsWithJustItsRole(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	first := r.start(t)
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 10)
	r.onlyDeletedOf(t, c.ask(), 10)
	first.term(t)
	r.exec(t, `update lethe.deletions set completed_at = completed_at - interval '1 day'; update lethe.commands set created_at = created_at - interval '1 day'`)
	r.start(t, "--ledger-retention", "1h")
	eventually(t, patience, "the ledger has forgotten", func() bool {
		return one[int](t, r, `select count(*)::int from lethe.commands`)+one[int](t, r, `select count(*)::int from lethe.deletions`) == 0
	})
}

func TestRolesMayDoNothingElse(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 1)
	for role, statements := range map[string][]string{
		"lethe_worker": {
			`select body from chat.messages`, `select sender_id from chat.messages`, `select * from chat.conversations`, `select from chat.counters`,
			`insert into chat.messages values ('demo', 'alice', 'x', 9)`, `update chat.messages set body = '{}'`, `update chat.conversations set draft = ''`,
			`truncate chat.messages`, `delete from chat.counters`, `update lethe.apps set multi_client_sync = true`, `insert into lethe.apps values ('x', true)`,
			`update lethe.schema_version set version_id = 0`, `drop table lethe.deletions`, `create table lethe.mine ()`, `create table chat.mine ()`,
			`create schema mine`, `create table public.mine ()`, `create role mine`, `set role lethe_setup`,
		},
		"lethe_setup": {
			`select from chat.messages`, `delete from chat.messages`, `create schema mine`, `create table public.mine ()`, `set role lethe_worker`,
		},
		"lethe_operator": {
			`select from chat.messages`, `delete from lethe.deletions`, `update lethe.deletions set state = 'done'`, `delete from lethe.apps`,
		},
		"chat_gateway": {
			`delete from chat.messages`, `delete from chat.conversations`, `update chat.messages set body = '{}'`, `select from lethe.deletions`,
			`select from lethe.commands`, `delete from lethe.apps`, `create table chat.mine ()`,
		},
	} {
		for _, sql := range statements {
			err := r.tryAs(t, role, sql)
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != "42501" {
				t.Errorf("%s: %s: %v; want insufficient privilege", role, sql, err)
			}
		}
	}
	for _, sql := range []string{
		`select pg_current_wal_lsn()`, `select 1 / (pg_has_role('pg_monitor', 'usage'))::int`,
	} {
		r.execAs(t, "lethe_worker", sql)
	}
	for _, sql := range []string{
		`insert into chat.counters as k (app_id, user_id, last_seq) values ('demo', 'bob', 1) on conflict (app_id, user_id) do update set last_seq = k.last_seq + 1`,
		`insert into chat.messages (app_id, user_id, conversation_id, seq, body) values ('demo', 'bob', 'c2c_alice', 1, '{"text": "hello"}')`,
		`select body from chat.messages where app_id = 'demo'`,
		`insert into lethe.apps values ('demo', true) on conflict (app_id) do update set multi_client_sync = excluded.multi_client_sync`,
	} {
		r.execAs(t, "chat_gateway", sql)
	}
}
