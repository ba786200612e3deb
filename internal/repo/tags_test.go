package repo

import (
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// tagTables are threads with rows that belong to them by number, to posts, and to files that go with the last of them.
const tagTables = `create schema h;
	create table h.threads (no bigint primary key, owner bigint not null, thread text not null, unique (owner, thread));
	create table h.posts (id bigint primary key, owner bigint not null, thread text not null, at timestamptz not null default now() - interval '1 hour');
	create index on h.posts (owner, thread, id);
	create table h.tags (kind text not null, no bigint, label text); create index on h.tags (no);
	create table h.notes (id bigint primary key, post bigint, file bigint, label text); create index on h.notes (post); create index on h.notes (file);
	create table h.files (id bigint primary key, uses int);
	insert into h.threads values (1, 1, 'a'), (2, 2, 'a');
	insert into h.posts (id, owner, thread) select i, 1 + i / 100, 'a' from unnest(array[1, 2, 3, 4, 101, 102]) i;
	insert into h.tags select 'thread', n, 'x' from generate_series(1, 2) n, generate_series(1, 3);
	insert into h.files select i from generate_series(1, 5) i;
	insert into h.notes select i, i, i from generate_series(1, 4) i;
	`

const tagPlan = `
tenant: solo
messages: {table: h.posts, user: owner, conversation: thread, seq: id, sent_at: at}
conversations:
  table: h.threads
  user: owner
  conversation: thread
  children:
    - {table: h.tags, where: {kind: thread}, references: {column: no, to: no}}
children:
  - table: h.notes
    references: {column: post, to: id}
`

const filePlan = tagPlan + "    parents: [{table: h.files, references: {column: file, to: id}}]\n"

func newTags(tb testing.TB, text string, more ...string) *Repo {
	tb.Helper()
	url := newLedger(tb)
	execSQL(tb, openPool(tb, url), tagTables+strings.Join(more, "\n"))
	p, err := plan.Parse([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return openRepo(tb, Config{URL: url, Plan: p, Target: 30 * time.Second})
}

// whileStepping takes a step of the deletion, calls then once it waits for a lock, and goes on to the end.
func whileStepping(t *testing.T, r *Repo, d purge.Deletion, then func()) {
	t.Helper()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err = r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 100})
	}()
	for !queryOne[bool](t, r.pool, `select exists (select from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.datname = current_database())`) {
		select {
		case <-done:
			t.Fatalf("the step ended without a wait for a lock: %v", err)
		default:
		}
	}
	then()
	if <-done; err != nil {
		t.Fatal(err)
	}
	stepThrough(t, r, d, 100)
}

func tagsLeft(tb testing.TB, r *Repo) string {
	tb.Helper()
	return queryOne[string](tb, r.pool, `select format('%s threads, %s posts, %s tags, %s notes, %s files', (select count(*) from h.threads), (select count(*) from h.posts),
		(select count(*) from h.tags), (select count(*) from h.notes), (select count(*) from h.files))`)
}

