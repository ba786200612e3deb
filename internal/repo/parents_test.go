package repo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// bodyTables are messages that share bodies, bodies with remarks, and files that remarks and album pages share.
// KEY is what the foreign key of the messages says.
const bodyTables = `create schema b;
	create table b.bodies (id bigint primary key, text text, thread text not null default 'a', at timestamptz not null default now() - interval '1 hour');
	create index on b.bodies (thread, id);
	create table b.posts (id bigint generated always as identity primary key, owner bigint not null, thread text not null, seq bigint not null,
		at timestamptz not null default now() - interval '1 hour', body bigint KEY, unique (owner, thread, seq));
	create index on b.posts (body); create unique index on b.posts (owner, body);
	create table b.files (id bigint primary key);
	create table b.remarks (id bigint generated always as identity primary key, body bigint not null references b.bodies, file bigint references b.files);
	create index on b.remarks (body); create index on b.remarks (file);
	create table b.pages (id bigint generated always as identity primary key, file bigint references b.files);
	create index on b.pages (file);`

const bodyPlan = `
tenant: solo
messages:
  table: b.posts
  user: owner
  conversation: thread
  seq: seq
  sent_at: at
  parents:
    - table: b.bodies
      references: {column: body, to: id}
      children:
        - table: b.remarks
          references: {column: body, to: id}
          parents:
            - {table: b.files, references: {column: file, to: id}, kept_by: [{table: b.pages, references: {column: file, to: id}}]}
`

// bodyPointerPlan is bodyPlan with posts that only point to what has the position, and so are the same.
var bodyPointerPlan = strings.NewReplacer("  conversation: thread\n  seq: seq\n  sent_at: at\n", "",
	"      references: {column: body, to: id}\n      children", "      references: {column: body, to: id}\n      conversation: thread\n      seq: id\n      sent_at: at\n      children").Replace(bodyPlan)

// newBodies is a Repo with these tables, and n bodies that each of the owners has a post of in the thread a, a remark on each
// with a file of its own, and a page for each third file.
func newBodies(tb testing.TB, key string, n int, owners ...int) *Repo {
	tb.Helper()
	return newBodiesBy(tb, bodyPlan, key, n, owners...)
}

func newBodiesBy(tb testing.TB, text, key string, n int, owners ...int) *Repo {
	tb.Helper()
	url := newLedger(tb)
	pool := openPool(tb, url)
	execSQL(tb, pool, strings.ReplaceAll(bodyTables, "KEY", key))
	execSQL(tb, pool, `insert into b.bodies select i, 'text' from generate_series(1, $1::int) i`, n)
	execSQL(tb, pool, `insert into b.files select i from generate_series(1, $1::int) i`, n)
	execSQL(tb, pool, `insert into b.remarks (body, file) select i, i from generate_series(1, $1::int) i`, n)
	execSQL(tb, pool, `insert into b.pages (file) select i from generate_series(3, $1::int, 3) i`, n)
	execSQL(tb, pool, `insert into b.posts (owner, thread, seq, body) select o, 'a', i, i from unnest($2::int[]) o, generate_series(1, $1::int) i`, n, owners)
	p, err := plan.Parse([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return openRepo(tb, Config{URL: url, Plan: p})
}

// bodiesLeft counts what is left, and what is there without what it belongs to, or with nothing that refers to it.
func bodiesLeft(tb testing.TB, r *Repo) string {
	tb.Helper()
	return queryOne[string](tb, r.pool, `select format('%s posts, %s bodies, %s remarks, %s files; %s forgotten bodies, %s forgotten files, %s posts without a body, %s remarks without one',
		(select count(*) from b.posts), (select count(*) from b.bodies), (select count(*) from b.remarks), (select count(*) from b.files),
		(select count(*) from b.bodies p where not exists (select from b.posts m where m.body = p.id)),
		(select count(*) from b.files f where not exists (select from b.remarks m where m.file = f.id) and not exists (select from b.pages g where g.file = f.id)),
		(select count(*) from b.posts m where m.body is not null and not exists (select from b.bodies p where p.id = m.body)),
		(select count(*) from b.remarks m where not exists (select from b.bodies p where p.id = m.body)))`)
}

func ofOwner(d purge.Deletion, owner int) purge.Deletion {
	d.User = fmt.Sprint(owner)
	d.Command += "/" + d.User
	d.Digest = purge.DigestOf(purge.Content{User: d.User, Targets: []purge.Target{{Conversation: d.Conversation, ThroughSeq: d.ThroughSeq}}})
	return d
}

func TestParentsGoWithTheLastReference(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{
		"no_action": "references b.bodies", "deferred": "references b.bodies deferrable initially deferred", "restrict": "references b.bodies on delete restrict",
		"cascade": "references b.bodies on delete cascade", "no_key": "", "counted": "references b.bodies",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newBodies(t, key, 30, 1, 2)
			if name == "counted" { // a trigger changes the rows that we have locked
				execSQL(t, r.pool, `create function b.count() returns trigger language plpgsql as $$ begin
						update b.bodies set text = text || '.' where id = old.body; update b.posts set at = at where body = old.body; return null; end $$;
					create trigger count after delete on b.remarks for each row execute function b.count()`)
			}
			rec, rows := stepThrough(t, r, ofOwner(ownersDeletion("1", "a", 100), 1), 7)
			const none = "0 forgotten bodies, 0 forgotten files, 0 posts without a body, 0 remarks without one"
			if got, want := bodiesLeft(t, r), "30 posts, 30 bodies, 30 remarks, 30 files; "+none; got != want || rec.MessagesDeleted != 30 || rows != 30 {
				t.Errorf("%d messages, %d rows; left %s; want 30, 30, %s", rec.MessagesDeleted, rows, got, want)
			}
			rec, rows = stepThrough(t, r, ofOwner(ownersDeletion("1", "a", 100), 2), 7)
			if got, want := bodiesLeft(t, r), "0 posts, 0 bodies, 0 remarks, 10 files; "+none; got != want || rec.MessagesDeleted != 30 || rows != 30+30+30+20 {
				t.Errorf("%d messages, %d rows; left %s; want 30, 110, %s", rec.MessagesDeleted, rows, got, want)
			}
		})
	}
}

