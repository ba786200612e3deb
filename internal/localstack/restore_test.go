package localstack

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestARestoreGoesBackToTheMoment(t *testing.T) {
	t.Parallel()
	p, err := StartPostgres(t.Context(), PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	b, err := p.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	now := func(sql string) (at time.Time) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), p.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRow(t.Context(), "select clock_timestamp()").Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	moment := now("create table t as select 1 as n")
	now("insert into t values (2)")
	if err := b.Restore(t.Context(), p, moment); err != nil {
		t.Fatal(err)
	}
	now("insert into t values (3)") // it takes writes
	conn, err := pgx.Connect(t.Context(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var got string
	if err := conn.QueryRow(t.Context(), "select string_agg(n::text, ' ' order by n) from t").Scan(&got); err != nil || got != "1 3" {
		t.Errorf("rows %q, %v; want those of the moment, and the one written after it", got, err)
	}
}
