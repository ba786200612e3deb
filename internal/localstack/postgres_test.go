package localstack

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresOptions{Settings: map[string]string{"work_mem": "7MB", "Application_Name": "it's"}})

	t.Run("takes settings with their quotes", func(t *testing.T) {
		t.Parallel()
		conn := connect(t, p.URL())
		if got := one(t, conn, "show work_mem"); got != "7MB" {
			t.Errorf("work_mem = %s; want 7MB", got)
		}
		if got := one(t, conn, "show application_name"); got != "it's" {
			t.Errorf("application_name = %s; want it's", got)
		}
	})
	t.Run("doesn't sync to disk unless durable", func(t *testing.T) {
		t.Parallel()
		if got := one(t, connect(t, p.URL()), "show fsync"); got != "off" {
			t.Errorf("fsync = %s; want off", got)
		}
	})
	t.Run("keeps other users out of its folder", func(t *testing.T) {
		t.Parallel()
		info, err := os.Stat(p.cluster.folder.path)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o700 {
			t.Errorf("mode = %v; want -rwx------", mode)
		}
	})
	t.Run("refuses a start while it runs", func(t *testing.T) {
		t.Parallel()
		if err := p.Start(t.Context()); err == nil {
			t.Error("Start = nil; want an error")
		}
	})
}

func TestDurablePostgresSyncsToDisk(t *testing.T) {
	t.Parallel()
	conn := connect(t, startPostgres(t, PostgresOptions{Durable: true}).URL())
	for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		if got := one(t, conn, "show "+setting); got != "on" {
			t.Errorf("%s = %s; want on", setting, got)
		}
	}
}

func TestPostgresKeepsDataAndAddress(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresOptions{})
	execute(t, connect(t, p.URL()), "create table kept (n int)")
	stops := []struct {
		name string
		stop func() error
	}{
		{"over a fast stop", func() error { return p.Stop(t.Context()) }},
		{"over an immediate stop", func() error { return p.StopImmediate(t.Context()) }},
		{"over a kill -9 of the server", func() error { return killServer(p) }},
	}
	for i, stop := range stops {
		conn := connect(t, p.URL())
		execute(t, conn, "insert into kept values ("+strconv.Itoa(i)+")")
		if err := stop.stop(); err != nil {
			t.Fatalf("%s: %v", stop.name, err)
		}
		if err := conn.Ping(t.Context()); err == nil {
			t.Errorf("%s: an old connection still answers", stop.name)
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatalf("%s: Start: %v", stop.name, err)
		}
		if got, want := one(t, connect(t, p.URL()), "select count(*)::text from kept"), strconv.Itoa(i+1); got != want {
			t.Errorf("%s: %s rows; want %s", stop.name, got, want)
		}
	}
}

// killServer kills the postmaster and waits until the process below the guard has
// gone.
func killServer(p *Postgres) error {
	said, err := os.ReadFile(p.cluster.pidFile())
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(said), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	<-p.cluster.server.done
	return nil
}

func TestClustersAreCopiesThatShareNothing(t *testing.T) {
	t.Parallel()
	made := map[string]int{}
	for range 3 {
		conn := connect(t, startPostgres(t, PostgresOptions{}).URL())
		execute(t, conn, "create table own ()") // in a shared folder the second would fail
		made[one(t, conn, "select system_identifier::text from pg_control_system()")]++
	}
	if len(made) > 2 { // the process's first is what initdb made, and the others are copies
		t.Errorf("system identifiers = %v; want at most two", made)
	}
}

func TestPostgresStopIsRepeatable(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresOptions{})
	for range 2 {
		if err := p.Stop(t.Context()); err != nil {
			t.Fatalf("Stop = %v; want nil", err)
		}
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatalf("Restart = %v; want nil", err)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatalf("second Restart = %v; want nil", err)
	}
}

func TestPostgresComesBackReadOnly(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresOptions{})
	standby := filepath.Join(p.DataDir(), "standby.signal")
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(standby, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := connect(t, p.URL()).Exec(t.Context(), "create table refused ()")
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "25006" {
		t.Fatalf("create table on a standby: %v; want SQLSTATE 25006", err)
	}
	if err := os.Remove(standby); err != nil {
		t.Fatal(err)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	execute(t, connect(t, p.URL()), "create table taken ()")
}

func TestPostgresSaysWhyItDidNotStart(t *testing.T) {
	t.Parallel()
	_, err := StartPostgres(t.Context(), PostgresOptions{Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("StartPostgres = %v; want an error with the server's own words", err)
	}
}

func TestPostgresWritesItsLog(t *testing.T) {
	t.Parallel()
	log := &tail{}
	p := startPostgres(t, PostgresOptions{Log: log})
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "ready to accept connections") {
		t.Errorf("log = %q; want the server's", log)
	}
}

func TestPostgresCloseRemovesEverything(t *testing.T) {
	t.Parallel()
	p, err := StartPostgres(t.Context(), PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	execute(t, connect(t, p.URL()), "create table gone ()")
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatalf("Close = %v; want nil", err)
		}
	}
	if exists(p.cluster.folder.path) {
		t.Errorf("%s is still there", p.cluster.folder.path)
	}
	if err := p.Start(t.Context()); err == nil {
		t.Error("Start after Close = nil; want an error")
	}
}
