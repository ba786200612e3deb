package repo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// newest is the version that the embedded migrations lead to.
var newest = func() int64 {
	names, _ := fs.Glob(migrationFiles, "migrations/0*.sql")
	return int64(len(names))
}()

func TestSetup(t *testing.T) {
	t.Parallel()
	t.Run("creates the schema once when eight race", setupRace)
	t.Run("can be repeated without the privilege to create", setupUnprivileged)
	t.Run("names the grant that a role lacks on one line", setupDenied)
	t.Run("applies what is missing to an older schema", setupUpgrade)
	t.Run("leaves a newer schema alone", setupNewer)
	t.Run("leaves nothing of a migration that breaks off", setupBroken)
	t.Run("gives up waiting for another setup when its context ends", setupWait)
	t.Run("says on one line that nobody listens", setupNoServer)
	t.Run("completes a sample schema that lacks a table", setupPartialSample)
}

func setupRace(t *testing.T) {
	t.Parallel()
	url := localtest.Database(t)
	var wg sync.WaitGroup
	reports, errs := make([]SetupReport, 8), make([]error, 8)
	for i := range reports {
		wg.Go(func() { reports[i], errs[i] = Setup(t.Context(), url, SetupOptions{SampleSchema: true}) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	created := 0
	for _, r := range reports {
		if r.Before == 0 {
			created++
		}
		if r.After != newest {
			t.Errorf("report %+v; want version %d afterwards", r, newest)
		}
	}
	if created != 1 {
		t.Errorf("%d setups of 8 created the schema; want 1", created)
	}
	openRepo(t, Config{URL: url, Plan: plan.Bundled()})
}

func setupUnprivileged(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	name, as := newRole(t, url)
	admin := openPool(t, url)
	execSQL(t, admin, "grant usage on schema lethe to "+name+"; grant select on lethe.schema_version to "+name)
	report, err := Setup(t.Context(), as, SetupOptions{SampleSchema: true})
	if want := (SetupReport{Before: newest, After: newest, Ledger: idOf(t, url)}); err != nil || report != want {
		t.Errorf("Setup = %+v, %v; want %+v, nil", report, err, want)
	}
}

func setupDenied(t *testing.T) {
	t.Parallel()
	empty, there := localtest.Database(t), newDatabase(t)
	inEmpty, asInEmpty := newRole(t, empty)
	inThere, asInThere := newRole(t, there)
	for _, c := range []struct{ url, role, grant string }{
		{asInEmpty, inEmpty, "grant create on database"},
		{asInThere, inThere, "grant usage on schema lethe"},
	} {
		_, err := Setup(t.Context(), c.url, SetupOptions{})
		if err == nil {
			t.Fatalf("Setup without the privilege succeeded; want advice to %s", c.grant)
		}
		if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure || cause != "permission" {
			t.Errorf("FaultOf(%v) = %v, %s; want infrastructure, permission", err, fault, cause)
		}
		if text := err.Error(); !strings.Contains(text, c.grant) || !strings.Contains(text, c.role) || strings.Contains(text, "\n") {
			t.Errorf("error %q; want one line with %q and the role", text, c.grant)
		}
	}
}

// withMigration is the embedded migrations and one more, or another one in the place of one.
func withMigration(t *testing.T, name, sql string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	names, err := fs.Glob(migrationFiles, "migrations/0*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := migrationFiles.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	files["migrations/"+name] = &fstest.MapFile{Data: []byte(sql)}
	return files
}

func setupUpgrade(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	pool := openPool(t, url)
	execSQL(t, pool, `insert into lethe.apps values ('demo', true)`)
	files := withMigration(t, "00099_next.sql", "-- +goose Up\nalter table lethe.apps add column next text;\n")
	want := SetupReport{Before: newest, After: 99}
	for range 2 { // the second changes nothing
		report, err := setup(t.Context(), url, SetupOptions{}, files)
		if report.Ledger = ""; err != nil || report != want {
			t.Errorf("setup = %+v, %v; want %+v, nil", report, err, want)
		}
		want.Before = 99
	}
	if !queryOne[bool](t, pool, `select multi_client_sync and next is null from lethe.apps where app_id = 'demo'`) {
		t.Error("the upgrade changed a row")
	}
}

func setupNewer(t *testing.T) {
	t.Parallel()
	url := localtest.Database(t)
	files := withMigration(t, "00099_next.sql", "-- +goose Up\nselect 1;\n")
	if _, err := setup(t.Context(), url, SetupOptions{}, files); err != nil {
		t.Fatal(err)
	}
	report, err := Setup(t.Context(), url, SetupOptions{})
	if want := (SetupReport{Before: 99, After: 99, Ledger: report.Ledger}); err != nil || report != want {
		t.Errorf("Setup = %+v, %v; want %+v, nil", report, err, want)
	}
}

func setupBroken(t *testing.T) {
	t.Parallel()
	url := localtest.Database(t)
	files := withMigration(t, "00099_bad.sql", "-- +goose Up\ncreate table lethe.half ();\nselect 1 / 0;\n")
	if _, err := setup(t.Context(), url, SetupOptions{}, files); err == nil || !strings.Contains(err.Error(), "version:99") {
		t.Errorf("setup = %v; want an error that names the migration", err)
	}
	report, err := Setup(t.Context(), url, SetupOptions{})
	if want := (SetupReport{Before: newest, After: newest, Ledger: report.Ledger}); err != nil || report != want {
		t.Errorf("Setup = %+v, %v; want %+v, nil", report, err, want)
	}
	if queryOne[bool](t, openPool(t, url), `select to_regclass('lethe.half') is not null`) {
		t.Error("half of the migration is there")
	}
}

func setupWait(t *testing.T) {
	t.Parallel()
	url := localtest.Database(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), `select pg_advisory_lock($1)`, int64(setupLock)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = Setup(ctx, url, SetupOptions{})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another setup") {
		t.Errorf("Setup = %v; want the deadline, because another setup is at work", err)
	}
}

func setupNoServer(t *testing.T) {
	t.Parallel()
	_, err := Setup(t.Context(), "postgres://nobody@127.0.0.1:1/none?pool_max_conns=3", SetupOptions{})
	if err == nil || strings.ContainsAny(err.Error(), "\n\t") {
		t.Fatalf("Setup = %q; want an error of one line", err)
	}
	if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure || cause != "connection" {
		t.Errorf("FaultOf(%v) = %v, %s; want infrastructure, connection", err, fault, cause)
	}
}

func setupPartialSample(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	pool := openPool(t, url)
	execSQL(t, pool, `drop table chat.counters`)
	execSQL(t, pool, `insert into chat.conversations (app_id, user_id, conversation_id) values ('a', 'u', 'c')`)
	if _, err := Setup(t.Context(), url, SetupOptions{SampleSchema: true}); err != nil {
		t.Fatal(err)
	}
	if n := queryOne[int](t, pool, `select count(*) from pg_tables where schemaname = 'chat'`); n != sampleTables {
		t.Errorf("%d sample tables; want %d", n, sampleTables)
	}
	if n := queryOne[int](t, pool, `select count(*) from chat.conversations`); n != 1 {
		t.Errorf("%d conversations; want the one that was there", n)
	}
}

func TestSetupWritesNothingToStandardOutput(t *testing.T) { //nolint:paralleltest // the standard output is the process's
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stdout
	os.Stdout = write
	_, err = Setup(t.Context(), localtest.Database(t), SetupOptions{SampleSchema: true})
	os.Stdout = was
	if closeErr := write.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	var out bytes.Buffer
	if _, err := io.Copy(&out, read); err != nil || out.Len() > 0 {
		t.Errorf("standard output: %q, %v; want nothing", out.String(), err)
	}
}

// make test-matrix runs this against Postgres 12.
func TestAPostgresThatIsTooOldIsRefused(t *testing.T) {
	t.Parallel()
	server := localtest.Postgres(t)
	version, err := server.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if version >= 130000 {
		if _, err := Setup(t.Context(), localtest.Database(t), SetupOptions{}); err != nil {
			t.Errorf("Setup = %v; want this server taken", err)
		}
		return
	}
	const want = "postgres 12 is too old: Lethe needs 13 or newer: upgrade it"
	if _, err := Setup(t.Context(), server.URL(), SetupOptions{SampleSchema: true}); err == nil || err.Error() != want {
		t.Errorf("Setup = %v; want %s", err, want)
	}
	report, err := CheckPlan(t.Context(), server.URL(), plan.Bundled(), plan.Options{})
	if err != nil || report.Err() == nil || report.Err().Error() != want {
		t.Errorf("CheckPlan = %v, %v; want %s", report, err, want)
	}
}
