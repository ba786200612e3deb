package e2e

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/internal/localstack"
)

// majors are the versions of Postgres whose roles differ: from 16 on a membership
// says by itself whether it is inherited. 0 is the one that this machine has.
var majors = []int{0, 17}

// olderRoles is what roles.sql and its hints have given before, and what a role may
// have been given by hand.
const olderRoles = `
create role lethe_setup login noinherit; create role lethe_worker login noinherit; create role app login;
grant pg_monitor to lethe_worker; grant pg_read_all_stats to lethe_setup`

// forbidden is what each role must not do: SQL that ends with insufficient_privilege.
var forbidden = map[string][]string{
	"lethe_worker": {
		`select body from chat.messages`, `select sender_id from chat.messages`, `select * from chat.conversations`, `select from chat.counters`,
		`insert into chat.messages values ('demo', 'alice', 'x', 9)`, `update chat.messages set body = '{}'`, `update chat.conversations set draft = ''`,
		`truncate chat.messages`, `delete from chat.counters`, `update lethe.apps set multi_client_sync = true`, `insert into lethe.apps values ('x', true)`,
		`update lethe.schema_version set version_id = 0`, `drop table lethe.deletions`, `delete from lethe.watermarks`, `update lethe.ledger_id set id = gen_random_uuid()`, `delete from lethe.ledger_id`, `create table lethe.mine ()`, `create table chat.mine ()`,
		`create schema mine`, `create role mine`, `set role lethe_setup`, `set role pg_monitor`, `set session_replication_role = replica`,
		// An operator's pause, in every way that it might go.
		`delete from lethe.throttles`, `truncate lethe.throttles`, `update lethe.throttles set until = now() where reason = 'paused'`, `update lethe.throttles set reason = 'foreground_load'`,
		`insert into lethe.throttles (lane, reason) values ('all', 'paused') on conflict (lane, reason) do update set until = now()`,
		`insert into lethe.throttles (lane, reason) values ('all', 'paused') on conflict do nothing`, `insert into lethe.throttles (lane, reason) values ('long', 'paused')`,
		`alter table lethe.throttles disable trigger all`, `drop trigger guard_changed_pauses on lethe.throttles`,
		`create or replace function lethe.guard_pauses() returns trigger language sql as ''`,
	},
	"lethe_setup": {
		`select from chat.messages`, `delete from chat.messages`, `create schema mine`, `set role lethe_worker`,
	},
	"lethe_operator": {
		`select from chat.messages`, `delete from lethe.deletions`, `update lethe.deletions set state = 'done'`, `delete from lethe.apps`,
		`select from lethe.sessions()`, `select from lethe.standbys()`, `update lethe.watermarks set cleared_through = 0`, `delete from lethe.enumerations`,
		`select lethe.widen_key()`,
	},
	"chat_gateway": {
		`delete from chat.messages`, `delete from chat.conversations`, `update chat.messages set body = '{}'`, `select from lethe.deletions`,
		`select from lethe.commands`, `delete from lethe.apps`, `create table chat.mine ()`, `select from lethe.sessions()`,
		`insert into lethe.watermarks values ('demo', 'alice', 'g', 1)`, `delete from lethe.watermarks`, `select from lethe.enumerations`, `select lethe.widen_key()`,
	},
}

// forbiddenToAll is what no role of Lethe's may do.
var forbiddenToAll = []string{
	`create table public.mine ()`, `create temporary table mine ()`, `select lo_create(0)`, `select lo_creat(-1)`, `select lo_from_bytea(0, 'x')`,
	`select pg_read_file('postgresql.conf')`, `copy (select 1) to program 'true'`, `create database mine`,
}

// allowed is what else than its daily work, which other tests do, a role may do.
var allowed = map[string][]string{
	"lethe_worker": {
		`select pg_current_wal_lsn()`, `select lethe.widen_key()`, `select id from lethe.ledger_id`, `select from lethe.standbys()`, `select from lethe.sessions()`,
		`insert into lethe.throttles (lane, reason, until) values ('long', 'foreground_load', now()) on conflict (lane, reason) do update set until = now()`,
	},
	"chat_gateway": {
		`insert into chat.counters as k (app_id, user_id, last_seq) values ('demo', 'bob', 1) on conflict (app_id, user_id) do update set last_seq = k.last_seq + 1`,
		`insert into chat.messages (app_id, user_id, conversation_id, seq, body) values ('demo', 'bob', 'c2c_alice', 1, '{"text": "hello"}')`,
		`select body from chat.messages where app_id = 'demo'`, `select cleared_through from lethe.watermarks`,
		`insert into lethe.apps values ('demo', true) on conflict (app_id) do update set multi_client_sync = excluded.multi_client_sync`,
	},
	"app": { // whoever was there before keeps what everybody had
		`create temporary table mine ()`, `select lo_unlink(lo_create(0))`,
	},
}

