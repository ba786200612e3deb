package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/pages"
)

// newPage is a session for a page that a newcomer follows. What the pages call the servers at localhost are a cluster of
// Postgres with an empty database app, and a nats-server, for this test alone: it creates roles. The worker and psql are in PATH.
func newPage(t *testing.T) pages.Session {
	t.Helper()
	server, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{})
	must(t, err)
	t.Cleanup(func() { must(t, server.Close()) })
	admin, err := pgx.Connect(t.Context(), server.URL())
	must(t, err)
	_, err = admin.Exec(t.Context(), "create database app")
	must(t, err)
	socket := admin.Config().Host
	must(t, admin.Close(t.Context()))

	programs := t.TempDir()
	psql, env, err := server.Client("psql")
	must(t, err)
	must(t, os.Symlink(psql, filepath.Join(programs, "psql")))
	must(t, os.Symlink(workerBinary(t), filepath.Join(programs, "worker")))
	return pages.Session{
		Dir: t.TempDir(),
		Env: append(env, "PATH="+programs+":"+os.Getenv("PATH"), "HTTP_ADDR=127.0.0.1:0"),
		Instead: map[string]string{
			"postgres://postgres@localhost:5432/app": "postgres://postgres@/app?host=" + socket,
			"postgres://lethe@localhost:5432/app":    "postgres://lethe@/app?host=" + socket,
			"nats://localhost:4222":                  localtest.NATS(t).URL(),
		},
		Timeout: timeout,
		Log:     t.Output(),
	}
}

func TestTheFirstHourGoesAsThePageSays(t *testing.T) {
	t.Parallel()
	page := newPage(t)
	page.NotRun = map[string]string{
		"go install github.com/nats-io/nats-server": "the test has a server, of the version in go.mod",
		"docker run": "the test has a server, and no Docker",
		"go install github.com/lethe-im/lethe/cmd/worker": "the test has the worker of this checkout",
	}
	must(t, page.Run(t.Context(), "../../docs/start.md"))
}

func TestTheREADMERunsAsItSays(t *testing.T) {
	t.Parallel()
	checkout, err := filepath.Abs("../..")
	must(t, err)
	page := newPage(t)
	// The page's home is a folder of the test; Go's caches are in the real one.
	names := []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GOFLAGS"}
	settings, err := exec.CommandContext(t.Context(), "go", append([]string{"env"}, names...)...).Output()
	must(t, err)
	values := strings.Split(string(settings), "\n")
	for i, name := range names {
		page.Env = append(page.Env, name+"="+values[i])
	}
	page.Instead["git clone https://github.com/lethe-im/lethe && cd lethe"] = "cd " + checkout
	must(t, page.Run(t.Context(), filepath.Join(checkout, "README.md")))
}
