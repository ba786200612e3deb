package repo

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/purge"
)

// A schema that looks nothing like the bundled one: other names, in mixed case;
// numbers and UUIDs for keys; no app; a surrogate key for the messages, with foreign
// keys to it and to the natural key, and a reference without one.
const socialTables = `
create schema social;
create table social."Post" (
	id bigint generated always as identity primary key,
	owner bigint not null,
	thread uuid not null,
	position int not null,
	"sent.at" timestamp not null,
	body text not null default '',
	unique (thread, owner, position));
create table social.likes (
	post_id bigint not null references social."Post" on delete cascade,
	liker text not null,
	primary key (post_id, liker));
create table social.files (
	thread uuid, owner bigint, position int, name varchar(100),
	primary key (owner, thread, position, name),
	foreign key (owner, thread, position) references social."Post" (owner, thread, position));
create table social.mentions (id serial primary key, post int not null, who text not null);
create index on social.mentions (post);
create table social.thread_members (
	member varchar(40) not null,
	thread uuid not null,
	unseen smallint not null default 0,
	primary key (thread, member));
`

const socialPlan = `
tenant: solo
messages:
  table: social.Post
  user: owner
  conversation: thread
  seq: position
  sent_at: sent.at
conversations:
  table: social.thread_members
  user: member
  conversation: thread
  unread: unseen
children:
  - table: social."likes"
    references: {column: post_id, to: id}
  - table: social.files
    user: owner
    conversation: thread
    seq: position
  - table: social.mentions
    references: {column: post, to: id}
`

// thread is the conversation of these tests, as Postgres writes it.
const thread = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

// newSocial is a Repo on a fresh database with the ledger and the social schema.
func newSocial(tb testing.TB) *Repo {
	tb.Helper()
	url := localtest.Database(tb)
	if _, err := Setup(tb.Context(), url, SetupOptions{}); err != nil {
		tb.Fatal(err)
	}
	execSQL(tb, openPool(tb, url), socialTables)
	plan, err := ParsePlan([]byte(socialPlan))
	if err != nil {
		tb.Fatal(err)
	}
	return openRepo(tb, Config{URL: url, Plan: plan})
}

// fillSocial gives each of the owners n posts in the thread, two likes and a file
// on each third of them, a mention on each fourth, and a row with 9 unseen. Posts
// are a minute apart, the last one an hour old.
func fillSocial(tb testing.TB, r *Repo, n int, owners ...int64) {
	tb.Helper()
	for _, owner := range owners {
		execSQL(tb, r.pool, `insert into social."Post" (owner, thread, position, "sent.at")
			select $1, $2, i, (now() at time zone 'UTC') - interval '1 hour' - ($3::int - i) * interval '1 minute'
			from generate_series(1, $3::int) i`, owner, thread, n)
		execSQL(tb, r.pool, `insert into social.thread_members (member, thread, unseen) values ($1::text, $2, 9)`, fmt.Sprint(owner), thread)
	}
	execSQL(tb, r.pool, `insert into social.likes select id, liker from social."Post", (values ('x'), ('y')) l (liker) where position % 3 = 0`)
	execSQL(tb, r.pool, `insert into social.files select thread, owner, position, 'f' from social."Post" where position % 3 = 0`)
	execSQL(tb, r.pool, `insert into social.mentions (post, who) select id, 'x' from social."Post" where position % 4 = 0`)
}

// socialLeft counts what an owner has left. What has lost its message belongs to
// nobody and is counted as orphans.
func socialLeft(tb testing.TB, r *Repo, owner int64) string {
	tb.Helper()
	return queryOne[string](tb, r.pool, `select format('%s posts, %s likes, %s files, %s mentions, %s rows, %s orphans',
		(select count(*) from social."Post" where owner = $1),
		(select count(*) from social.likes join social."Post" on id = post_id where owner = $1),
		(select count(*) from social.files where owner = $1),
		(select count(*) from social.mentions m join social."Post" p on p.id = m.post where owner = $1),
		(select count(*) from social.thread_members where member = $1::text),
		(select count(*) from social.mentions m where not exists (select from social."Post" p where p.id = m.post)))`, owner)
}

