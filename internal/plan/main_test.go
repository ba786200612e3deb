package plan

import (
	_ "embed" // the tables and the plan of the tests
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

//go:embed testdata/social.sql
var socialTables string

//go:embed testdata/social.yaml
var socialPlan string

// openPool connects to a fresh, empty database.
func openPool(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(tb.Context(), localtest.Database(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
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
