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
	"children of children, parents, rows that stay, and children of the conversation": {
		user: "alice", through: new(int64(1800)),
		plan: treePlan, tables: treeTables,
	},
	"pointers": {
		user: "7", through: new(int64(1800)),
		plan: `
tenant: demo
messages:
  table: public.deliveries
  user: user_id
  parents:
    - table: public.posts
      references: {column: post_id, to: id}
      conversation: room
      seq: id
      sent_at: at
      children:
        - table: public.links
          references: {column: post_id, to: id}
          parents: [{table: public.files, references: {column: file_id, to: id}}]`,
		tables: `
create table public.posts (id bigint primary key, room text not null, body text, at timestamptz not null default now() - interval '1 hour');
create index on public.posts (room, id);
create table public.deliveries (user_id bigint not null, post_id bigint not null references public.posts, note text, primary key (user_id, post_id));
create index on public.deliveries (post_id);
create table public.files (id bigint primary key, name text);
create table public.links (id bigserial primary key, post_id bigint not null references public.posts, file_id bigint not null references public.files);
create index on public.links (post_id); create index on public.links (file_id);
insert into public.posts (id, room, body) select n, 'c2c_bob', repeat('x', n % 300) from generate_series(1, 2500) n;
insert into public.posts (id, room, body) select n, 'other', 'x' from generate_series(2501, 2600) n;
insert into public.deliveries select u, n, 'note' from generate_series(1, 2600) n, unnest(array[7, 8]) u where u = 7 or n % 3 = 0;
insert into public.files select n, 'file' from generate_series(0, 400) n;
insert into public.links (post_id, file_id) select n, n % 400 from generate_series(1, 2600) n where n % 2 = 0`,
	},
	"the same to the end": {user: "alice", plan: treePlan, tables: treeTables},
}

const treePlan = `
tenant: demo
messages:
  table: public.copies
  user: owner
  conversation: room
  seq: id
  sent_at: at
  parents:
    - table: public.bodies
      references: {column: body_id, to: id}
      kept_by: [{table: public.stars, references: {column: body_id, to: id}}]
      children: [{table: public.previews, references: {column: body_id, to: id}}]
conversations:
  table: public.rooms
  user: owner
  conversation: room
  unread: unread
  children:
    - {table: public.drafts, user: owner, conversation: room}
    - {table: public.mutes, references: {column: room_id, to: id}}
children:
  - table: public.links
    references: {column: copy_id, to: id}
    children: [{table: public.thumbs, references: {column: link_id, to: id}}]
    parents: [{table: public.files, references: {column: file_id, to: id}}]
  - {table: public.pins, references: {column: copy_id, to: id}, set: {copy_id: null}}
  - {table: public.pairs, references: {column: one, to: id}}
  - {table: public.pairs, references: {column: two, to: id}}`