// removal is a deletion of the thread by owner 7, with the id in upper case.
func removal(command string, through *int64) purge.Deletion {
	id := strings.ToUpper(thread)
	return purge.Deletion{
		Key: purge.Key{App: "solo", Command: command, Conversation: id}, User: "7", ThroughSeq: through, StoredAt: time.Now(), Token: tokens(),
		Digest: purge.DigestOf(purge.Content{User: "7", Targets: []purge.Target{{Conversation: id, ThroughSeq: through}}}),
	}
}

// carryOut takes a deletion to its end as the worker does: the express lane
// first, then batches of at most limit. What is only contention is tried again.
func carryOut(tb testing.TB, r *Repo, d purge.Deletion, limit int) purge.Record {
	tb.Helper()
	again := func(try func() error) {
		for {
			err := try()
			if fault, _ := purge.FaultOf(err); err == nil || fault != purge.Contention {
				if err != nil {
					tb.Fatal(err)
				}
				return
			}
		}
	}
	var rec purge.Record
	again(func() error {
		res, err := r.Express(tb.Context(), purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: limit, Rows: limit}})
		if err == nil {
			rec = res.Records[0]
		}
		return err
	})
	for rec.State == purge.Running {
		var step purge.Step
		for low := rec.CursorSeq; !step.Empty; low = step.Low {
			again(func() (err error) { step, err = r.Step(tb.Context(), d, low, limit); return err })
			if !step.Record.Mine {
				tb.Fatal("the lease was lost")
			}
		}
		again(func() (err error) { rec, err = r.Finish(tb.Context(), d); return err })
	}
	return rec
}

func TestForeignSchema(t *testing.T) {
	t.Parallel()
	through := int64(30)
	cases := []struct {
		name    string
		through *int64
		limit   int
		deleted int64
		left    string
		unseen  int
	}{
		{"goes_all_at_once", nil, 1000, 40, "0 posts, 0 likes, 0 files, 0 mentions, 0 rows, 0 orphans", -1},
		{"goes_in_small_batches", nil, 3, 40, "0 posts, 0 likes, 0 files, 0 mentions, 0 rows, 0 orphans", -1},
		{"keeps_what_is_above_the_boundary", &through, 1000, 30, "10 posts, 6 likes, 3 files, 3 mentions, 1 rows, 0 orphans", 9},
		{"keeps_what_is_above_the_boundary_in_small_batches", &through, 7, 30, "10 posts, 6 likes, 3 files, 3 mentions, 1 rows, 0 orphans", 9},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newSocial(t)
			fillSocial(t, r, 40, 7, 8)
			before := socialLeft(t, r, 8)
			rec := carryOut(t, r, removal("c1", c.through), c.limit)
			if rec.State != purge.Done || rec.MessagesDeleted != c.deleted || rec.ConversationRemoved != (c.unseen < 0) {
				t.Errorf("record = %+v; want done, %d messages deleted", rec, c.deleted)
			}
			if got := socialLeft(t, r, 7); got != c.left {
				t.Errorf("left = %s; want %s", got, c.left)
			}
			if got := socialLeft(t, r, 8); got != before {
				t.Errorf("the other owner has %s left of %s", got, before)
			}
			if c.unseen >= 0 {
				if got := queryOne[int](t, r.pool, `select unseen::int from social.thread_members where member = '7'`); got != c.unseen {
					t.Errorf("unseen = %d; want %d", got, c.unseen)
				}
			}
		})
	}
	t.Run("takes_a_timestamp_without_zone_as_UTC_for_the_boundary", func(t *testing.T) {
		t.Parallel()
		r := newSocial(t)
		execSQL(t, r.pool, `do $$ begin execute format('alter database %I set timezone = ''Pacific/Kiritimati''', current_database()); end $$`)
		r = openRepo(t, r.cfg)
		fillSocial(t, r, 40, 7)
		d := removal("c1", nil)
		d.StoredAt = time.Now().Add(-70*time.Minute - 30*time.Second) // the last ten were sent later, and one by half a minute
		if rec := carryOut(t, r, d, 1000); rec.ThroughSeq != 29 || rec.MessagesDeleted != 29 {
			t.Errorf("record = %+v; want 29 messages deleted up to 29", rec)
		}
	})
	t.Run("is_unread_only_as_far_as_newer_posts_go", func(t *testing.T) {
		t.Parallel()
		r := newSocial(t)
		fillSocial(t, r, 40, 7)
		through := int64(36)
		carryOut(t, r, removal("c1", &through), 1000)
		if got := queryOne[int](t, r.pool, `select unseen::int from social.thread_members where member = '7'`); got != 4 {
			t.Errorf("unseen = %d; want 4", got)
		}
	})
}

