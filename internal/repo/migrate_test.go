package repo

import (
	"maps"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// olderLedger is a database with the ledger that workers before the scopes made, the
// sample schema, and one finished deletion.
func olderLedger(t *testing.T) string {
	t.Helper()
	url := localtest.Database(t)
	// An older program doesn't ask for a wide key.
	files := withMigration(t, "00008_scope.sql", "-- +goose Up\ncreate function lethe.widen_key() returns void language sql as '';\n")
	maps.DeleteFunc(files, func(name string, _ *fstest.MapFile) bool { return name > "migrations/00009" && name < "migrations/1" })
	if _, err := setup(t.Context(), url, SetupOptions{SampleSchema: true}, files); err != nil {
		t.Fatal(err)
	}
	execSQL(t, openPool(t, url), `drop function lethe.widen_key(); delete from lethe.schema_version where version_id > 7;
		insert into lethe.commands (app_id, command_id, digest) values ('demo', 'old', '');
		insert into lethe.deletions (app_id, command_id, conversation_id, user_id, state, stored_at, history_kept) values ('demo', 'old', 'c', 'alice', 'done', now(), false)`)
	return url
}

// keyWidth is how many columns the ledger's key has.
const keyWidth = `select indnkeyatts from pg_index where indexrelid = 'lethe.deletions_pkey'::regclass`

func TestTheLedgersKeyGrows(t *testing.T) {
	t.Parallel()
	t.Run("at once where no older worker has been", func(t *testing.T) {
		t.Parallel()
		if n := queryOne[int](t, openPool(t, newDatabase(t)), keyWidth); n != 4 {
			t.Errorf("the key has %d columns; want 4", n)
		}
	})
	t.Run("with the first command for everyone", keyGrowsForEveryone)
	t.Run("however often a setup breaks off", keyGrowsAfterInterruptions)
	t.Run("while others write and an old transaction holds the ledger", keyGrowsBesideOthers)
	t.Run("and says so where the role may not", keyGrowsWithAGrant)
}

func keyGrowsForEveryone(t *testing.T) {
	t.Parallel()
	r := newUpgraded(t)
	carryOut(t, r, deletion("self", "c2c_bob"), 10)
	if n := queryOne[int](t, r.pool, keyWidth); n != 3 {
		t.Fatalf("after a command of version 1 the key has %d columns; want 3", n)
	}
	for _, user := range []string{"alice", "bob"} { // one command
		d := deletion("all", "group_1")
		d.User, d.Scope, d.RequestedBy = user, purge.ScopeEveryone, "alice"
		if rec, _ := stepThrough(t, r, d, 10); rec.State != purge.Done || rec.User != user || rec.Scope != purge.ScopeEveryone || rec.RequestedBy != "alice" {
			t.Errorf("record = %+v; want %s's, done", rec, user)
		}
	}
	if n := queryOne[int](t, r.pool, keyWidth); n != 4 {
		t.Errorf("afterwards the key has %d columns; want 4", n)
	}
}

// keyGrowsAfterInterruptions breaks the setup off before each statement in turn, and leaves
// what an interrupted "create index concurrently" leaves.
func keyGrowsAfterInterruptions(t *testing.T) {
	t.Parallel()
	url := olderLedger(t)
	pool := openPool(t, url)
	steps := 0
	for _, name := range []string{"migrations/00008_scope.sql", "migrations/00009_indexes.sql", "migrations/00010_wide_key.sql"} {
		whole, err := migrationFiles.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.SplitAfter(string(whole), ";\n")
		if strings.Contains(string(whole), "StatementBegin") { // one transaction: where it breaks off makes no difference
			parts = []string{string(whole), ""}
		}
		for i := 1; i < len(parts); i++ {
			files := withMigration(t, "none.txt", "")
			files[name] = &fstest.MapFile{Data: []byte(strings.Join(parts[:i], "") + "\nselect 1 / 0;\n")}
			if _, err := setup(t.Context(), url, SetupOptions{}, files); err == nil || !strings.Contains(err.Error(), "division by zero") {
				t.Fatalf("setup = %v; want it to break off in %s", err, name)
			}
			steps++
		}
	}
	execSQL(t, pool, `update pg_index set indisvalid = false where indexrelid = 'lethe.deletions_key'::regclass`)
	execSQL(t, pool, `delete from lethe.schema_version where version_id > 8`)
	if report, err := Setup(t.Context(), url, SetupOptions{}); err != nil || report.After != newest {
		t.Fatalf("Setup = %+v, %v; want version %d", report, err, newest)
	}
	if steps < 8 {
		t.Errorf("broke off %d times; want at each statement", steps)
	}
	if n := queryOne[int](t, pool, `select count(*) from pg_index where indrelid = 'lethe.deletions'::regclass and indisvalid`); n != 5 {
		t.Errorf("the ledger has %d valid indexes; want 5", n)
	}
	execSQL(t, pool, `select lethe.widen_key()`)
	execSQL(t, pool, `select lethe.widen_key()`)
	if n := queryOne[int](t, pool, `select count(*) from pg_index where indrelid = 'lethe.deletions'::regclass`); n != 4 {
		t.Errorf("with the wide key the ledger has %d indexes; want 4", n)
	}
}

// keyGrowsBesideOthers holds what a transaction that has read the ledger holds, and writes all
// the while: no write may wait for a second behind a setup, or a worker, that waits.
func keyGrowsBesideOthers(t *testing.T) {
	t.Parallel()
	url := olderLedger(t)
	pool := openPool(t, url)
	held := func(what func()) {
		old, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := old.Exec(t.Context(), `select from lethe.deletions`); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); what() }()
		var worst time.Duration
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
			began := time.Now()
			execSQL(t, pool, `update lethe.deletions set attempts = attempts + 1`)
			worst = max(worst, time.Since(began))
		}
		if err := old.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-done
		if worst > time.Second {
			t.Errorf("a writer waited %v; want less than a second", worst)
		}
	}
	held(func() {
		if _, err := Setup(t.Context(), url, SetupOptions{}); err != nil {
			t.Errorf("Setup = %v; want it to go on when it gets the lock", err)
		}
	})
	r := openRepo(t, Config{URL: url, Plan: plan.Bundled()})
	held(func() {
		fault, _ := purge.FaultOf(r.widenKey(t.Context(), purge.ScopeEveryone))
		if fault != purge.Contention {
			t.Errorf("the fault is %v; want contention", fault)
		}
	})
	if err := r.widenKey(t.Context(), purge.ScopeEveryone); err != nil {
		t.Error(err)
	}
}

func keyGrowsWithAGrant(t *testing.T) {
	t.Parallel()
	url := olderLedger(t)
	if _, err := Setup(t.Context(), url, SetupOptions{}); err != nil {
		t.Fatal(err)
	}
	role, as := newRole(t, url)
	admin := openPool(t, url)
	execSQL(t, admin, "grant usage on schema lethe, chat to "+role+"; grant all on all tables in schema lethe, chat to "+role)
	r := openRepo(t, Config{URL: as, Plan: plan.Bundled()})
	err := r.widenKey(t.Context(), purge.ScopeEveryone)
	if fault, _ := purge.FaultOf(err); fault != purge.Infrastructure || !strings.Contains(err.Error(), "grant execute on function lethe.widen_key() to ") {
		t.Errorf("widenKey = %v; want the grant that is missing", err)
	}
	execSQL(t, admin, "grant execute on function lethe.widen_key() to "+role)
	if err := r.widenKey(t.Context(), purge.ScopeEveryone); err != nil {
		t.Error(err)
	}
}
