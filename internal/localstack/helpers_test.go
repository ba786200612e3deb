package localstack

import (
	"context"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// deadline bounds what a test waits for.
const deadline = time.Minute

// testContext is for where there is no test to take one from.
func testContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), deadline)
}

// startPostgres starts a server that is closed after the test.
func startPostgres(t *testing.T, opts PostgresOptions) *Postgres {
	t.Helper()
	p, err := StartPostgres(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p
}

// connect connects to the address until the end of the test.
func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatalf("connect to %s: %v", address, err)
	}
	t.Cleanup(func() {
		ctx, cancel := testContext()
		defer cancel()
		_ = conn.Close(ctx) // the server may be gone
	})
	return conn
}

// execute runs a statement.
func execute(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// one is the one value of a query, as text.
func one(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	var value string
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// eventually polls until holds returns "", and fails with what it last returned.
func eventually(t *testing.T, holds func() string) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(deadline)
	for {
		missing := holds()
		if missing == "" {
			return
		}
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("after %v: %s", deadline, missing)
		}
	}
}

// exists reports whether there is something at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// openFolder is a folder of the test's own that every user can reach. Its path is
// short enough for a socket in a folder in it.
func openFolder(t *testing.T) string {
	t.Helper()
	parent := "/tmp"
	if available(memoryFolder) >= memoryEnough {
		parent = memoryFolder
	}
	folder, err := os.MkdirTemp(parent, "lethe-test-") //nolint:usetesting // t.TempDir's path is long and closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// names lists a folder.
func names(t *testing.T, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, fs.FormatDirEntry(entry))
	}
	return strings.Join(all, ", ")
}
