package repo

import (
	"context"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
)

// newRepo is a Repo on a fresh database with the ledger and the bundled schema.
// Its tables can be reached by its pool.
func newRepo(tb testing.TB) *Repo {
	tb.Helper()
	return openRepo(tb, Config{URL: newDatabase(tb), Plan: plan.Bundled()})
}

// bundled and bare are databases after the setup, with the bundled schema and with the ledger alone.
var bundled, bare = localtest.Template{Make: setupWith(SetupOptions{SampleSchema: true})}, localtest.Template{Make: setupWith(SetupOptions{})}

func setupWith(o SetupOptions) func(context.Context, string) error {
	return func(ctx context.Context, url string) error {
		_, err := Setup(ctx, url, o)
		return err
	}
}

// newDatabase is the address of a fresh database with the ledger and the bundled
// schema.
func newDatabase(tb testing.TB) string {
	tb.Helper()
	return bundled.Database(tb)
}

// newLedger is the address of a fresh database with the ledger.
func newLedger(tb testing.TB) string {
	tb.Helper()
	return bare.Database(tb)
}

// openRepo opens a Repo and closes it after the test.
func openRepo(tb testing.TB, cfg Config) *Repo {
	tb.Helper()
	r, err := Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.Close)
	return r
}

// execSQL runs one statement, or several without arguments.
func execSQL(tb testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	tb.Helper()
	if _, err := pool.Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// queryOne returns the one column of the one row that sql finds.
func queryOne[T any](tb testing.TB, pool *pgxpool.Pool, sql string, args ...any) T {
	tb.Helper()
	rows, err := pool.Query(tb.Context(), sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return v
}

// openPool connects to url, past the Repo.
func openPool(tb testing.TB, url string) *pgxpool.Pool {
	tb.Helper()
	conns, err := (&source{url: url}).newPools(tb.Context(), 4)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(conns.close)
	return conns.all[0]
}

// newRole makes a login role without any privilege and returns its name and the
// database's address as that role.
func newRole(tb testing.TB, address string) (name, as string) {
	tb.Helper()
	admin := openPool(tb, address)
	name = "worker_" + queryOne[string](tb, admin, `select current_database()::text`)
	execSQL(tb, admin, "create role "+name+" login password 'secret'")
	tb.Cleanup(func() {
		for _, sql := range []string{"drop owned by " + name, "drop role " + name} {
			if _, err := admin.Exec(context.Background(), sql); err != nil {
				tb.Error(err)
			}
		}
	})
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	q := u.Query()
	if q.Get("user") != "" {
		q.Set("user", name)
		q.Set("password", "secret")
	} else {
		u.User = url.UserPassword(name, "secret")
	}
	u.RawQuery = q.Encode()
	return name, u.String()
}

func errorLines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

func compareLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s = %q; want %d lines: %q", what, got, len(want), want)
	}
	for i := range got {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s = %s\nwant it to say: %s", what, got[i], want[i])
		}
	}
}

// mend is the statement that an error tells to run.
var mend = regexp.MustCompile(`run: ([^;\n]*)`)
