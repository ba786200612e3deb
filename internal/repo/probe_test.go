package repo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// wantProbe fails unless the probe fails for the infrastructure with the cause, on
// one line that holds the text.
func wantProbe(tb testing.TB, r *Repo, cause, text string) {
	tb.Helper()
	err := r.Probe(tb.Context())
	if err == nil {
		tb.Errorf("Probe = nil; want %s: %s", cause, text)
		return
	}
	if fault, got := purge.FaultOf(err); fault != purge.Infrastructure || got != cause {
		tb.Errorf("FaultOf(%v) = %v, %s; want infrastructure, %s", err, fault, got, cause)
	}
	if s := err.Error(); !strings.Contains(s, text) || strings.ContainsAny(s, "\n\t") {
		tb.Errorf("Probe = %q; want one line with %q", s, text)
	}
}

func wantHealthy(tb testing.TB, r *Repo) {
	tb.Helper()
	if err := r.Probe(tb.Context()); err != nil {
		tb.Errorf("Probe = %v; want nil", err)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	t.Run("is content with a healthy database and leaves nothing there", probeHealthy)
	t.Run("names each grant that is gone, and is content when it is back", probeGrants)
	t.Run("says that the database is read-only", probeReadOnly)
	t.Run("says which setup or column is missing", probeMissing)
	t.Run("tells a stopped server and a standby, and is content after them", probeServer)
}

func probeHealthy(t *testing.T) {
	t.Parallel()
	for _, r := range []*Repo{newRepo(t), newSocial(t)} { // without and with foreign keys to the messages
		wantHealthy(t, r)
		wantHealthy(t, r)
		if n := queryOne[int](t, r.pool, `select count(*) from lethe.commands`); n != 0 {
			t.Errorf("%d commands in the ledger; want none", n)
		}
		if n := len(r.sql.all()); n < 20 {
			t.Errorf("%d statements were explained; want all", n)
		}
	}
}

// probeGrants works as a role with just the grants that the worker needs, and
// takes each away in turn.
func probeGrants(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openPool(t, url)
	role, as := newRole(t, url)
	needs := map[string]string{
		"lethe.commands": "select insert delete", "lethe.deletions": "select insert update delete", "lethe.apps": "select",
		"lethe.enumerations": "select insert update delete", "lethe.watermarks": "select insert update",
		"chat.messages": "select update delete", "chat.conversations": "select update delete",
		"chat.reactions": "select update delete", "chat.attachments": "select update delete",
	}
	execSQL(t, admin, "grant usage on schema lethe, chat to "+role)
	for table, privileges := range needs {
		execSQL(t, admin, fmt.Sprintf("grant %s on %s to %s", strings.ReplaceAll(privileges, " ", ", "), table, role))
	}
	r := openRepo(t, Config{URL: as, Plan: plan.Bundled()})
	wantHealthy(t, r)
	for table, privileges := range needs {
		for p := range strings.FieldsSeq(privileges) {
			execSQL(t, admin, fmt.Sprintf("revoke %s on %s from %s", p, table, role))
			schema, name, _ := strings.Cut(table, ".")
			wantProbe(t, r, "permission", fmt.Sprintf("grant %s on %s to ", p, pgx.Identifier{schema, name}.Sanitize()))
			execSQL(t, admin, fmt.Sprintf("grant %s on %s to %s", p, table, role))
		}
	}
	wantHealthy(t, r)
	execSQL(t, admin, "revoke usage on schema chat from "+role)
	wantProbe(t, r, "permission", `grant usage on schema "chat"`)
}

func probeReadOnly(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	set := func(value string) {
		execSQL(t, r.pool, `begin read write; do $$ begin
			execute format('alter database %I set default_transaction_read_only = `+value+`', current_database()); end $$; commit`)
	}
	set("on")
	wantProbe(t, r, "read_only", "the database is read-only")
	set("off")
	wantHealthy(t, r)
}

func probeMissing(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	execSQL(t, r.pool, `alter table chat.reactions rename column seq to position`)
	wantProbe(t, r, "configuration", "seq")
	execSQL(t, r.pool, `alter table chat.reactions rename column position to seq`)
	wantHealthy(t, r)
	execSQL(t, r.pool, `alter table lethe.apps rename to appendix`)
	wantProbe(t, r, "configuration", "worker setup")
	execSQL(t, r.pool, `drop schema lethe cascade`)
	wantProbe(t, r, "configuration", "worker setup")
}

// ownServer starts a Postgres server for the test alone, and opens a Repo there with
// the sample schema.
func ownServer(t *testing.T) (*localstack.Postgres, *Repo) {
	t.Helper()
	server, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := Setup(t.Context(), server.URL(), SetupOptions{SampleSchema: true}); err != nil {
		t.Fatal(err)
	}
	return server, openRepo(t, Config{URL: server.URL(), Plan: plan.Bundled()})
}

// probeServer has its own server.
func probeServer(t *testing.T) {
	t.Parallel()
	server, r := ownServer(t)
	wantHealthy(t, r)
	signal := filepath.Join(server.DataDir(), "standby.signal")
	for _, step := range []func() error{
		func() error { return server.Stop(t.Context()) },
		func() error { wantProbe(t, r, "connection", "connect"); return nil },
		func() error { return os.WriteFile(signal, nil, 0o644) }, //nolint:gosec // the server runs as somebody else
		func() error { return server.Start(t.Context()) },
		func() error { wantProbe(t, r, "read_only", "standby"); return nil },
		func() error { return server.Stop(t.Context()) },
		func() error { return os.Remove(signal) },
		func() error { return server.Start(t.Context()) },
		func() error { wantHealthy(t, r); return nil },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

// A publication may look at columns that the replica identity lacks; the server says so
// only where rows are deleted.
func TestProbeSaysWhatAPublicationsFilterNeeds(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openPool(t, url)
	if queryOne[int](t, admin, `select current_setting('server_version_num')::int`) < 150000 {
		return // row filters came with 15
	}
	r := openRepo(t, Config{URL: url, Plan: plan.Bundled()})
	execSQL(t, admin, `create publication filtered for table chat.messages where (sender_id <> '')`)
	if err := r.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "replica identity full") {
		t.Errorf("Probe = %v; want advice", err)
	}
	execSQL(t, admin, `alter table chat.messages replica identity full`)
	wantHealthy(t, r)
}
