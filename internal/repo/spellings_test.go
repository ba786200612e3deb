package repo

import (
	"slices"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

const (
	uuidTables = `create schema u;
create table u.rooms (id uuid primary key);
create table u.members (room uuid not null, who text not null, cleared bigint, primary key (room, who));
create index on u.members (who, room);
create index on u.members (room, cleared);
create table u.messages (room uuid not null, n bigint not null, at timestamptz not null default now() - interval '1 hour', primary key (room, n));
create index on u.messages (room, at);
`
	uuidPlan = `messages: {table: u.messages, conversation: room, seq: n, sent_at: at}
members: {table: u.members, user: who, conversation: room, watermark: cleared}
conversations: {table: u.rooms, where: {id: $conversation}, keep: true}
`
	splitPlan = `ids:
  kind: {split: conversation, at: ":", part: 1}
  room: {split: conversation, at: ":", part: 2}
`
)

// Who spells the conversation's id otherwise hides the same log: it has one floor and one erasure, which whoever joins later doesn't hold up, and each is
// told by the name that they used.
func TestALogOfSeveralSpellings(t *testing.T) {
	t.Parallel()
	const lower = "6ba7b810-9dad-11d1-80b4-00c04fd430aa"
	for name, c := range map[string]struct{ tables, plan, prefix string }{
		"a UUID": {uuidTables, "tenant: demo\n" + uuidPlan, ""},
		"a part": {
			strings.NewReplacer("id uuid primary key", "kind text, id uuid, primary key (kind, id)", "room uuid not null, who", "kind text not null default 'G', room uuid not null, who",
				"room uuid not null, n", "kind text not null default 'G', room uuid not null, n", "key (room", "key (kind, room", "on u.members (room", "on u.members (kind, room", "(who, room)", "(who, kind, room)",
				"on u.messages (room", "on u.messages (kind, room").Replace(uuidTables),
			"tenant: demo\n" + splitPlan + strings.NewReplacer("conversation: room", "where: {kind: $kind, room: $room}", "where: {id: $conversation}", "where: {kind: $kind, id: $room}").Replace(uuidPlan), "G:",
		},
		"without a watermark": {uuidTables, "tenant: demo\n" + strings.Replace(uuidPlan, ", watermark: cleared", "", 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			execSQL(t, openPool(t, url), c.tables)
			p, err := plan.Parse([]byte(c.plan))
			if err != nil {
				t.Fatal(err)
			}
			r := openRepo(t, Config{URL: url, Plan: p, AllowUnindexed: true})
			everyStatementUsesIndexes(t, r)
			execSQL(t, r.pool, `insert into u.members (room, who) select $1::uuid, unnest(array['alice', 'bob', 'carol'])`, lower)
			execSQL(t, r.pool, `insert into u.messages (room, n) select $1::uuid, generate_series(1, 10)`, lower)
			spelled := []string{c.prefix + strings.ToUpper(lower), c.prefix + strings.Replace(lower, "6ba", "6Ba", 1), c.prefix + lower}
			var b purge.Batch
			for i, user := range []string{"alice", "bob", "carol"} {
				d := hideOf("c"+user, user, 0, 0)
				d.Conversation, d.ThroughSeq = spelled[i], new(int64)
				*d.ThroughSeq = int64(8 + i)
				b.Deletions = append(b.Deletions, d)
			}
			for i, rec := range bulk(t, r, b).Records {
				if rec.State != purge.Done || rec.Conversation != spelled[i] || rec.MessagesDeleted != int64(8+i) {
					t.Fatalf("%+v; want it done, by its own name", rec)
				}
			}
			raised, err := r.RaiseFloor(t.Context(), "demo", spelled[0])
			if err != nil || raised != (purge.Raised{Open: true, Floor: 8, Risen: true}) {
				t.Fatalf("raised = %+v, %v; want 8", raised, err)
			}
			k := r.LogOf(purge.Key{App: "demo", Conversation: spelled[1]})
			if k.Conversation != c.prefix+lower {
				t.Fatalf("the log is %q; want it as the table has it", k.Conversation)
			}
			finishErasure(t, r, k)
			execSQL(t, r.pool, `insert into u.members (room, who) values ($1::uuid, 'dave')`, lower) // who sees what is above 8
			var told []string
			for {
				risen, _, err := r.Sweep(t.Context(), purge.Key{}, 10)
				if err != nil {
					t.Fatal(err)
				}
				if len(risen) == 0 {
					break
				}
				for _, k := range risen {
					raised, err := r.RaiseFloor(t.Context(), "demo", k.Conversation)
					if err != nil || raised != (purge.Raised{Open: true, Floor: 8, Empty: true}) {
						t.Fatalf("%s: raised = %+v, %v; want only to tell", k.Conversation, raised, err)
					}
					told = append(told, report(t, r, k)...)
				}
			}
			if slices.Sort(told); !slices.Equal(told, []string{"calice"}) {
				t.Errorf("told %q; want alice alone", told)
			}
			if got := queryOne[string](t, r.pool, `select string_agg(conversation_id || through_seq, ' ') from lethe.deletions where command_id = ''`); got != c.prefix+lower+"8" {
				t.Errorf("erasures: %s; want one", got)
			}
			for i, user := range []string{"bob", "dave"} { // and by the name of the table
				d := hideOf("d"+user, user, 0, 0)
				d.Conversation, d.ThroughSeq = spelled[i], new(int64)
				*d.ThroughSeq = 10
				bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}})
			}
			execSQL(t, r.pool, `delete from u.members where who = 'alice'`)
			if raised, err := r.RaiseFloor(t.Context(), "demo", spelled[2]); err != nil || raised.Floor != 10 || !raised.Risen {
				t.Errorf("raised = %+v, %v; want 10", raised, err)
			}
			finishErasure(t, r, k)
			told = nil
			for _, s := range spelled {
				told = append(told, report(t, r, purge.Key{App: "demo", Conversation: s})...)
			}
			if slices.Sort(told); !slices.Equal(told, []string{"cbob", "ccarol", "dbob", "ddave"}) {
				t.Errorf("told %q; want all the others", told)
			}
			if n := queryOne[int](t, r.pool, `select count(*) from u.messages`); n != 0 {
				t.Errorf("%d messages are left", n)
			}
		})
	}
}

// finishErasure carries out an open erasure.
func finishErasure(t *testing.T, r *Repo, k purge.Key) {
	t.Helper()
	if rec := steps(t, r, purge.ErasureOf(k, tokens())).Records[0]; rec.State != purge.Done {
		t.Fatalf("erasure = %+v; want it done", rec)
	}
}
