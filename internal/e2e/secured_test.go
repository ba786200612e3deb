package e2e

import (
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// oneDeletion takes a deletion from `worker send --wait` to its event.
func oneDeletion(t *testing.T, r *rig, settings ...string) {
	t.Helper()
	w := r.start(t, settings...)
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 20)
	r.must(t, append(settings, "send", "--app", "demo", "--user", "alice", "--conversation", c.id, "--wait")...)
	r.wantLeft(t, c, left{})
	w.term(t)
}

func TestNATSWithCertificatesOnBothSides(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	serverCert, serverKey := ca.issue(t, "server")
	clientCert, clientKey := ca.issue(t, "client")
	config, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: serverCert, KeyFile: serverKey, CaFile: ca.file, Verify: true, Timeout: 5})
	must(t, err)
	n := localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
		o.TLSConfig, o.TLSTimeout, o.TLSVerify = config, 5, true
	}})
	mutual := []string{"LETHE_NATS_TLS_CA=" + ca.file, "LETHE_NATS_TLS_CERT=" + clientCert, "LETHE_NATS_TLS_KEY=" + clientKey}
	r := newRig(t, onServer(n), withEnv(mutual...), connecting(nats.RootCAs(ca.file), nats.ClientCert(clientCert, clientKey)))
	oneDeletion(t, r)

	const unknown = "certificate signed by unknown authority"
	wrong := "LETHE_NATS_TLS_CA=" + stranger.file
	refused(t, r.call(t, wrong, "send", "--app", "demo", "--user", "alice", "--conversation", "c"), "send with the wrong authority", unknown)
	r.launch(t, wrong).awaitNotReady(t, unknown)
	r.launch(t, "LETHE_NATS_TLS_CERT=", "LETHE_NATS_TLS_KEY=").awaitNotReady(t, "tls: certificate required", "no connection to NATS")
}

// signedUser writes the credentials of a user of the account.
func signedUser(t testing.TB, account nkeys.KeyPair, name string, allow func(*jwt.Permissions)) string {
	t.Helper()
	key, err := nkeys.CreateUser()
	must(t, err)
	public, err := key.PublicKey()
	must(t, err)
	claims := jwt.NewUserClaims(public)
	claims.Name = name
	if allow != nil {
		allow(&claims.Permissions)
	}
	token, err := claims.Encode(account)
	must(t, err)
	seed, err := key.Seed()
	must(t, err)
	creds, err := jwt.FormatUserConfig(token, seed)
	must(t, err)
	file := filepath.Join(t.TempDir(), name+".creds")
	must(t, os.WriteFile(file, creds, 0o600))
	return file
}

// signedAccount makes an account that the operator vouches for; for JetStream
// unless it is the system's.
func signedAccount(t testing.TB, operator nkeys.KeyPair, resolver server.AccountResolver, name string,
	change ...func(nkeys.KeyPair, *jwt.AccountClaims),
) (account nkeys.KeyPair, public string) {
	t.Helper()
	account, err := nkeys.CreateAccount()
	must(t, err)
	public, err = account.PublicKey()
	must(t, err)
	claims := jwt.NewAccountClaims(public)
	claims.Name = name
	if name != "SYS" {
		claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	}
	for _, c := range change {
		c(account, claims)
	}
	token, err := claims.Encode(operator)
	must(t, err)
	must(t, resolver.Store(public, token))
	return account, public
}

// signedNATS is a server that trusts the operator.
func signedNATS(t testing.TB, operator nkeys.KeyPair, resolver server.AccountResolver, system string) *localstack.NATS {
	t.Helper()
	public, err := operator.PublicKey()
	must(t, err)
	claims := jwt.NewOperatorClaims(public)
	claims.SystemAccount = system
	token, err := claims.Encode(operator)
	must(t, err)
	trusted, err := jwt.DecodeOperatorClaims(token)
	must(t, err)
	return localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
		o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{trusted}, resolver, system
	}})
}

