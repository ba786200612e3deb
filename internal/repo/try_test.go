package repo

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// tryCase is a plan, its tables, and what the trial and then the deletion must agree on.
type tryCase struct {
	plan, tables string
	through      *int64
	user         string
}

var tryCases = map[string]tryCase{
	"the bundled plan":         {user: "alice"},
	"a boundary in the middle": {user: "alice", through: new(int64(1000))},
	"a time as the position, an epoch, and children by reference": {
		user: "7",
		plan: `
tenant: demo
messages: {table: public.posts, user: owner, conversation: room, where: {kind: chat}, seq: {column: ms, unit: ms}}
conversations: {table: public.rooms, user: owner, conversation: room}
children: [{table: public.files, references: {column: post, to: id}}]`,
		tables: `
create table public.posts (id bigserial primary key, owner bigint not null, room text not null, kind text not null, ms bigint not null, body text);
create index on public.posts (owner, room, kind, ms);
create table public.rooms (owner bigint not null, room text not null, primary key (owner, room));
create table public.files (id bigserial primary key, post bigint not null references public.posts on delete cascade, name text);
create index on public.files (post);
insert into public.posts (owner, room, kind, ms, body) select o, 'c2c_bob', k, 1700000000000 + n / 3, repeat('x', n % 500)
  from generate_series(1, 2500) n, unnest(array[7, 8]) o, unnest(array['chat', 'call']) k;
insert into public.rooms values (7, 'c2c_bob'), (8, 'c2c_bob');
insert into public.files (post, name) select id, 'name ' || id from public.posts where id % 4 = 0`,
	},
}

