package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// The files that operators copy. What is tested with them is what they say.
const (
	natsConfFile   = "../../deploy/nats/nats.conf"
	rolesFile      = "../../deploy/postgres/roles.sql"
	ledgerFile     = "../../deploy/postgres/ledger.sql"
	chatSchemaFile = "../repo/migrations/chat.sql"
)

// observer is the test's own user, whom the files don't know.
const observer = "observer"

// natsConf reads deploy/nats anew, with passwords like the users' names.
func natsConf(t testing.TB) *server.Options {
	t.Helper()
	natsPasswords()
	o, err := server.ProcessConfigFile(natsConfFile)
	must(t, err)
	return o
}

// natsPasswords sets the variables that the configuration asks for, once, since
// they belong to the process.
var natsPasswords = sync.OnceFunc(func() {
	for _, user := range []string{"setup", "worker", "gateway", "presence", "operator"} {
		if err := os.Setenv("NATS_"+strings.ToUpper(user)+"_PASSWORD", user); err != nil {
			panic("BUG: " + err.Error())
		}
	}
})

// lockedNATS is a nats-server with the very configuration of deploy/nats, but for
// where it listens and stores, and one more user for the test to look on.
func lockedNATS(t testing.TB) *localstack.NATS {
	t.Helper()
	return localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
		c := natsConf(t)
		c.Host, c.Port, c.StoreDir, c.HTTPPort, c.NoSigs = o.Host, o.Port, o.StoreDir, 0, true
		for _, a := range c.Accounts {
			if a.Name == "LETHE" {
				c.Users = append(c.Users, &server.User{Username: observer, Password: observer, Account: a})
			}
		}
		*o = *c
	}})
}

// lockedUser is a user of deploy/nats with its password and inbox.
type lockedUser struct{ name, password string }

var (
	setupUser    = lockedUser{"setup", "setup"}
	workerUser   = lockedUser{"worker", "worker"}
	gatewayUser  = lockedUser{"gateway-demo", "gateway"}
	presenceUser = lockedUser{"presence-demo", "presence"}
	operatorUser = lockedUser{"operator", "operator"}
)

// env are the variables by which the worker's program is this user.
func (u lockedUser) env(n *localstack.NATS) []string {
	return []string{
		"NATS_URL=" + strings.Replace(n.URL(), "nats://", "nats://"+u.name+":"+u.password+"@", 1),
		"LETHE_NATS_INBOX_PREFIX=_INBOX_" + u.name,
	}
}

// connect connects as this user.
func (u lockedUser) connect(t testing.TB, n *localstack.NATS, opts ...nats.Option) *nats.Conn {
	t.Helper()
	opts = append(opts, nats.UserInfo(u.name, u.password), nats.CustomInboxPrefix("_INBOX_"+u.name), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	nc, err := n.Connect(opts...)
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// newLockedRig is a rig on the files of deploy/, set up step by step as the
// compose file does, with programs that are no more than the worker's user and role.
func newLockedRig(t *testing.T) *rig {
	t.Helper()
	_, address := ownPostgres(t) // roles belong to the whole server
	return lockedRigOn(t, address)
}

// lockedRigOn is newLockedRig on a database of a server that is the test's own.
func lockedRigOn(t *testing.T, address string) *rig {
	t.Helper()
	r := newRig(t, onServer(lockedNATS(t)), onDatabase(address), withoutSetup(), connecting(nats.UserInfo(observer, observer)))
	for _, file := range []string{chatSchemaFile, rolesFile, rolesFile} { // the roles' may be run again
		r.exec(t, readFile(t, file))
	}
	r.must(t, append(r.as(t, setupUser, "lethe_setup"), "setup")...)
	for range 2 {
		r.execAs(t, "lethe_setup", readFile(t, ledgerFile))
	}
	r.env = append(r.env, r.as(t, workerUser, "lethe_worker")...)
	r.record(t)
	return r
}

// as are settings by which a call of the worker's program has another user and
// another role.
func (r *rig) as(t testing.TB, u lockedUser, role string) []string {
	t.Helper()
	return append(u.env(r.nats), "DATABASE_URL="+asRole(t, r.dbURL, role))
}

// execAs runs SQL as a role.
func (r *rig) execAs(t testing.TB, role, sql string) {
	t.Helper()
	if err := r.tryAs(t, role, sql); err != nil {
		t.Fatalf("as %s: %v", role, err)
	}
}

// tryAs runs SQL as a role in a transaction, which it commits.
func (r *rig) tryAs(t testing.TB, role, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), asRole(t, r.dbURL, role))
	must(t, err)
	defer func() { must(t, conn.Close(t.Context())) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}
