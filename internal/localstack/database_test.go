package localstack

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestCreateDatabase(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresOptions{})

	t.Run("makes databases that don't see each other", func(t *testing.T) {
		t.Parallel()
		var addresses [3]string
		for i := range addresses {
			address, _, err := p.CreateDatabase(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			addresses[i] = address
			execute(t, connect(t, address), "create table the_same_name ()")
		}
	})
	t.Run("sorts by byte value in UTF-8", func(t *testing.T) {
		t.Parallel()
		address, _, err := p.CreateDatabase(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn := connect(t, address)
		if got := one(t, conn, "select string_agg(c, '' order by c) from unnest(array['b','A','a','B','é']) c"); got != "ABabé" {
			t.Errorf("order = %s; want ABabé", got)
		}
	})
	t.Run("copies a database, which stays as it is", func(t *testing.T) {
		t.Parallel()
		original, _, err := p.CreateDatabase(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.Connect(t.Context(), original)
		if err != nil {
			t.Fatal(err)
		}
		execute(t, conn, "create table numbers as select generate_series(1, 3) n")
		if err := conn.Close(t.Context()); err != nil { // or it could not be copied
			t.Fatal(err)
		}
		address, _, err := p.CopyDatabase(t.Context(), original)
		if err != nil {
			t.Fatal(err)
		}
		execute(t, connect(t, address), "delete from numbers where n = 1")
		for database, want := range map[string]string{original: "3", address: "2"} {
			if got := one(t, connect(t, database), "select count(*)::text from numbers"); got != want {
				t.Errorf("%s has %s rows; want %s", database, got, want)
			}
		}
	})
	t.Run("drops a database that is in use, twice", func(t *testing.T) {
		t.Parallel()
		address, drop, err := p.CreateDatabase(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn := connect(t, address)
		for range 2 {
			if err := drop(t.Context()); err != nil {
				t.Fatalf("drop = %v; want nil", err)
			}
		}
		if err := conn.Ping(t.Context()); err == nil {
			t.Error("the database still answers")
		}
	})
}

// BenchmarkCreateDatabase is what a test with its own database pays for it.
func BenchmarkCreateDatabase(b *testing.B) {
	p, err := StartPostgres(b.Context(), PostgresOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			b.Error(err)
		}
	}()
	for b.Loop() {
		_, drop, err := p.CreateDatabase(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := drop(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDatabaseURL(t *testing.T) {
	theirs := startPostgres(t, PostgresOptions{})
	t.Setenv("DATABASE_URL", theirs.URL())
	p, err := OpenPostgres(t.Context(), PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.URL() != theirs.URL() {
		t.Errorf("URL = %s; want DATABASE_URL", p.URL())
	}
	if p.DataDir() != "" {
		t.Errorf("DataDir = %q; want none", p.DataDir())
	}
	address, drop, err := p.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	execute(t, connect(t, address), "create table mine ()")
	if err := drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := one(t, connect(t, p.URL()), "select count(*)::text from pg_database where datname like 'lethe%'"); got != "0" {
		t.Errorf("%s databases are left; want 0", got)
	}
	for name, call := range map[string]error{
		"Stop": p.Stop(t.Context()), "StopImmediate": p.StopImmediate(t.Context()),
		"Start": p.Start(t.Context()), "Restart": p.Restart(t.Context()),
	} {
		if !errors.Is(call, ErrNotOurs) {
			t.Errorf("%s = %v; want ErrNotOurs", name, call)
		}
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close = %v; want nil", err)
	}
	execute(t, connect(t, theirs.URL()), "create table still_there ()")
}

func TestAnErrorAboutDatabaseURLQuotesNoneOfIt(t *testing.T) {
	t.Setenv("DATABASE_URL", "password = hunter2 host")
	if _, err := OpenPostgres(t.Context(), PostgresOptions{}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("OpenPostgres = %v; want an error without the password", err)
	}
}

func TestOpenPostgresStartsOneWithoutDatabaseURL(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	p, err := OpenPostgres(t.Context(), PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !exists(p.DataDir()) {
		t.Errorf("DataDir = %q; want a folder", p.DataDir())
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWithDatabase(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"postgres://u:p@db.example:5433/app?sslmode=disable",
		"postgresql://u:p@db.example:5433?sslmode=disable&dbname=app",
		"postgres:///app?host=db.example&port=5433&user=u&password=p&sslmode=disable",
		"host=db.example port=5433 user=u password=p dbname=app sslmode=disable",
	} {
		got, err := withDatabase(address, "other")
		if err != nil {
			t.Fatalf("withDatabase(%q): %v", address, err)
		}
		config, err := pgx.ParseConfig(got)
		if err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		if config.Database != "other" || config.Host != "db.example" || config.Port != 5433 || config.User != "u" || config.Password != "p" {
			t.Errorf("withDatabase(%q) = %q: database %s on %s:%d as %s", address, got, config.Database, config.Host, config.Port, config.User)
		}
	}
	_, err := withDatabase("postgres://u:secret%zz@h/", "other")
	var parseErr *url.Error
	if err == nil || errors.As(err, &parseErr) || strings.Contains(err.Error(), "secret") {
		t.Errorf("withDatabase of a bad URL: %v; want an error without the password", err)
	}
}