func TestRolesMayDoNothingElse(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		t.Run(fmt.Sprint("postgres ", major), func(t *testing.T) {
			t.Parallel()
			_, address := ownPostgresOf(t, major)
			admin := &rig{dbURL: address}
			admin.execAs(t, "postgres", olderRoles)
			r := lockedRigOn(t, lockedNATS(t, accountEach), address)
			r.fill(t, chat{"demo", "alice", "c2c_bob"}, 1)
			r.must(t, append(r.as(t, operatorUser, "lethe_operator"), "pause", "--lane", "long")...)
			for role, statements := range forbidden {
				for _, sql := range append(statements, forbiddenToAll...) {
					err := r.tryAs(t, role, sql)
					var pg *pgconn.PgError
					if !errors.As(err, &pg) || pg.Code != "42501" {
						t.Errorf("%s: %s: %v; want insufficient privilege", role, sql, err)
					}
				}
			}
			for role, statements := range allowed {
				for _, sql := range statements {
					if err := r.tryAs(t, role, sql); err != nil {
						t.Errorf("%s: %v", role, err)
					}
				}
			}
			r.must(t, append(r.as(t, operatorUser, "lethe_operator"), "resume")...)
			r.seesNoSQL(t)
		})
	}
}

// seesNoSQL asserts that no role of Lethe's that is for a service or a person sees
// what another session runs, and that a worker sees that it is there.
func (r *rig) seesNoSQL(t *testing.T) {
	t.Helper()
	const literal = "what people write"
	release := r.hold(t, "select '"+literal+"' from chat.messages for update")
	defer release()
	seen := `do $$ begin if exists (select from pg_stat_activity where query like '%' || 'what people' || '%' and pid <> pg_backend_pid()) then raise exception 'seen'; end if; end $$`
	for _, role := range []string{"lethe_worker", "lethe_operator", "chat_gateway"} {
		if err := r.tryAs(t, role, seen); err != nil {
			t.Errorf("%s sees other sessions' SQL: %v", role, err)
		}
	}
	r.execAs(t, "lethe_worker", `do $$ begin if not exists (select from lethe.sessions() s where s.pid <> pg_backend_pid() and s.xact_start < now()) then raise exception 'sees no transaction'; end if; end $$`)
}

// hint is the grant that a worker's log advises.
var hint = regexp.MustCompile(`run: (grant pg_read_all_stats [^"\n]*)`)

// A worker with the role of roles.sql throttles while a standby lags, says so, and
// goes on by itself. Where the membership is missing that makes it see the lag, the
// very statement of its log mends that.
func TestAWorkerWithItsRoleThrottlesForALaggingStandby(t *testing.T) {
	t.Parallel()
	const messages = 40_000
	for _, major := range majors {
		t.Run(fmt.Sprint("postgres ", major), func(t *testing.T) {
			t.Parallel()
			pg, address := ownPostgresOf(t, major)
			standby, err := pg.StartStandby(t.Context(), "s1", localstack.PostgresOptions{})
			must(t, err)
			t.Cleanup(func() { _ = standby.Close() })
			r := lockedRigOn(t, lockedNATS(t, accountEach), address)
			giant := chat{"demo", "giant", "g"}
			r.huge(t, giant, messages)
			replay := func(how string) { (&rig{dbURL: standby.URL()}).execAs(t, "postgres", "select pg_wal_replay_"+how+"()") }
			replay("pause")
			operator := r.as(t, operatorUser, "lethe_operator")
			r.must(t, append(operator, "pause", "--lane", "long")...)
			r.exec(t, "revoke pg_read_all_stats from lethe_setup")
			w := r.start(t, "--max-replica-lag", "500ms", "max-rows=50")
			cmd := giant.ask()
			r.send(t, cmd)
			var advice []string
			eventually(t, timeout, "the log advises a grant", func() bool { advice = hint.FindStringSubmatch(w.log.last(1000)); return advice != nil })
			r.exec(t, advice[1])
			r.must(t, append(operator, "resume")...)
			wantWaiting(t, r, cmd, "replica_lag")
			if out := r.must(t, append(operator, "status", cmd.CommandID)...); !strings.Contains(out, `standby "s1" is `) {
				t.Errorf("status printed %q; want it to name the standby", out)
			}
			if _, body := w.get(t, "/readyz"); !strings.Contains(body, `replica_lag (standby "s1" is `) {
				t.Errorf("/readyz = %q; want the lag", body)
			}
			_, at, _, _ := r.ledger(t, cmd.CommandID, giant.id)
			if at >= messages {
				t.Error("the deletion was over before the standby lagged: the test is too small")
			}
			replay("resume")
			wantFields(t, r.deleted(t, cmd.CommandID, giant.id), "messages_deleted", messages)
			w.term(t)
		})
	}
}
