package localtest

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/lethe-im/lethe/internal/localstack"
)

func TestMain(m *testing.M) { Main(m) }

func TestDatabaseIsTheTestsOwn(t *testing.T) {
	t.Parallel()
	for range 2 {
		t.Run("one", func(t *testing.T) {
			t.Parallel()
			conn, err := pgx.Connect(t.Context(), Database(t))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			if _, err := conn.Exec(t.Context(), "create table the_same_name ()"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPostgresIsShared(t *testing.T) {
	t.Parallel()
	if first, second := Postgres(t), Postgres(t); first != second {
		t.Errorf("Postgres = %p, then %p; want the same", first, second)
	}
}

func TestNATSIsTheTestsOwn(t *testing.T) {
	t.Parallel()
	first, second := NATS(t), NATS(t, localstack.NATSOptions{MaxPayload: 4096})
	if first.URL() == second.URL() {
		t.Errorf("both servers are at %s", first.URL())
	}
	conn, err := second.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.MaxPayload(); got != 4096 {
		t.Errorf("MaxPayload = %d; want 4096", got)
	}
}

func TestNATSHas(t *testing.T) {
	t.Parallel()
	have := numbers(server.VERSION)
	of := func(minor, patch int) string { return fmt.Sprintf("2.%d.%d", have[1]+minor, patch) }
	for want, all := range map[bool][][]string{
		true:  {{of(0, have[2])}, {of(-1, 99)}, {of(-2, 5), of(-1, 3)}, {of(-1, 99), of(0, 0)}},
		false: {{of(0, have[2]+1)}, {of(1, 0)}, {of(-1, 0), of(0, have[2]+1)}, {of(-1, 0), of(1, 0)}},
	} {
		for _, versions := range all {
			if NATSHas(versions...) != want {
				t.Errorf("%s has what came with %v = %t; want %t", server.VERSION, versions, !want, want)
			}
		}
	}
}

// make test-matrix reads what it logs.
func TestWhichServersTheseAre(t *testing.T) {
	t.Parallel()
	db, err := pgx.Connect(t.Context(), Postgres(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	nc, err := NATS(t).Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.ConnectedServerVersion() != server.VERSION {
		t.Errorf("nats-server says that it is %s; want %s", nc.ConnectedServerVersion(), server.VERSION)
	}
	t.Logf("servers: Postgres %s, nats-server %s", db.PgConn().ParameterStatus("server_version"), nc.ConnectedServerVersion())
}