// An account for an app where accounts are JWTs: what permissions.conf exports by
// an account's name is private here, and an activation names the account.
func TestAnAppsAccountOfAnOperator(t *testing.T) {
	t.Parallel()
	localtest.NeedsNATS(t, "2.14.10")
	operator, err := nkeys.CreateOperator()
	must(t, err)
	resolver := &server.MemAccResolver{}
	_, system := signedAccount(t, operator, resolver, "SYS")
	shared := []struct {
		subject jwt.Subject
		kind    jwt.ExportType
		local   jwt.RenamingSubject
	}{
		{"conversation.delete.demo", jwt.Service, ""},
		{"conversation.*.demo.*", jwt.Stream, ""},
		{"lethe.events.demo", jwt.Stream, ""},
		{"$JS.API.CONSUMER.RESET.CONVERSATION_EVENTS.demo", jwt.Service, "lethe.api.CONSUMER.RESET.CONVERSATION_EVENTS.demo"},
		{"$JS.FC.CONVERSATION_EVENTS.demo.*", jwt.Service, ""},
	}
	lethe, letheKey := signedAccount(t, operator, resolver, "LETHE", func(_ nkeys.KeyPair, c *jwt.AccountClaims) {
		for _, s := range shared {
			c.Exports.Add(&jwt.Export{Subject: s.subject, Type: s.kind, TokenReq: true})
		}
	})
	imports := func(of string) func(nkeys.KeyPair, *jwt.AccountClaims) {
		return func(account nkeys.KeyPair, c *jwt.AccountClaims) {
			for _, s := range shared {
				if of == "" {
					of = c.Subject
				}
				activation := jwt.NewActivationClaims(of)
				activation.ImportSubject, activation.ImportType = s.subject, s.kind
				token, err := activation.Encode(lethe)
				must(t, err)
				c.Imports.Add(&jwt.Import{Account: letheKey, Subject: s.subject, Type: s.kind, LocalSubject: s.local, Token: token})
			}
		}
	}
	demo, demoKey := signedAccount(t, operator, resolver, "demo", imports(""))
	thief, _ := signedAccount(t, operator, resolver, "thief", imports(demoKey)) // with the activation of another account
	n := signedNATS(t, operator, resolver, system)
	setup, app := signedUser(t, lethe, "setup", nil), signedUser(t, demo, "setup-demo", nil)
	r := newRig(t, onServer(n), withEnv("LETHE_NATS_CREDS="+setup), connecting(nats.UserCredentials(setup)))
	r.must(t, "LETHE_APP_NATS_URL="+n.URL(), "LETHE_APP_NATS_CREDS="+app, "setup-app", "--app", "demo")
	r.start(t)
	nc, err := n.Connect(nats.UserCredentials(app))
	must(t, err)
	t.Cleanup(nc.Close)
	client, err := conversation.NewClient(nc)
	must(t, err)
	feed, err := client.Follow(t.Context(), "demo", "alice")
	must(t, err)
	defer feed.Close()
	receipt, err := client.Delete(t.Context(), chat{"demo", "alice", "c2c_bob"}.ask())
	must(t, err)
	if e, err := feed.Next(t.Context()); err != nil || e.CommandID() != receipt.CommandID || e.Sequence == 0 {
		t.Errorf("event = %+v, %v; want that of %s, as it is stored", e, err, receipt.CommandID)
	}
	if _, err := n.Connect(nats.UserCredentials(signedUser(t, thief, "thief", nil))); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("an account with the activation of another one: %v; want that the server doesn't know it", err)
	}
}