// Nothing leads to what belonged to a conversation's row that is gone: so the row goes last.
func TestAConversationGoesAfterItsChildren(t *testing.T) {
	t.Parallel()
	const keep = `create function h.keep() returns trigger language plpgsql as $$ begin return null; end $$;
		create trigger keep before delete on h.tags for each row when (old.label = 'x') execute function h.keep();`
	d := ownersDeletion("1", "a", 100)
	for name, start := range map[string]func(t *testing.T, r *Repo){
		"step": func(*testing.T, *Repo) {},
		"alone": func(t *testing.T, r *Repo) {
			t.Helper()
			bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}})
		},
		"batch": func(t *testing.T, r *Repo) {
			t.Helper()
			bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d, ownersDeletion("2", "b", 100)}})
		},
		"replay": func(t *testing.T, r *Repo) {
			t.Helper()
			rec := purge.Reported{Record: purge.Record{Key: d.Key, State: purge.Done, ThroughSeq: 4, CompletedAt: time.Now(), ConversationRemoved: true}}
			step, err := r.Replayer().Redo(t.Context(), rec, purge.Part{Low: -1, Limit: 100, Finish: true})
			if err != nil || step.Finished {
				t.Errorf("the replay's step is %+v, %v; want an unfinished one", step, err)
			}
		},
	} {
		t.Run(name+"_with_a_trigger_that_keeps_them", func(t *testing.T) {
			t.Parallel()
			r := newTags(t, tagPlan, keep)
			start(t, r)
			for range 2 {
				if step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 100}); err != nil || step.Record.Final() {
					t.Fatalf("step %+v, %v; want an unfinished one", step, err)
				}
			}
			if kept, err := r.Kept(t.Context(), d); err != nil || kept.Table != `"h"."tags"` || kept.Rows != 3 {
				t.Errorf("kept %+v, %v; want 3 rows of tags", kept, err)
			}
			execSQL(t, r.pool, `drop trigger keep on h.tags`)
			stepThrough(t, r, d, 100)
			if got, want := tagsLeft(t, r), "1 threads, 2 posts, 3 tags, 0 notes, 5 files"; got != want {
				t.Errorf("left %s; want %s", got, want)
			}
		})
	}
	for name, c := range map[string]struct{ write, left string }{
		"changed": {`update h.tags set label = 'y' where no = 1`, "1 threads, 2 posts, 3 tags, 0 notes, 5 files"},
		"moved":   {`update h.tags set no = 2 where no = 1`, "1 threads, 2 posts, 6 tags, 0 notes, 5 files"},
	} {
		t.Run(name+"_meanwhile", func(t *testing.T) {
			t.Parallel()
			r := newTags(t, tagPlan)
			writer := begin(t, r)
			if _, err := writer.Exec(t.Context(), c.write); err != nil {
				t.Fatal(err)
			}
			whileStepping(t, r, d, func() {
				if err := writer.Commit(t.Context()); err != nil {
					t.Error(err)
				}
			})
			if got := tagsLeft(t, r); got != c.left {
				t.Errorf("left %s; want %s", got, c.left)
			}
		})
	}
}

// What belongs to a conversation goes in several transactions where it is too much for one, and a locked row of it keeps
// no batch from going on.
func TestAConversationsManyChildrenGo(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2} { // by a step; alone; in a batch
		t.Run([]string{"step", "alone", "batch"}[n], func(t *testing.T) {
			t.Parallel()
			r := newTags(t, tagPlan, `insert into h.tags select 'thread', 1, 'x' from generate_series(1, 20000)`)
			writer := begin(t, r)
			if _, err := writer.Exec(t.Context(), `update h.tags set label = 'y' where ctid = (select min(ctid) from h.tags where no = 1)`); err != nil {
				t.Fatal(err)
			}
			ds := []purge.Deletion{ownersDeletion("1", "a", 100), ownersDeletion("2", "b", 100)}
			if n > 0 { // which doesn't wait for the row
				bulk(t, r, purge.Batch{Deletions: ds[:n]})
			}
			if left := queryOne[int](t, r.pool, `select count(*)::int from h.tags`); n > 0 && left != 20006-9999 {
				t.Errorf("%d tags are left after the batch; want 9,999 gone", left)
			}
			if err := writer.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			most, left := 0, queryOne[int](t, r.pool, `select count(*)::int from h.tags`)
			stepThrough(t, r, ds[0], 100, func() {
				now := queryOne[int](t, r.pool, `select count(*)::int from h.tags`)
				most, left = max(most, left-now), now
				if kept, err := r.Kept(t.Context(), ds[0]); kept.Rows > 0 || err != nil {
					t.Errorf("kept %+v, %v; want nothing", kept, err)
				}
			})
			if got, want := tagsLeft(t, r), "1 threads, 2 posts, 3 tags, 0 notes, 5 files"; got != want || most > 10000 {
				t.Errorf("left %s, up to %d in one transaction; want %s, 10,000", got, most, want)
			}
		})
	}
}
