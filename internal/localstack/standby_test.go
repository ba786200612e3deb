package localstack

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestAStandbyFollowsItsPrimary(t *testing.T) {
	t.Parallel()
	primary, err := StartPostgres(t.Context(), PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = primary.Close() })
	if err := primary.exec(t.Context(), "create table t as select 42 as answer"); err != nil {
		t.Fatal(err)
	}
	standby, err := primary.StartStandby(t.Context(), "follower", PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	conn, err := pgx.Connect(t.Context(), standby.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := primary.exec(t.Context(), "insert into t values (43)"); err != nil {
		t.Fatal(err)
	}
	for begun, n := time.Now(), 0; n != 2; {
		var standing bool
		if err := conn.QueryRow(t.Context(), "select count(*), pg_is_in_recovery() from t").Scan(&n, &standing); err != nil {
			t.Fatal(err)
		}
		if !standing || time.Since(begun) > 30*time.Second {
			t.Fatalf("in recovery: %t, %d rows; want a standby with 2", standing, n)
		}
	}
}

// What scripts/deps gets of another version has no pg_basebackup.
func TestAStandbyOfAnotherVersionFollowsItsPrimary(t *testing.T) {
	t.Parallel()
	primary, err := StartPostgres(t.Context(), PostgresOptions{Major: 17})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = primary.Close() })
	standby, err := primary.StartStandby(t.Context(), "follower", PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	if version, err := standby.Version(t.Context()); err != nil || version/10000 != 17 {
		t.Errorf("the standby's version is %d, %v; want 17", version, err)
	}
	conn, err := pgx.Connect(t.Context(), primary.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for begun, name := time.Now(), ""; name != "follower"; {
		_ = conn.QueryRow(t.Context(), "select application_name from pg_stat_replication").Scan(&name) // no row yet
		if time.Since(begun) > 30*time.Second {
			t.Fatal("the standby doesn't follow")
		}
	}
}
