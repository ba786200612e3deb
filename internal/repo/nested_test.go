package repo

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
)

// A row that arrives below a child while the deletion is under way, and whose writer holds the row that it refers to, by a foreign key
// of any kind or by a lock of its own, is deleted, too.
func TestALateRowBelowAChildGoes(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{
		"no_action": "references n.files", "cascade": "references n.files on delete cascade", "set_null": "references n.files on delete set null",
		"deferred": "references n.files deferrable initially deferred", "no_key": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newLedger(t)
			execSQL(t, openPool(t, url), strings.ReplaceAll(`create schema n;
				create table n.posts (id bigint primary key, owner bigint not null, thread text not null, at timestamptz not null default now() - interval '1 hour');
				create unique index on n.posts (owner, thread, id);
				create table n.files (id bigint primary key, post bigint references n.posts); create index on n.files (post);
				create table n.blobs (id bigint primary key, file bigint KEY); create index on n.blobs (file);
				insert into n.posts (id, owner, thread) select i, 1, 'a' from generate_series(1, 10) i;
				insert into n.files select i, i from generate_series(1, 10) i; insert into n.blobs select i, i from generate_series(1, 5) i`, "KEY", key))
			p, err := plan.Parse([]byte(`
tenant: solo
messages: {table: n.posts, user: owner, conversation: thread, seq: id, sent_at: at}
children:
  - table: n.files
    references: {column: post, to: id}
    children:
      - {table: n.blobs, references: {column: file, to: id}}
`))
			if err != nil {
				t.Fatal(err)
			}
			r := openRepo(t, Config{URL: url, Plan: p, Target: 30 * time.Second})
			late := begin(t, r)
			for _, sql := range []string{`select from n.files where id = 7 for key share`, `insert into n.blobs values (100, 7)`} {
				if _, err := late.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			var deletion sync.WaitGroup
			deletion.Go(func() { stepThrough(t, r, ownersDeletion("1", "a", 100), 10) })
			waiting(t, r, 1)
			if err := late.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			deletion.Wait()
			if n := queryOne[int](t, r.pool, `select ((select count(*) from n.posts) + (select count(*) from n.files) + (select count(*) from n.blobs))::int`); n != 0 {
				t.Errorf("%d rows are left", n)
			}
		})
	}
}