func TestNATSWithCredentialsOfAnOperator(t *testing.T) {
	t.Parallel()
	operator, err := nkeys.CreateOperator()
	must(t, err)
	resolver := &server.MemAccResolver{}
	_, system := signedAccount(t, operator, resolver, "SYS")
	account, _ := signedAccount(t, operator, resolver, "LETHE")
	foreign, err := nkeys.CreateAccount() // nobody vouches for it
	must(t, err)
	n := signedNATS(t, operator, resolver, system)
	admin := signedUser(t, account, "admin", nil)
	r := newRig(t, onServer(n), withEnv("LETHE_NATS_CREDS="+admin), connecting(nats.UserCredentials(admin)))
	worker := signedUser(t, account, "worker", func(p *jwt.Permissions) {
		p.Pub.Allow.Add("conversation.>", "$JS.API.CONSUMER.>", "$JS.API.STREAM.INFO.*", "$JS.API.DIRECT.GET.>", "$JS.ACK.>")
		p.Sub.Allow.Add("conversation.>", "_INBOX_worker.>")
	})
	oneDeletion(t, r, "LETHE_NATS_CREDS="+worker, "LETHE_NATS_INBOX_PREFIX=_INBOX_worker")
	r.launch(t, "LETHE_NATS_CREDS="+worker).awaitNotReady(t, "not allowed to subscribe to _INBOX.")

	unknown := "LETHE_NATS_CREDS=" + signedUser(t, foreign, "unknown", nil)
	refused(t, r.call(t, unknown, "send", "--app", "demo", "--user", "alice", "--conversation", "c"), "send as somebody unknown", "Authorization Violation")
	r.launch(t, unknown).awaitNotReady(t, "check the credentials")
}

func TestPostgresWithACertificateThatIsVerified(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	_, port, err := net.SplitHostPort(freeAddress(t))
	must(t, err)
	pg, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{Settings: map[string]string{"listen_addresses": "127.0.0.1", "port": port}})
	must(t, err)
	t.Cleanup(func() { must(t, pg.Close()) })
	address, _, err := pg.CreateDatabase(t.Context())
	must(t, err)
	r := newRig(t, onDatabase(address))
	certFile, keyFile := ca.issue(t, "postgres")
	giveTo(t, pg, certFile, "server.crt")
	giveTo(t, pg, keyFile, "server.key")
	for _, sql := range []string{"alter system set ssl = on", "select pg_reload_conf()"} {
		r.exec(t, sql)
	}
	eventually(t, timeout, "Postgres speaks TLS", func() bool { return one[string](t, r, "show ssl") == "on" })

	u, err := url.Parse(address)
	must(t, err)
	over := func(host, authority string) string {
		return "DATABASE_URL=postgres://postgres@" + net.JoinHostPort(host, port) + u.Path + "?sslmode=verify-full&sslrootcert=" + authority
	}
	w := r.start(t, over("127.0.0.1", ca.file))
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 20)
	r.onlyDeletedOf(t, c.ask(), 20)
	if n := one[int](t, r, `select count(*)::int from pg_stat_ssl s join pg_stat_activity a using (pid)
		where a.datname = current_database() and a.application_name <> 'e2e' and not s.ssl`); n > 0 {
		t.Errorf("%d connections of the worker are without TLS", n)
	}
	w.term(t)

	const unknown = "certificate signed by unknown authority"
	refused(t, r.call(t, over("127.0.0.1", stranger.file), "status", "x"), "status with the wrong authority", unknown)
	r.launch(t, over("127.0.0.1", stranger.file)).awaitNotReady(t, unknown)
	refused(t, r.call(t, over("localhost", ca.file), "status", "x"), "a host that isn't in the certificate", "localhost")
	res := r.call(t, over("127.0.0.1", ca.dir+"/missing.pem"), "status", "x")
	refused(t, res, "an authority that can't be read", "missing.pem")
}

// giveTo puts a copy of a file into the server's data, as its owner's.
func giveTo(t testing.TB, pg *localstack.Postgres, file, name string) {
	t.Helper()
	to := filepath.Join(pg.DataDir(), name)
	must(t, os.WriteFile(to, []byte(readFile(t, file)), 0o600))
	info, err := os.Stat(pg.DataDir())
	must(t, err)
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		must(t, os.Chown(to, int(owner.Uid), int(owner.Gid)))
	}
}