const treeTables = `
create table public.bodies (id bigint primary key, body text);
create table public.stars (id bigserial primary key, body_id bigint not null references public.bodies);
create table public.previews (id bigserial primary key, body_id bigint not null references public.bodies, url text);
create table public.copies (id bigserial primary key, owner text not null, room text not null, body_id bigint not null references public.bodies, at timestamptz not null default now() - interval '1 hour');
create table public.rooms (id bigserial primary key, owner text not null, room text not null, unread int not null default 5, unique (owner, room));
create table public.drafts (owner text not null, room text not null, body text);
create table public.mutes (id bigserial primary key, room_id bigint not null references public.rooms);
create table public.files (id bigint primary key, name text);
create table public.links (id bigserial primary key, copy_id bigint not null references public.copies, file_id bigint not null references public.files);
create table public.thumbs (id bigserial primary key, link_id bigint not null references public.links, data text);
create table public.pins (id bigserial primary key, copy_id bigint references public.copies);
create table public.pairs (one bigint not null references public.copies, two bigint not null references public.copies);
create index on public.stars (body_id); create index on public.previews (body_id); create index on public.copies (owner, room, id); create index on public.copies (body_id);
create index on public.drafts (owner, room); create index on public.mutes (room_id); create index on public.links (copy_id); create index on public.links (file_id);
create index on public.thumbs (link_id); create index on public.pins (copy_id); create index on public.pairs (one); create index on public.pairs (two);
insert into public.bodies select n, repeat('x', n % 400) from generate_series(1, 2500) n;
insert into public.stars (body_id) select n from generate_series(1, 2500, 9) n;
insert into public.previews (body_id, url) select n, 'url' from generate_series(1, 2500, 2) n;
insert into public.copies (owner, room, body_id) select 'alice', 'c2c_bob', n from generate_series(1, 2500) n;
insert into public.copies (owner, room, body_id) select 'bob', 'c2c_bob', n from generate_series(1, 2500, 3) n;
insert into public.rooms (owner, room) values ('alice', 'c2c_bob'), ('bob', 'c2c_bob');
insert into public.drafts values ('alice', 'c2c_bob', 'hm'), ('bob', 'c2c_bob', 'hm');
insert into public.mutes (room_id) select id from public.rooms;
insert into public.files select n, 'file' from generate_series(0, 400) n;
insert into public.links (copy_id, file_id) select id, id % 400 from public.copies where id <= 2500 and id % 3 = 0;
insert into public.links (copy_id, file_id) select id, id % 100 from public.copies where owner = 'bob' and id % 7 = 0;
insert into public.thumbs (link_id, data) select id, 'thumb' from public.links;
insert into public.pins (copy_id) select id from public.copies where id % 10 = 0;
insert into public.pairs select id, id + 1 from public.copies where id % 10 = 5 and id < 2500`

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
			d := purge.Deletion{Key: purge.Key{App: "demo", Command: "c", User: c.user, Conversation: "c2c_bob"}, ThroughSeq: c.through, StoredAt: time.Now(), Token: purge.Token{1}}
			was := tableSums(t, url, p)
			got, err := trial.Try(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			if is := tableSums(t, url, p); fmt.Sprint(is) != fmt.Sprint(was) {
				t.Errorf("the trial has changed %v to %v", was, is)
			}
			tryUsesIndexes(t, trial)
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
			left, said := tableSums(t, url, p), map[string]tableSum{}
			for _, tt := range got.Tables { // which may name a table twice
				sum := said[tt.Name]
				said[tt.Name] = tableSum{sum.rows + tt.Deleted, sum.bytes + tt.Bytes}
				if tt.Estimated || strings.Contains(tt.Name, "pins") && tt.Updated == 0 {
					t.Errorf("%+v", tt)
				}
			}
			for name, is := range said {
				rows, bytes := was[name].rows-left[name].rows, was[name].bytes-left[name].bytes
				if updated := rows == 0; is.rows != rows || !updated && (is.bytes < bytes*9/10 || is.bytes > bytes*11/10) {
					t.Errorf("%s: the trial says %+v; %d rows and %d bytes went", name, is, rows, bytes)
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
		got, err := r.Try(t.Context(), purge.Deletion{Key: purge.Key{App: "demo", Command: "c", User: user, Conversation: conversation}})
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

// tryUsesIndexes is [everyStatementUsesIndexes] for those of a dry run.
func tryUsesIndexes(t *testing.T, r *Repo) {
	t.Helper()
	of := &trial{r: r, out: &Trial{}}
	if err := of.measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	own := &Repo{cfg: r.cfg, source: r.source, conns: r.conns, pool: r.pool, plan: r.plan, sql: statements{}}
	for i, table := range of.out.Tables {
		if table.query != "" {
			own.sql[childName(table.query, i)] = of.statement(table.query, table.args)
			own.sql[childName(table.query, i)].name = childName(table.query, i)
		}
	}
	names := []string{"_try_boundary", "_try_times", "_try_page", "_try_count"}
	if r.plan.Members != nil {
		names = append(names, "_try_log")
	}
	for _, name := range names {
		own.sql[name] = of.statement(name, sqlArgs{})
	}
	everyStatementUsesIndexes(t, own)
}

// Before setup a trial does without the ledger, whatever the plan looks up; and a wrong unit shows in the times.
func TestTryBeforeSetup(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	execSQL(t, openPool(t, url), `drop schema lethe cascade;
		create table public.people (id bigint primary key, login text not null unique);
		create table public.posts (owner bigint not null, room text not null, id bigint not null, ms bigint not null, primary key (owner, room, id));
		insert into public.people values (7, 'alice');
		insert into public.posts select 7, 'c2c_bob', n, 1700000000000 + n from generate_series(1, 20) n;
		insert into public.posts values (7, 'c2c_bob', 21, (extract(epoch from now() + interval '1 hour') * 1000)::bigint)`)
	for unit, want := range map[string]struct {
		messages int64
		newest   string
		doubts   []string
	}{
		"ms": {20, "2023-11-14T22:13:20.02Z", nil},
		"us": {21, "1970-01-", []string{"the newest message that goes was sent at 1970-01-"}},
		"s":  {0, "", []string{"the oldest message that stays was sent at 55840-"}},
		"ms, shift: 22, since: 2015-01-01T00:00:00Z": {21, "2015-01-01T", nil}, // a day that messages may have: the times are for people
	} {
		p, err := plan.Parse([]byte(`
tenant: demo
ids: {owner: {lookup: public.people, where: {login: $user}, column: id}}
messages:
  table: public.posts
  where: {owner: $owner, room: $conversation}
  seq: id
  sent_at: {column: ms, unit: ` + unit + `}`))
		if err != nil {
			t.Fatal(err)
		}
		r, report, err := OpenTrial(t.Context(), Config{URL: url, Plan: p})
		if err != nil || r == nil {
			t.Fatal(err, report)
		}
		defer r.Close()
		got, err := r.Try(t.Context(), purge.Deletion{Key: purge.Key{App: "demo", Command: "-", User: "alice", Conversation: "c2c_bob"}, StoredAt: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		newest := got.NewestDeleted.Format(time.RFC3339Nano)
		if !r.Ledgerless() || got.Unpaced != NoLedger || got.Messages != want.messages || got.Tables[0].Kept != 21-want.messages || !strings.HasPrefix(newest, want.newest) ||
			got.NewestDeleted.IsZero() != (want.messages == 0) || got.OldestKept.IsZero() != (want.messages == 21) {
			t.Errorf("%s: %+v", unit, got)
		}
		compareLines(t, "doubts of "+unit, got.Doubts, want.doubts)
	}
}