func TestEveryStatementUsesIndexes(t *testing.T) {
	t.Parallel()
	t.Run("of_the_bundled_schema", func(t *testing.T) { t.Parallel(); everyStatementUsesIndexes(t, newRepo(t)) })
	t.Run("of_a_foreign_schema", func(t *testing.T) { t.Parallel(); everyStatementUsesIndexes(t, newSocial(t)) })
	t.Run("of_partitioned_tables", func(t *testing.T) {
		t.Parallel()
		url := newDatabase(t)
		execSQL(t, openPool(t, url), partitionedTables)
		everyStatementUsesIndexes(t, openRepo(t, Config{URL: url, Plan: BundledPlan()}))
	})
}

// everyStatementUsesIndexes fails where a table of the plan is scanned as a whole.
func everyStatementUsesIndexes(t *testing.T, r *Repo) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		for _, set := range []string{"enable_seqscan = off", "enable_hashjoin = off", "enable_mergejoin = off", "plan_cache_mode = force_generic_plan"} {
			if _, err := tx.Exec(t.Context(), "set local "+set); err != nil {
				return err
			}
		}
		for i, s := range r.sql.all() {
			name := fmt.Sprint("s", i)
			desc, err := tx.Conn().Prepare(t.Context(), name, s)
			if err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
			nulls := strings.TrimSuffix(strings.Repeat("null,", len(desc.ParamOIDs)), ",")
			rows, err := tx.Query(t.Context(), fmt.Sprintf("explain execute %s (%s)", name, nulls), pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				return err
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			if wrong := astray(lines); wrong != "" {
				t.Errorf("%s:\n%s\n%s", wrong, s, strings.Join(lines, "\n"))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// astray returns the line of a plan that doesn't go straight to the rows by a
// whole key: it reads a table from end to end, sorts what an index has in order,
// or looks at rows that it then joins to nothing.
func astray(plan []string) string {
	for i, l := range plan {
		batch := strings.Contains(l, ".ord") || strings.Contains(l, "digest") // a batch's own
		if strings.Contains(l, "Seq Scan on") || strings.Contains(l, "Join Filter") && !batch {
			return l
		}
		if i > 0 && strings.Contains(plan[i-1], "->  Sort") && strings.Contains(l, "Sort Key: m.") {
			return l
		}
	}
	return ""
}

// Somebody likes a post while its deletion is under way: the like's foreign key
// holds the post until they commit.
func TestForeignSchemaWithALikeInFlight(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1000, 5} {
		t.Run(fmt.Sprint("leaves_nothing_behind_with_batches_of_", limit), func(t *testing.T) {
			t.Parallel()
			r := newSocial(t)
			fillSocial(t, r, 20, 7)
			tx, err := r.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.Background()) }()
			if _, err := tx.Exec(t.Context(), `insert into social.likes select id, 'late' from social."Post" where position = 13`); err != nil {
				t.Fatal(err)
			}
			d := removal("c1", nil)
			budget := purge.Budget{PerDeletion: limit, Rows: limit}
			res, err := r.Express(t.Context(), purge.Batch{Deletions: []purge.Deletion{d}, Budget: budget})
			if err != nil || res.Records[0].State != purge.Running {
				t.Fatalf("express = %+v, %v; want it running", res, err)
			}
			if _, err = r.Step(t.Context(), d, 0, 1000); err == nil {
				t.Fatal("a batch went past a locked post")
			}
			if fault, _ := purge.FaultOf(err); fault != purge.Contention {
				t.Fatalf("%v is %v; want contention", err, fault)
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if rec := carryOut(t, r, d, limit); rec.State != purge.Done || rec.MessagesDeleted != 20 {
				t.Errorf("record = %+v; want 20 messages deleted", rec)
			}
			if got := queryOne[int](t, r.pool, `select (select count(*) from social.likes) + (select count(*) from social.files) + (select count(*) from social.mentions)
				+ (select count(*) from social."Post") + (select count(*) from social.thread_members)`); got != 0 {
				t.Errorf("%d rows are left", got)
			}
		})
	}
}
