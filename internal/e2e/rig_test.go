// Package e2e tests the worker's binary from the outside: a real nats-server, a
// real Postgres, real processes. What it expects is the contract, and not the
// code. It has test files only.
package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/repo"
)

func TestMain(m *testing.M) { localtest.WaitingMain(m, removeBinary) }

// timeout is how long a test waits for what should happen within milliseconds,
// on a machine that has other things to do.
var timeout = time.Duration(sized(90, 600)) * time.Second

// ackWait is that of all workers here: redelivery after a crash is quick.
const ackWait = "2s"

// rig is what one test has for itself: a nats-server, a database that a worker's
// setup has prepared, and a record of all events from the beginning.
type rig struct {
	names  conversation.Names
	domain string           // of JetStream; "" for the server's
	nats   *localstack.NATS // nil on a cluster
	url    string           // of NATS
	nc     *nats.Conn
	js     jetstream.JetStream
	client *conversation.Client

	dbURL string
	db    *pgxpool.Pool

	program string   // the worker's; "" for the one that all tests share
	env     []string // of all the worker's processes
	*recorder
}

// rigConfig is what a test may want otherwise.
type rigConfig struct {
	names   conversation.Names
	domain  string
	nats    localstack.NATSOptions
	server  *localstack.NATS // instead of one of its own
	cluster *localstack.NATSCluster
	dbURL   string   // instead of a database on the shared Postgres
	setup   []string // more settings of `worker setup`
	noSetup bool
	schema  string // SQL, run before the setup
	env     []string
	connect []nats.Option // of the test's own connection
}

// prepared is a database in which the setup has nothing left to do.
var prepared = localtest.Template{Make: func(ctx context.Context, address string) error {
	_, err := repo.Setup(ctx, address, repo.SetupOptions{SampleSchema: true})
	return err
}}

// rigOption changes a rigConfig.
type rigOption func(*rigConfig)

// inShard makes all workers and commands of the rig those of a shard.
func inShard(name string) rigOption {
	return func(c *rigConfig) {
		c.names, c.env = c.names.InShard(conversation.Shard(name)), append(c.env, "LETHE_SHARD="+name)
	}
}

// withPrefix makes all names of the rig those of an installation with a prefix.
func withPrefix(prefix string) rigOption {
	return func(c *rigConfig) {
		names, err := conversation.NewNames(prefix)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		c.names, c.env = names.InShard(c.names.Shard()), append(c.env, "LETHE_SUBJECT_PREFIX="+prefix)
	}
}

// inDomain makes the rig's JetStream that of a domain.
func inDomain(domain string) rigOption {
	return func(c *rigConfig) { c.domain, c.env = domain, append(c.env, "LETHE_NATS_DOMAIN="+domain) }
}

// onNATS makes the rig's own nats-server with these options.
func onNATS(o localstack.NATSOptions) rigOption { return func(c *rigConfig) { c.nats = o } }

// onServer uses a nats-server that the test has started, and closes.
func onServer(s *localstack.NATS) rigOption { return func(c *rigConfig) { c.server = s } }

// onCluster uses a cluster of nats-servers.
func onCluster(c *localstack.NATSCluster) rigOption { return func(r *rigConfig) { r.cluster = c } }

// onDatabase uses a database of the test's own.
func onDatabase(url string) rigOption { return func(c *rigConfig) { c.dbURL = url } }

// withSetup adds settings to `worker setup`; see rig.start.
func withSetup(settings ...string) rigOption {
	return func(c *rigConfig) { c.setup = append(c.setup, settings...) }
}

// withoutSetup leaves database and streams empty. Nothing is recorded until
// rig.record is called.
func withoutSetup() rigOption { return func(c *rigConfig) { c.noSetup = true } }

// withSchema runs SQL in the database before the setup.
func withSchema(sql string) rigOption { return func(c *rigConfig) { c.schema = sql } }

// withEnv sets variables (NAME=value) of every process of the worker.
func withEnv(vars ...string) rigOption {
	return func(c *rigConfig) { c.env = append(c.env, vars...) }
}

// connecting adds options to the test's own connection to NATS.
func connecting(opts ...nats.Option) rigOption {
	return func(c *rigConfig) { c.connect = append(c.connect, opts...) }
}

