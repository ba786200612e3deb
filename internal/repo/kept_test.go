package repo

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// keepRows makes a trigger keep the rows of a table.
func keepRows(table string) string {
	return `create or replace function public.keep() returns trigger language plpgsql as $$ begin return null; end $$;
		create trigger keep before delete on ` + table + ` for each row execute function public.keep()`
}

func TestKept(t *testing.T) {
	t.Parallel()
	bundled := func(more string) func(t *testing.T) (*Repo, purge.Deletion) {
		return func(t *testing.T) (*Repo, purge.Deletion) {
			t.Helper()
			url := newDatabase(t)
			execSQL(t, openPool(t, url), "select 1;"+more)
			r := openRepo(t, Config{URL: url, Plan: plan.Bundled()})
			fillChat(t, r, "c", 40)
			return r, deletion("1", "c")
		}
	}
	social := func(t *testing.T) (*Repo, purge.Deletion) {
		t.Helper()
		r := newSocial(t)
		fillSocial(t, r, 12, 7)
		return r, removal("1", nil)
	}
	for name, c := range map[string]struct {
		open  func(t *testing.T) (*Repo, purge.Deletion)
		table string
		want  purge.Kept
		needs purge.Tables
	}{
		"messages":                  {bundled(""), "chat.messages", purge.Kept{Table: `"chat"."messages"`, Rows: 40, Seq: 1}, 15},
		"child rows":                {bundled(""), "chat.attachments", purge.Kept{Table: `"chat"."attachments"`, Rows: 2, Seq: 20}, 15},
		"the conversation's row":    {bundled(""), "chat.conversations", purge.Kept{Table: `"chat"."conversations"`, Rows: 1}, 15},
		"messages in parts":         {bundled(partitionedTables), "chat.messages", purge.Kept{Table: `"chat"."messages"`, Rows: 40, Seq: 1}, 15},
		"a row in parts":            {bundled(partitionedTables), "chat.conversations", purge.Kept{Table: `"chat"."conversations"`, Rows: 1}, 15},
		"messages with references":  {social, `social."Post"`, purge.Kept{Table: `"social"."Post"`, Rows: 12, Seq: 1}, 31},
		"rows by a foreign key":     {social, `social.likes`, purge.Kept{Table: `"social"."likes"`, Rows: 8, Seq: 3}, 31},
		"rows by the natural key":   {social, `social.files`, purge.Kept{Table: `"social"."files"`, Rows: 4, Seq: 3}, 31},
		"rows by a reference alone": {social, `social.mentions`, purge.Kept{Table: `"social"."mentions"`, Rows: 3, Seq: 4}, 31},
		"nothing":                   {bundled(""), "", purge.Kept{}, 15},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, d := c.open(t)
			if got, err := r.Tables(t.Context(), d); err != nil || got != c.needs {
				t.Errorf("Tables = %b, %v; want %b", got, err, c.needs)
			}
			var held pgx.Tx
			if c.table != "" {
				execSQL(t, r.pool, keepRows(c.table))
			} else { // rows that others hold aren't kept
				var err error
				if held, err = r.pool.Begin(t.Context()); err != nil {
					t.Fatal(err)
				}
				for _, sql := range []string{`select from chat.messages where seq > 10 for update`, `select from chat.conversations for update`} {
					if _, err := held.Exec(t.Context(), sql); err != nil {
						t.Fatal(err)
					}
				}
			}
			res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, SkipLocked: true})
			if rec := res.Records[0]; rec.State != purge.Running || !rec.Mine {
				t.Fatalf("record = %+v; want running", rec)
			}
			got, err := r.Kept(t.Context(), d)
			if err != nil || got != c.want {
				t.Errorf("Kept = %+v, %v; want %+v", got, err, c.want)
			}
			if held == nil {
				execSQL(t, r.pool, `drop trigger keep on `+c.table)
			} else if err := held.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			if rec := carryOut(t, r, d, 1000); rec.State != purge.Done {
				t.Errorf("record = %+v; want done once nothing keeps the rows", rec)
			}
			if got, err := r.Tables(t.Context(), d); err != nil || got != 0 {
				t.Errorf("Tables = %b, %v; want none", got, err)
			}
		})
	}
}

// Whoever held messages may let them go just before somebody asks whether they stay.
func TestMessagesThatDontStayAreCounted(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	fillChat(t, r, "c", 40)
	d := deletion("1", "c")
	tx, err := openPool(t, r.cfg.URL).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // it is only for a test that fails
	if _, err := tx.Exec(t.Context(), `select from chat.messages where seq > 10 for update`); err != nil {
		t.Fatal(err)
	}
	bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, SkipLocked: true})
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Kept(t.Context(), d); err != nil || got.Rows != 0 {
		t.Errorf("Kept = %+v, %v; want nothing kept", got, err)
	}
	if rec := carryOut(t, r, d, 1000); rec.State != purge.Done || rec.MessagesDeleted != 40 {
		t.Errorf("record = %+v; want done, with 40 messages deleted", rec)
	}
}

