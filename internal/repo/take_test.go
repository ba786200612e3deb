package repo

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// patient is a Repo that waits long for locks, so that a test decides the order.
func patient(t *testing.T) *Repo {
	t.Helper()
	return openRepo(t, Config{URL: newDatabase(t), Plan: plan.Bundled(), Target: 30 * time.Second})
}

// begin opens a transaction that ends with the test at the latest.
func begin(t *testing.T, r *Repo) pgx.Tx {
	t.Helper()
	tx, err := r.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) }) // an error says that it has ended
	return tx
}

// whileWaiting runs b, calls then once the statement waits for a lock, and
// returns what came of b. It fails if b ends without having waited.
func whileWaiting(t *testing.T, r *Repo, b purge.Batch, then func()) purge.Result {
	t.Helper()
	var res purge.Result
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		res, err = r.Bulk(context.WithoutCancel(t.Context()), b)
	}()
	for !queryOne[bool](t, r.pool, `select exists (select from pg_locks l join pg_stat_activity a using (pid)
		where not l.granted and a.datname = current_database())`) {
		select {
		case <-done:
			t.Fatalf("the batch ended without a wait for a lock: %+v, %v", res, err)
		default:
		}
	}
	then()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestBulkTakes(t *testing.T) {
	t.Parallel()

	t.Run("counts only what it has removed itself", func(t *testing.T) {
		t.Parallel()
		r := patient(t)
		fillChat(t, r, "shared", 20)
		fillChat(t, r, "own", 7)
		tx := begin(t, r)
		if _, err := tx.Exec(t.Context(), `delete from chat.messages where conversation_id = 'shared' and seq between 3 and 7`); err != nil {
			t.Fatal(err)
		}
		res := whileWaiting(t, r, purge.Batch{Deletions: []purge.Deletion{deletion("1", "shared"), deletion("2", "own")}, Budget: wide}, func() {
			if err := tx.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if res.Deleted[0] != 15 || res.Deleted[1] != 7 {
			t.Errorf("deleted = %v; want 15 of the 20, and 7", res.Deleted)
		}
		for i, want := range []int64{15, 7} {
			if rec := res.Records[i]; rec.State != purge.Done || rec.MessagesDeleted != want {
				t.Errorf("record %d = %+v; want done with %d", i, rec, want)
			}
		}
	})

	t.Run("writes the ledger's row once", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		fillChat(t, r, "chat", 20)
		bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion("1", "chat")}, Budget: wide})
		if got := queryOne[string](t, r.pool, `select ctid::text from lethe.deletions`); got != "(0,1)" {
			t.Errorf("the ledger's row lies at %s; want (0,1), its first version", got)
		}
	})

	t.Run("what is too large is entered with its boundary and lease, and finished in steps", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		fillChat(t, r, "large", 50)
		d := deletion("1", "large")
		res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 30, Rows: 1000}})
		rec := res.Records[0]
		if rec.State != purge.Running || !rec.Mine || rec.ThroughSeq != 50 || rec.MessagesDeleted != 30 || rec.LeaseLeft <= 0 {
			t.Errorf("record = %+v; want a running one of ours with 30 of 50 gone", rec)
		}
		if rec := carryOut(t, r, d, 10); rec.State != purge.Done || rec.MessagesDeleted != 50 {
			t.Errorf("record = %+v; want done with 50", rec)
		}
	})

	t.Run("a table that comes to inherit loses none of its rows to a place alone", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		fillChat(t, r, "chat", 20)
		execSQL(t, r.pool, `create table chat.archive () inherits (chat.messages)`)
		execSQL(t, r.pool, `insert into chat.archive (app_id, user_id, conversation_id, seq) select 'demo', 'bob', 'other', i from generate_series(1, 20) i`)
		bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion("1", "chat")}, Budget: wide})
		if n := queryOne[int](t, r.pool, `select count(*) from chat.archive`); n != 20 {
			t.Errorf("%d of bob's 20 messages are left", n)
		}
		if n := queryOne[int](t, r.pool, `select count(*) from only chat.messages`); n != 0 {
			t.Errorf("%d messages are left; want none", n)
		}
	})

	t.Run("two workers with one command do its work once", func(t *testing.T) {
		t.Parallel()
		r := patient(t)
		fillChat(t, r, "chat", 20)
		tx := begin(t, r)
		first := deletion("1", "chat")
		if _, err := tx.Exec(t.Context(), `insert into lethe.commands (app_id, command_id, digest) values ($1, $2, $3)`,
			first.App, first.Command, first.Digest[:]); err != nil {
			t.Fatal(err)
		}
		res := whileWaiting(t, r, purge.Batch{Deletions: []purge.Deletion{first}, Budget: wide}, func() {
			if err := tx.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if res.Rows != 0 || res.Records[0].State != "" {
			t.Errorf("rows = %d, record = %+v; want nothing done to another's command", res.Rows, res.Records[0])
		}
	})
}