// newRig prepares everything but a running worker.
func newRig(t *testing.T, opts ...rigOption) *rig {
	t.Helper()
	var c rigConfig
	for _, opt := range opts {
		opt(&c)
	}
	r := &rig{names: c.names, domain: c.domain, nats: c.server, dbURL: c.dbURL, recorder: newRecorder()}
	switch {
	case c.cluster != nil:
		r.url = c.cluster.URL()
	case r.nats == nil:
		r.nats = localtest.NATS(t, c.nats)
	}
	if r.nats != nil {
		r.url = r.nats.URL()
	}
	switch {
	case r.dbURL != "":
	case c.noSetup || c.schema != "":
		r.dbURL = localtest.Database(t)
	default:
		r.dbURL = prepared.Database(t) // for the setup to find all there: migrations take long
	}
	r.env = append([]string{
		"NATS_URL=" + r.url, "DATABASE_URL=" + r.dbURL, "LETHE_ACK_WAIT=" + ackWait, "LOG_LEVEL=debug",
		"LETHE_FOREGROUND_BACKOFF=0", // a test that asks the database again and again isn't somebody to yield to
	}, c.env...)
	r.connect(t, c.connect...)
	if c.schema != "" {
		r.exec(t, c.schema)
	}
	if !c.noSetup {
		r.must(t, append([]string{"setup", "--sample-schema"}, c.setup...)...)
		r.record(t)
	}
	return r
}

// with is the same rig for another program of the worker.
func (r *rig) with(program string) *rig {
	other := *r
	other.program = program
	return &other
}

// connect opens the test's own connections.
func (r *rig) connect(t *testing.T, opts ...nats.Option) {
	t.Helper()
	var err error
	opts = append(opts, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	r.nc, err = nats.Connect(r.url, opts...)
	if err != nil {
		t.Fatalf("connect to NATS: %v", err)
	}
	t.Cleanup(r.nc.Close)
	if r.domain == "" {
		r.js, err = jetstream.New(r.nc)
	} else {
		r.js, err = jetstream.NewWithDomain(r.nc, r.domain)
	}
	if err != nil {
		t.Fatal(err)
	}
	shard := func(conversation.Command) string { return string(r.names.Shard()) }
	r.client, err = conversation.NewClient(r.nc, conversation.WithPrefix(r.names.Prefix()), conversation.WithDomain(r.domain), conversation.WithShard(shard))
	if err != nil {
		t.Fatal(err)
	}
	pc, err := pgxpool.ParseConfig(r.dbURL)
	if err != nil {
		t.Fatalf("%s: %v", r.dbURL, err)
	}
	pc.ConnConfig.RuntimeParams["application_name"], pc.ConnConfig.RuntimeParams["client_encoding"] = "e2e", "UTF8"
	pc.MaxConns = 40 // for what a test holds
	if r.db, err = pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), pc); err != nil {
		t.Fatalf("connect to Postgres: %v", err)
	}
	t.Cleanup(r.db.Close)
}

// exec runs SQL; without arguments it may be several statements.
func (r *rig) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := r.db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// one returns the only column of the only row of a query.
func one[T any](t testing.TB, r *rig, sql string, args ...any) T {
	t.Helper()
	rows, err := r.db.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// hold runs SQL in a transaction that stays open, with its locks, until release
// is called or the test ends.
func (r *rig) hold(t testing.TB, sql string, args ...any) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	tx, err := r.db.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	release = func() {
		_ = tx.Rollback(ctx) // the second time it is closed already
		cancel()
	}
	t.Cleanup(release)
	if _, err := tx.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return release
}

// eventually waits until cond holds.
func eventually(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	if !poll(limit, cond) {
		t.Fatalf("not within %v: %s", limit, what)
	}
}

// never watches for a while that cond doesn't come to hold.
func never(t testing.TB, watch time.Duration, what string, cond func() bool) {
	t.Helper()
	if poll(watch, cond) {
		t.Fatalf("it happened: %s", what)
	}
}

// poll tries cond every few milliseconds and reports whether it came to hold. What takes
// long isn't asked for as often: the questions of all tests would keep the machine busy.
func poll(limit time.Duration, cond func() bool) bool {
	const often, seldom = 5 * time.Millisecond, 20 * time.Millisecond
	end, slower := time.NewTimer(limit), time.NewTimer(100*often)
	defer end.Stop()
	defer slower.Stop()
	tick := time.NewTicker(often)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-slower.C:
			tick.Reset(seldom)
		case <-end.C:
			return cond()
		}
	}
	return true
}
