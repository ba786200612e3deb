package localstack

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestPgBouncerRestartsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	address := startPostgres(t, PostgresOptions{}).URL()
	b, err := StartPgBouncer(t.Context(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		conn, err := pgx.Connect(t.Context(), b.URL()+"&default_query_exec_mode=exec")
		if err != nil {
			t.Fatal(err)
		}
		var pid uint32
		if err := conn.QueryRow(t.Context(), `select pg_backend_pid()::int8`).Scan(&pid); err != nil || pid == conn.PgConn().PID() {
			t.Errorf("process %d, %v; want another one than PgBouncer's", pid, err)
		}
		_ = conn.Close(t.Context())
		if err := b.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := pgx.Connect(t.Context(), b.URL()); err == nil {
			t.Error("connected to a stopped PgBouncer")
		}
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := os.Stat(b.folder.path); !os.IsNotExist(err) {
		t.Errorf("%s: %v; want it gone", b.folder.path, err)
	}
}