// A conversation's row that a trigger keeps is no end of a deletion, by any way.
func TestARowThatIsKeptIsNoEnd(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	fillChat(t, r, "alone", 5)
	fillChat(t, r, "b1", 5)
	fillChat(t, r, "b2", 5)
	fillChat(t, r, "stays", 5)
	execSQL(t, r.pool, keepRows("chat.conversations"))
	three := int64(3)
	stays := deletion("4", "stays")
	stays.ThroughSeq = &three // its row isn't to go
	long := deletion("1", "alone")
	ds := []purge.Deletion{deletion("2", "b1"), deletion("3", "b2"), stays}
	records := append(bulk(t, r, purge.Batch{Deletions: []purge.Deletion{long}}).Records, bulk(t, r, purge.Batch{Deletions: ds}).Records...)
	records = append(records, steps(t, r, ds...).Records...)
	rec, err := r.Finish(t.Context(), long)
	if err != nil {
		t.Fatal(err)
	}
	for i, rec := range append(records, rec) {
		if want := map[bool]purge.State{true: purge.Done, false: purge.Running}[rec.Conversation == "stays"]; rec.State != want {
			t.Errorf("record %d = %+v; want %s", i, rec, want)
		}
	}
	again := purge.Reported{Record: purge.Record{Key: purge.Key{App: "demo", Command: "5", User: "alice", Conversation: "replayed"}, ThroughSeq: 5, CompletedAt: time.Now(), ConversationRemoved: true}}
	fillChat(t, r, "replayed", 5)
	redone, err := r.Replayer().Redo(t.Context(), again, purge.Part{Limit: 100, Finish: true})
	if err != nil || redone.Finished {
		t.Errorf("Redo = %+v, %v; want it not done", redone, err)
	}
	execSQL(t, r.pool, `drop trigger keep on chat.conversations`)
	if redone, err = r.Replayer().Redo(t.Context(), again, purge.Part{Limit: 100, Finish: true}); err != nil || !redone.Finished || !redone.RowRemoved {
		t.Errorf("Redo = %+v, %v; want it done without the row", redone, err)
	}
	for _, rec := range steps(t, r, ds[:2]...).Records {
		if rec.State != purge.Done || !rec.ConversationRemoved || rec.MessagesDeleted != 5 {
			t.Errorf("record = %+v; want done without its row", rec)
		}
	}
}

func TestWhoseFaultAnErrorIs(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	raise := func(code string) string {
		return `create function public.f_` + strings.ToLower(code) + `() returns int language plpgsql as $$ begin raise exception 'x' using errcode = '` + code + `'; end $$;`
	}
	for _, code := range []string{"P0001", "57P03", "08006", "28000", "53100", "42501", "40001", "40P01", "55P03"} {
		execSQL(t, r.pool, raise(code))
	}
	for _, c := range []struct {
		sql   string
		args  []any
		fault purge.Fault
		cause string
	}{
		{`select public.f_p0001()`, nil, purge.Ambiguous, "sqlstate_P0"},
		{`select public.f_57p03()`, nil, purge.Ambiguous, "server"},
		{`select public.f_08006()`, nil, purge.Ambiguous, "connection"},
		{`select public.f_28000()`, nil, purge.Ambiguous, "configuration"},
		{`select public.f_53100()`, nil, purge.Ambiguous, "resources"},
		{`select public.f_42501()`, nil, purge.Ambiguous, "permission"},
		{`select public.f_40001()`, nil, purge.Ambiguous, "serialization"},
		{`select public.f_40p01()`, nil, purge.Contention, "deadlock"},
		{`select public.f_55p03()`, nil, purge.Contention, "lock_timeout"},
		{`select from public.nowhere`, nil, purge.Ambiguous, "configuration"},
		{`select 1 / 0`, nil, purge.Ambiguous, "sqlstate_22"},
		{`select $1::int4`, []any{int64(1) << 40}, purge.Ambiguous, "client"},
		{`select set_config('statement_timeout', '10ms', true)`, nil, purge.Ambiguous, purge.StatementTimeout},
		{`select pg_terminate_backend(pg_backend_pid())`, nil, purge.Infrastructure, "server"},
	} {
		tx := r.begin(true)
		tx.batch.Queue(c.sql, c.args...)
		if strings.Contains(c.sql, "statement_timeout") {
			tx.batch.Queue(`select pg_sleep(5)`)
		}
		err := r.commit(t.Context(), tx)
		if fault, cause := purge.FaultOf(err); err == nil || fault != c.fault || cause != c.cause {
			t.Errorf("%s: FaultOf(%v) = %v, %s; want %v, %s", c.sql, err, fault, cause, c.fault, c.cause)
		}
	}
	closed := openRepo(t, Config{URL: newDatabase(t), Plan: plan.Bundled()})
	closed.pool.Reset()
	closed.Close()
	if fault, cause := purge.FaultOf(closed.Probe(t.Context())); fault != purge.Infrastructure {
		t.Errorf("a closed pool: %v, %s; want infrastructure", fault, cause)
	}
}