// A parent's key, and the reference to it, may begin with the owner's.
func TestAParentOfSeveralColumnsGoesWithTheLastReference(t *testing.T) {
	t.Parallel()
	url := newLedger(t)
	pool := openPool(t, url)
	execSQL(t, pool, `create schema b;
		create table b.images (owner bigint, id bigint, primary key (owner, id));
		create table b.posts (owner bigint not null, thread text not null, seq bigint not null, at timestamptz not null default now() - interval '1 hour',
			image bigint, foreign key (owner, image) references b.images, primary key (owner, thread, seq));
		create index on b.posts (owner, image);
		insert into b.images select o, i from generate_series(1, 2) o, generate_series(1, 10) i;
		insert into b.posts select o, t, i, now() - interval '1 hour', i / 2 + 1 from generate_series(1, 2) o, unnest('{a,z}'::text[]) t, generate_series(1, 18) i where t = 'a' or i < 4`)
	p, err := plan.Parse([]byte(`
tenant: solo
messages:
  table: b.posts
  user: owner
  conversation: thread
  seq: seq
  sent_at: at
  parents:
    - {table: b.images, references: {column: [owner, image], to: [owner, id]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	r := openRepo(t, Config{URL: url, Plan: p})
	rec, rows := stepThrough(t, r, ofOwner(ownersDeletion("1", "a", 100), 1), 7)
	if rec.MessagesDeleted != 18 || rows != 18+8 { // the thread z has the images 1 and 2
		t.Errorf("%d messages, %d rows; want 18, 26", rec.MessagesDeleted, rows)
	}
	if got := queryOne[string](t, r.pool, `select string_agg(owner || ':' || n, ' ' order by owner) from (select owner, count(*) n from b.images group by owner) i`); got != "1:2 2:10" {
		t.Errorf("images left: %s; want 1:2 2:10", got)
	}
}

// Deletions that remove the last references together, in two processes, and an application that removes and adds references
// meanwhile, leave no parent that nothing refers to, and no reference to nothing.
func TestParentsAreNeitherLeftNorMissed(t *testing.T) {
	t.Parallel()
	const bodies, owners = 60, 4
	for name, text := range map[string]string{"bodies": bodyPlan, "pointers": bodyPointerPlan} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			written := map[bool]string{true: "a", false: "w"}[text == bodyPointerPlan]
			var all []int
			for o := range owners + 1 {
				all = append(all, o+1)
			}
			r := newBodiesBy(t, text, "references b.bodies", bodies, all...)
			repos := []*Repo{r, openRepo(t, r.cfg)}
			ctx, stop := context.WithCancel(t.Context())
			var writers, deletions sync.WaitGroup
			writers.Go(func() { // removes the last owner's posts, and the bodies that it finds without one
				for ctx.Err() == nil {
					cleanUp(context.WithoutCancel(ctx), t, r)
				}
			})
			for w := range 2 { // adds references to bodies that are there
				writers.Go(func() {
					for seq := 1000; ctx.Err() == nil; seq++ {
						_, err := r.pool.Exec(context.WithoutCancel(ctx), `insert into b.posts (owner, thread, seq, body)
							select $1, $3, $2, id from b.bodies order by random() limit 1`, 100+w, seq, written)
						unexpected(t, err)
					}
				})
			}
			for o := range owners {
				deletions.Go(func() {
					d := ofOwner(ownersDeletion("d", "a", 1000), o+1)
					stepThrough(t, repos[o%2], d, 1+rand.IntN(40)) //nolint:gosec // a test's
				})
			}
			deletions.Wait()
			for !queryOne[bool](t, r.pool, `select not exists (select from b.posts where owner = 5)`) {
				cleanUp(t.Context(), t, r)
			}
			stop()
			writers.Wait()
			if got := bodiesLeft(t, r); !strings.HasSuffix(got, "; 0 forgotten bodies, 0 forgotten files, 0 posts without a body, 0 remarks without one") {
				t.Error(got)
			}
			// and what the writers have kept goes with their own
			for w := range 2 {
				stepThrough(t, r, ofOwner(ownersDeletion("w", written, 1<<40), 100+w), 50)
			}
			if got := bodiesLeft(t, r); !strings.HasPrefix(got, "0 posts, 0 bodies, 0 remarks, 20 files; 0 forgotten bodies, 0 forgotten files") {
				t.Error(got)
			}
		})
	}
}

// cleanUp is an application that removes a post of the owner 5, and its body if that was the last one.
func cleanUp(ctx context.Context, t *testing.T, r *Repo) {
	t.Helper()
	err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		var body *int64
		err := tx.QueryRow(ctx, `delete from b.posts where id = (select id from b.posts where owner = 5 order by random() limit 1) returning body`).Scan(&body)
		if err != nil || body == nil {
			return err
		}
		if _, err := tx.Exec(ctx, `select from b.bodies where id = $1 for update`, *body); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `delete from b.remarks m where body = $1 and not exists (select from b.posts where body = $1)`, *body)
		if err != nil {
			return err
		}
		if _, err = tx.Exec(ctx, `delete from b.bodies p where id = $1 and not exists (select from b.posts m where m.body = p.id)`, *body); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `delete from b.files f where id = $1 and not exists (select from b.remarks m where m.file = f.id) and not exists (select from b.pages g where g.file = f.id)`, *body)
		return err
	})
	unexpected(t, err)
}

// unexpected fails the test for an error that an application doesn't meet, and try again after, in the ordinary way: no row, a deadlock, a post that is there, a
// lock timeout, a reference to what has gone.
func unexpected(t *testing.T, err error) {
	t.Helper()
	var pg *pgconn.PgError
	if err == nil || errors.Is(err, pgx.ErrNoRows) || errors.As(err, &pg) && slices.Contains([]string{"40P01", "55P03", "23505", foreignKeyViolation}, pg.Code) {
		return
	}
	t.Error(err)
}

// Where a trigger keeps rows of any of the tables, nothing goes that would leave others without what they belong to, and the
// deletion says which table it is.
func TestRowsThatATriggerKeepsAreNamed(t *testing.T) {
	t.Parallel()
	for table, want := range map[string]struct {
		kept purge.Kept
		err  string
		left string
	}{
		"b.remarks": {purge.Kept{Table: `"b"."remarks"`, Rows: 6, Seq: 1}, "", "6 posts, 6 bodies, 6 remarks, 6 files; 0 forgotten"},
		"b.posts":   {purge.Kept{Table: `"b"."posts"`, Rows: 6, Seq: 1}, "", "6 posts, 6 bodies, 2 remarks, 3 files; 0 forgotten"},
		"b.bodies":  {purge.Kept{}, `table "b"."bodies" keeps 4 rows from being deleted`, "6 posts, 6 bodies, 2 remarks, 3 files; 0 forgotten"},
		"b.files":   {purge.Kept{}, `table "b"."files" keeps 3 rows from being deleted`, "6 posts, 6 bodies, 6 remarks, 6 files; 0 forgotten"},
	} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			r := newBodies(t, "references b.bodies", 6, 1)
			d := ofOwner(ownersDeletion("1", "a", 100), 1)
			if tables, err := r.Tables(t.Context(), d); err != nil || tables != 1|1<<2|1<<3|1<<4 {
				t.Errorf("Tables = %b, %v; want posts, remarks, bodies and files", tables, err)
			}
			execSQL(t, r.pool, keepRows(table))
			var err error
			for range 4 {
				if _, err = r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 4}); err != nil {
					break
				}
			}
			if want.err != "" {
				if fault, _ := purge.FaultOf(err); fault != purge.Command || !strings.Contains(fmt.Sprint(err), want.err) {
					t.Errorf("Step: %v; want %s", err, want.err)
				}
			} else if kept, err := r.Kept(t.Context(), d); err != nil || kept != want.kept {
				t.Errorf("Kept = %+v, %v; want %+v", kept, err, want.kept)
			}
			if got := bodiesLeft(t, r); !strings.HasPrefix(got, want.left) {
				t.Errorf("left %s; want %s", got, want.left)
			}
			execSQL(t, r.pool, `drop trigger keep on `+table)
			if rec, _ := stepThrough(t, r, d, 4); rec.State != purge.Done || rec.MessagesDeleted != 6 {
				t.Errorf("record = %+v; want done", rec)
			}
		})
	}
}

// Whoever removes the other reference to a parent at the same moment and a deletion wait for each other, so that one of them sees
// that it has removed the last one.
func TestTheOtherReferenceIsRemovedAtTheSameMoment(t *testing.T) {
	t.Parallel()
	const none = "0 posts, 0 bodies, 0 remarks, 0 files; 0 forgotten bodies, 0 forgotten files, 0 posts without a body, 0 remarks without one"
	open := func(t *testing.T) *Repo {
		t.Helper()
		r := newBodies(t, "references b.bodies", 1, 1, 2)
		r.cfg.Target = 30 * time.Second
		return openRepo(t, r.cfg)
	}
	t.Run("before_the_deletion_has_looked", func(t *testing.T) {
		t.Parallel()
		r := open(t)
		app := begin(t, r)
		if _, err := app.Exec(t.Context(), `delete from b.posts where owner = 2`); err != nil {
			t.Fatal(err)
		}
		var deletion sync.WaitGroup
		deletion.Go(func() { stepThrough(t, r, ofOwner(ownersDeletion("1", "a", 100), 1), 10) })
		waiting(t, r, 1)
		if err := app.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		deletion.Wait()
		if got := bodiesLeft(t, r); got != none {
			t.Error(got)
		}
	})
	t.Run("after_it_has_looked", func(t *testing.T) {
		t.Parallel()
		r := open(t)
		execSQL(t, r.pool, `create function public.wait() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(4711); return old; end $$;
			create trigger wait before delete on b.posts for each row when (old.owner = 1) execute function public.wait()`)
		gate := begin(t, r)
		if _, err := gate.Exec(t.Context(), `select pg_advisory_xact_lock(4711)`); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		both.Go(func() { stepThrough(t, r, ofOwner(ownersDeletion("1", "a", 100), 1), 10) })
		waiting(t, r, 1)
		app := begin(t, r)
		both.Go(func() {
			for _, sql := range []string{
				`delete from b.posts where owner = 2`, `delete from b.remarks m where not exists (select from b.posts p where p.body = m.body)`,
				`delete from b.bodies p where not exists (select from b.posts m where m.body = p.id)`, `delete from b.files f where not exists (select from b.remarks m where m.file = f.id)`,
			} {
				if _, err := app.Exec(t.Context(), sql); err != nil {
					t.Error(err)
				}
			}
			if err := app.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		})
		waiting(t, r, 2)
		if err := gate.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		both.Wait()
		if got := bodiesLeft(t, r); got != none {
			t.Error(got)
		}
	})
}

// waiting returns when n sessions wait for a lock.
func waiting(t *testing.T, r *Repo, n int) {
	t.Helper()
	for queryOne[int](t, r.pool, `select count(*)::int from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.datname = current_database()`) < n {
		if t.Context().Err() != nil {
			t.FailNow()
		}
	}
}
