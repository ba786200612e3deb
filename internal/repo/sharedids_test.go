package repo

import (
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// A log of which the command's conversation is a name, its messages know a number, users are UUIDs, and one message's row has
// children of children and a parent.
const (
	namedTables = `create schema named;
create table named.rooms (app text not null, name text not null, id bigint primary key, unique (app, name));
create table named.members (app text not null, room bigint not null references named.rooms, who uuid not null, kind text not null default 'member', cleared timestamptz not null default '-infinity',
  primary key (app, room, who));
create index on named.members (app, who);
create index on named.members (app, room, cleared);
create index on named.members (room);
create table named.files (id bigint primary key);
create table named.messages (id bigint primary key, app text not null, room bigint not null, file bigint references named.files, at timestamptz not null);
create index on named.messages (app, room, at);
create index on named.messages (room);
create index on named.messages (file);
create table named.links (id bigserial primary key, message bigint not null references named.messages);
create index on named.links (message);
create table named.thumbs (link bigint not null references named.links);
create index on named.thumbs (link);
`
	namedPlan = `ids:
  room: {lookup: named.rooms, where: {app: $app, name: $conversation}, column: id}
messages:
  table: named.messages
  app: app
  where: {room: $room}
  seq: at
  parents: [{table: named.files, references: {column: file, to: id}}]
members: {table: named.members, app: app, user: who, where: {room: $room, kind: member}, watermark: cleared}
conversations: {table: named.rooms, app: app, where: {name: $conversation}, keep: false}
children:
  - table: named.links
    references: {column: message, to: id}
    children: [{table: named.thumbs, references: {column: link, to: id}}]
`
	aliceID, bobID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810-9dad-11d1-80b4-00c04fd430c9"
)

// newNamed is a Repo on such a log, in which room 7 of the app demo, and room 8 of another, have messages 2 to 20.
func newNamed(t *testing.T) *Repo {
	t.Helper()
	url := newDatabase(t)
	execSQL(t, openPool(t, url), namedTables)
	p, err := plan.Parse([]byte(namedPlan))
	if err != nil {
		t.Fatal(err)
	}
	r := openRepo(t, Config{URL: url, Plan: p})
	execSQL(t, r.pool, `insert into named.rooms values ('demo', 'team', 7), ('other', 'team', 8);
		insert into named.members (app, room, who) select app, id, who::uuid from named.rooms, unnest(array['`+aliceID+`', '`+bobID+`']) who;
		insert into named.members (app, room, who, kind) values ('demo', 7, gen_random_uuid(), 'guest');
		insert into named.files select n from generate_series(1, 10) n;
		insert into named.messages select 100 * id + n, app, id, n / 2, timestamptz '2026-01-01 00:00Z' + n * interval '1 s' from named.rooms, generate_series(1, 20) n where n > 1;
		insert into named.links (message) select id from named.messages where id % 2 = 0;
		insert into named.thumbs select id from named.links`)
	return r
}

// namedLeft is what is left of room 7, and of what refers to messages of both.
func namedLeft(t *testing.T, r *Repo) string {
	t.Helper()
	return queryOne[string](t, r.pool, `select format('%s-%s, %s links, %s thumbs, %s files, %s rooms, %s members', min(id), max(id),
		(select count(*) from named.links), (select count(*) from named.thumbs), (select count(*) from named.files), (select count(*) from named.rooms where app = 'demo'),
		(select count(*) from named.members where app = 'demo')) from named.messages where app = 'demo'`)
}

func TestSharedLogByOtherIDs(t *testing.T) {
	t.Parallel()
	r := newNamed(t)
	everyStatementUsesIndexes(t, r)
	of := func(command, user string, n int) purge.Deletion {
		d := hideOf(command, user, 0, n)
		d.Conversation = "team"
		return d
	}
	for i, d := range []purge.Deletion{of("c1", strings.ToUpper(aliceID), 10), of("c2", aliceID, 12), of("c3", bobID, 15)} {
		if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}}).Records[0]; rec.State != purge.Done || rec.MessagesDeleted != []int64{9, 2, 14}[i] || rec.User != d.User {
			t.Errorf("record %d = %+v; want done", i, rec)
		}
	}
	if got := queryOne[string](t, r.pool, `select string_agg(user_id, ' ' order by user_id) from lethe.watermarks`); got != aliceID+" "+bobID {
		t.Errorf("the ledger's watermarks are of %s; want one for each user", got)
	}
	erase := func() (told int) {
		raised, err := r.RaiseFloor(t.Context(), "demo", "team")
		if err != nil || !raised.Open {
			t.Fatalf("raised = %+v, %v; want an erasure", raised, err)
		}
		d := purge.ErasureOf(purge.Key{App: "demo", Conversation: "team"}, tokens())
		for claim, low := true, int64(0); ; claim = false {
			step, err := r.Step(t.Context(), d, purge.Part{Claim: claim, Finish: true, Low: low, Limit: 4})
			if err != nil {
				t.Fatal(err)
			}
			if low = step.Low; step.Record.State == purge.Done {
				return len(report(t, r, d.Key))
			}
		}
	}
	if told, got := erase(), namedLeft(t, r); told != 2 || got != "713-720, 14 links, 14 thumbs, 10 files, 1 rooms, 3 members" {
		t.Errorf("told %d; %s are left", told, got)
	}
	execSQL(t, r.pool, `delete from named.messages where app = 'other' and id % 2 = 1; delete from named.members where kind = 'member'`)
	if told, got := erase(), namedLeft(t, r); told != 1 || got != "-, 10 links, 10 thumbs, 10 files, 0 rooms, 0 members" {
		t.Errorf("told %d; %s are left", told, got)
	}
	if n := queryOne[int](t, r.pool, `select count(*) from named.messages`); n != 10 {
		t.Errorf("%d messages of the other app are left; want 10", n)
	}
}
