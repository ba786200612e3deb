package e2e

import (
	"fmt"
	"os"
	"path/filepath"
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
	natsFolder     = "../../deploy/nats"
	rolesFile      = "../../deploy/postgres/roles.sql"
	ledgerFile     = "../../deploy/postgres/ledger.sql"
	chatSchemaFile = "../repo/migrations/chat.sql"
)

// Users of the test's own, whom the files don't know. They may do everything in
// their account: the observers look on, and the owner is whoever signs an app's
// users.
var (
	observer      = lockedUser{"observer", "observer"}             // of LETHE
	observerOther = lockedUser{"observer-other", "observer-other"} // of the app other
	ownerUser     = lockedUser{"owner-demo", "owner-demo"}         // of the app demo
)

// natsConf reads deploy/nats anew, with passwords like the users' names. It has
// the app other too, added as permissions.conf says. accounts is the file that
// nats.conf includes; change may alter each file.
func natsConf(t testing.TB, accounts string, change func(file, text string) string) *server.Options {
	t.Helper()
	natsPasswords()
	folder := t.TempDir()
	files, err := os.ReadDir(natsFolder)
	must(t, err)
	for _, f := range files {
		text := change(f.Name(), readFile(t, filepath.Join(natsFolder, f.Name())))
		switch f.Name() {
		case "nats.conf":
			text = replaceOnce(t, text, "include permissions.conf", "include "+accounts)
		case "permissions.conf":
			text = replaceOnce(t, text, "include app-demo.conf", "include app-demo.conf\n  include app-other.conf")
		case "app-demo.conf":
			must(t, os.WriteFile(filepath.Join(folder, "app-other.conf"), []byte(strings.ReplaceAll(text, "demo", "other")), 0o600))
		}
		must(t, os.WriteFile(filepath.Join(folder, f.Name()), []byte(text), 0o600))
	}
	o, err := server.ProcessConfigFile(filepath.Join(folder, "nats.conf"))
	must(t, err)
	return o
}

func replaceOnce(t testing.TB, text, old, with string) string {
	t.Helper()
	if n := strings.Count(text, old); n != 1 {
		t.Fatalf("%q is there %d times; want once", old, n)
	}
	return strings.Replace(text, old, with, 1)
}

// natsPasswords sets the variables that the configuration asks for, once, since
// they belong to the process.
var natsPasswords = sync.OnceFunc(func() {
	for _, user := range []string{"setup", "worker", "operator", "gateway", "gateway_everyone", "presence"} {
		for _, app := range []string{"", "_demo", "_other"} {
			if err := os.Setenv("NATS_"+strings.ToUpper(user)+"_PASSWORD"+app, user); err != nil {
				panic("BUG: " + err.Error())
			}
		}
	}
})

// lockedNATS is a nats-server with the very configuration of deploy/nats, but for
// where it listens and stores, and the test's own users.
func lockedNATS(t testing.TB, accounts string) *localstack.NATS {
	t.Helper()
	return localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
		lockedOptions(t, o, accounts, func(_, text string) string { return text })
	}})
}

// lockedOptions are those of lockedNATS.
func lockedOptions(t testing.TB, o *server.Options, accounts string, change func(file, text string) string) {
	t.Helper()
	c := natsConf(t, accounts, change)
	c.Host, c.Port, c.StoreDir, c.HTTPPort, c.NoSigs = o.Host, o.Port, o.StoreDir, 0, true
	for _, a := range c.Accounts {
		for _, u := range map[string][]lockedUser{"LETHE": {observer}, "demo": {ownerUser}, "other": {observerOther}}[a.Name] {
			c.Users = append(c.Users, &server.User{Username: u.name, Password: u.password, Account: a})
		}
	}
	*o = *c
}

// What nats.conf may include.
const (
	accountEach = "permissions.conf"
	oneAccount  = "one-account.conf"
)

// lockedUser is a user of deploy/nats with its password and inbox.
type lockedUser struct{ name, password string }

var (
	setupUser    = lockedUser{"setup", "setup"}
	workerUser   = lockedUser{"worker", "worker"}
	operatorUser = lockedUser{"operator", "operator"}
	setupApp     = lockedUser{"setup-demo", "setup"}
	gatewayUser  = lockedUser{"gateway-demo", "gateway"}
	everyoneUser = lockedUser{"gateway-everyone-demo", "gateway_everyone"}
	presenceUser = lockedUser{"presence-demo", "presence"}
)

// of is the same user of another app.
func (u lockedUser) of(app string) lockedUser {
	return lockedUser{strings.Replace(u.name, "-demo", "-"+app, 1), u.password}
}

// url is the server's address for this user.
func (u lockedUser) url(n *localstack.NATS) string {
	return strings.Replace(n.URL(), "nats://", "nats://"+u.name+":"+u.password+"@", 1)
}

// env are the variables by which the worker's program is this user.
func (u lockedUser) env(n *localstack.NATS) []string {
	return []string{"NATS_URL=" + u.url(n), "LETHE_NATS_INBOX_PREFIX=_INBOX_" + u.name}
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
	return newLockedRigOn(t, lockedNATS(t, accountEach))
}

// newLockedRigOn is newLockedRig with a server that has the users of deploy/nats.
func newLockedRigOn(t *testing.T, n *localstack.NATS) *rig {
	t.Helper()
	_, address := ownPostgres(t) // roles belong to the whole server
	return lockedRigOn(t, n, address)
}

// lockedRigOn is newLockedRigOn on a database of a server that is the test's own.
func lockedRigOn(t *testing.T, n *localstack.NATS, address string, opts ...rigOption) *rig {
	t.Helper()
	opts = append(opts, onServer(n), onDatabase(address), withoutSetup(), connecting(nats.UserInfo(observer.name, observer.password)))
	r := newRig(t, opts...)
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

// setupApp gives an app its stream, as the compose file does, and returns what
// was printed.
func (r *rig) setupApp(t testing.TB, app string, more ...string) string {
	t.Helper()
	localtest.NeedsNATS(t, "2.14.10")
	return r.must(t, append(append(r.setupAppCall(app), "setup-app", "--app", app), more...)...)
}

// setupAppCall are the users of setup-app.
func (r *rig) setupAppCall(app string) []string {
	u := setupApp.of(app)
	return append(setupUser.env(r.nats), "LETHE_APP_NATS_URL="+u.url(r.nats), "LETHE_APP_NATS_INBOX_PREFIX=_INBOX_"+u.name)
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