// What a trial says is what the deletion then does: the rows of each table, and what they take.
func TestTryIsWhatADeletionDoes(t *testing.T) {
	t.Parallel()
	for name, c := range tryCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			pool := openPool(t, url)
			p := plan.Bundled()
			if c.plan != "" {
				execSQL(t, pool, c.tables)
				var err error
				if p, err = plan.Parse([]byte(c.plan)); err != nil {
					t.Fatal(err)
				}
			} else {
				execSQL(t, pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, body)
						select 'demo', u, 'c2c_bob', n, jsonb_build_object('text', repeat('x', n % 300)) from generate_series(1, 2500) n, unnest(array['alice', 'bob']) u;
					insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji) select app_id, user_id, conversation_id, seq, 'bob', '+1' from chat.messages where seq % 5 = 0;
					insert into chat.conversations (app_id, user_id, conversation_id, unread_count) values ('demo', 'alice', 'c2c_bob', 9), ('demo', 'bob', 'c2c_bob', 9)`)
			}
			trial, _, err := OpenTrial(t.Context(), Config{URL: url, Plan: p})
			if err != nil || trial == nil {
				t.Fatal(err)
			}
			defer trial.Close()
			d := purge.Deletion{Key: purge.Key{App: "demo", Command: "c", Conversation: "c2c_bob"}, User: c.user, ThroughSeq: c.through, StoredAt: time.Now(), Token: purge.Token{1}}
			was := tableSums(t, url, p)
			got, err := trial.Try(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			if is := tableSums(t, url, p); fmt.Sprint(is) != fmt.Sprint(was) {
				t.Errorf("the trial has changed %v to %v", was, is)
			}
			r := openRepo(t, Config{URL: url, Plan: p})
			var record purge.Record
			for low := int64(0); !record.Final(); low = record.CursorSeq {
				step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 500, Low: low})
				if err != nil {
					t.Fatal(err)
				}
				record = step.Record
			}
			if got.ThroughSeq != record.ThroughSeq || got.Messages != record.MessagesDeleted || got.ConversationRemoved != record.ConversationRemoved || got.Messages == 0 {
				t.Errorf("the trial says %+v; the deletion %+v", got, record)
			}
			left := tableSums(t, url, p)
			for _, tt := range got.Tables {
				rows, bytes := was[tt.Name].rows-left[tt.Name].rows, was[tt.Name].bytes-left[tt.Name].bytes
				if tt.Deleted != rows || tt.Estimated || tt.Updated == 0 && (tt.Bytes < bytes*9/10 || tt.Bytes > bytes*11/10) {
					t.Errorf("%s: the trial says %d rows and %d bytes (%+v); %d and %d went", tt.Name, tt.Deleted, tt.Bytes, tt, rows, bytes)
				}
			}
		})
	}
}

type tableSum struct{ rows, bytes int64 }

// tableSums are the rows of each table of the plan, and their bytes.
func tableSums(t *testing.T, url string, p plan.Plan) map[string]tableSum {
	t.Helper()
	r := openRepo(t, Config{URL: url, Plan: p})
	all := map[string]tableSum{}
	for _, table := range r.plan.Tables() {
		if table.Name != "" {
			all[table.Name] = tableSum{
				queryOne[int64](t, r.pool, "select count(*) from "+table.Name),
				queryOne[int64](t, r.pool, "select coalesce(sum(pg_column_size(x.*) + 4), 0)::bigint from "+table.Name+" x"),
			}
		}
	}
	return all
}

// A trial says why another conversation may be meant, and who holds it up, as a role that may only read
// the plan's tables, with no ledger at all.
func TestTryDoubtsAndNamesBlockers(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	pool := openPool(t, url)
	execSQL(t, pool, `insert into chat.messages (app_id, user_id, conversation_id, seq) values ('demo', 'alice', 'c2c_bob', 1);
		insert into chat.conversations (app_id, user_id, conversation_id, unread_count) values ('demo', 'alice', 'c2c_eve', 5), ('demo', 'alice', 'c2c_bob', 5)`)
	try := func(url, user, conversation string) *Trial {
		t.Helper()
		r, _, err := OpenTrial(t.Context(), Config{URL: url, Plan: plan.Bundled()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got, err := r.Try(t.Context(), purge.Deletion{Key: purge.Key{App: "demo", Command: "c", Conversation: conversation}, User: user})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	compareLines(t, "doubts", try(url, "alice", "c2c_eve").Doubts, []string{"there is no message, but the conversation's row has unread_count 5"})
	compareLines(t, "doubts", try(url, "Alice", "c2c_bob").Doubts, []string{"neither a message nor", `user "alice" has messages of conversation "c2c_bob"`})
	execSQL(t, pool, `insert into lethe.deletions (app_id, command_id, conversation_id, user_id, state, stored_at, history_kept) values ('demo', 'other', 'c2c_bob', 'alice', 'running', now(), false)`)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background()) //nolint:errcheck // of the test
	if _, err := tx.Exec(t.Context(), `select from chat.conversations where conversation_id = 'c2c_bob' for update`); err != nil {
		t.Fatal(err)
	}
	blockers := try(url, "alice", "c2c_bob").Blockers
	if len(blockers) < 2 || !strings.Contains(blockers[0], "command other deletes the same conversation") || !strings.Contains(blockers[1], "row is locked by pid ") {
		t.Errorf("blockers %q", blockers)
	}
	name, as := newRole(t, url)
	execSQL(t, pool, "grant usage on schema chat to "+name+"; grant select on all tables in schema chat to "+name)
	got := try(as, "alice", "c2c_bob")
	if got.Messages != 1 || got.Unpaced == "" || got.Tables[0].Estimated {
		t.Errorf("as a role that only reads: %+v", got)
	}
	execSQL(t, pool, "revoke select on chat.messages from "+name+"; grant select (app_id, user_id, conversation_id, seq, sent_at) on chat.messages to "+name+"; drop schema lethe cascade")
	if got := try(as, "alice", "c2c_bob"); got.Messages != 1 || !got.Tables[0].Estimated {
		t.Errorf("as a role that may not read bodies: %+v", got)
	}
}
