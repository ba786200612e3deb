// Package localtest gives tests the servers of package localstack. It is a
// package of its own so that nothing but tests links "testing".
//
// A package that uses Postgres or Database has
//
//	func TestMain(m *testing.M) { localtest.Main(m) }
package localtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/lethe-im/lethe/internal/localstack"
)

// dropTimeout bounds the removal of a test's database.
const dropTimeout = 30 * time.Second

// shared is this test binary's Postgres.
var shared struct {
	once   sync.Once
	server *localstack.Postgres
	err    error
}

// Postgres is the Postgres of this test binary, shared by its tests and started by
// the first: the one of DATABASE_URL, if set. Main closes it. A test that stops it
// or changes its settings starts its own with localstack.StartPostgres.
// Without server programs the test fails, and says what to install.
func Postgres(tb testing.TB) *localstack.Postgres {
	tb.Helper()
	shared.once.Do(func() {
		// Not the test's context: the server outlives the test.
		shared.server, shared.err = localstack.OpenPostgres(context.Background(), localstack.PostgresOptions{})
	})
	if shared.err != nil {
		tb.Fatalf("Postgres: %v", shared.err)
	}
	return shared.server
}

// NeedsPostgres skips a test of what Postgres has from a major version on, where
// Postgres(tb) is older. make test-matrix lists what was skipped.
func NeedsPostgres(tb testing.TB, major int) {
	tb.Helper()
	version, err := Postgres(tb).Version(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	if version/10000 < major {
		tb.Skipf("needs Postgres %d", major)
	}
}

// NeedsNATS skips a test of what nats-server has from a version on, such as 2.12.7,
// where that of NATS is older; see [NATSHas]. make test-matrix lists what was skipped.
func NeedsNATS(tb testing.TB, versions ...string) {
	tb.Helper()
	if !NATSHas(versions...) {
		tb.Skipf("needs nats-server %s", strings.Join(versions, " or "))
	}
}

// NATSHas reports whether the version of NATS has what came with these versions, one
// for each minor that got it as a patch.
func NATSHas(versions ...string) bool {
	have, newest := numbers(server.VERSION), []int(nil)
	for _, version := range versions {
		n := numbers(version)
		if slices.Equal(n[:2], have[:2]) {
			return slices.Compare(have, n) >= 0
		}
		if slices.Compare(n, newest) > 0 {
			newest = n
		}
	}
	return slices.Compare(have, newest) > 0
}

// numbers are those of a version like 2.12.7.
func numbers(version string) []int {
	all := make([]int, 3)
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &all[0], &all[1], &all[2]); err != nil {
		panic("BUG: version " + version + ": " + err.Error())
	}
	return all
}

// Database is the address of a fresh, empty database on Postgres(tb), for this
// test alone. It is dropped after the test, connected or not.
func Database(tb testing.TB) string {
	tb.Helper()
	return DatabaseIn(tb, "UTF8")
}

// DatabaseIn is Database with another encoding, as Postgres calls it.
func DatabaseIn(tb testing.TB, encoding string) string {
	tb.Helper()
	address, drop, err := Postgres(tb).CreateDatabaseIn(tb.Context(), encoding)
	return dropped(tb, address, drop, err)
}

// dropped drops a database that was created after the test, and returns its address.
func dropped(tb testing.TB, address string, drop func(context.Context) error, err error) string {
	tb.Helper()
	if err != nil {
		tb.Fatalf("create database: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
		defer cancel()
		if err := drop(ctx); err != nil {
			tb.Errorf("drop database: %v", err)
		}
	})
	return address
}

// NATS is a nats-server for this test alone, closed after it. At most one set of
// options is taken.
func NATS(tb testing.TB, opts ...localstack.NATSOptions) *localstack.NATS {
	tb.Helper()
	var options localstack.NATSOptions
	switch len(opts) {
	case 0:
	case 1:
		options = opts[0]
	default:
		tb.Fatalf("NATS: %d sets of options; want at most one", len(opts))
	}
	server, err := localstack.StartNATS(options)
	if err != nil {
		tb.Fatalf("nats-server: %v", err)
	}
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Errorf("close nats-server: %v", err)
		}
	})
	return server
}

// Cluster is a cluster of three nats-servers for this test alone, closed after it.
func Cluster(tb testing.TB) *localstack.NATSCluster {
	tb.Helper()
	cluster, err := localstack.StartNATSCluster(tb.Context(), 3)
	if err != nil {
		tb.Fatalf("cluster of nats-servers: %v", err)
	}
	tb.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			tb.Errorf("close the cluster: %v", err)
		}
	})
	return cluster
}

// Proxy stands before the server at a TCP address for this test alone.
func Proxy(tb testing.TB, address string) *localstack.Proxy {
	tb.Helper()
	proxy, err := localstack.OpenProxy(tb.Context(), "tcp", address, 0)
	if err != nil {
		tb.Fatalf("proxy: %v", err)
	}
	tb.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			tb.Errorf("close the proxy: %v", err)
		}
	})
	return proxy
}

// PgBouncer stands in transaction mode before the server of the database at address,
// for this test alone; see [localstack.StartPgBouncer].
func PgBouncer(tb testing.TB, address string, settings map[string]string, users ...string) *localstack.PgBouncer {
	tb.Helper()
	b, err := localstack.StartPgBouncer(tb.Context(), address, settings, users...)
	if err != nil {
		tb.Fatalf("PgBouncer: %v", err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Errorf("close PgBouncer: %v", err)
		}
	})
	return b
}

// WaitingMain is [Main] for tests that wait more than they work, and measure no time: 8 run at once, or as many as there are CPUs,
// unless -parallel says otherwise.
func WaitingMain(m *testing.M, cleanup ...func() error) {
	if err := flag.Set("test.parallel", strconv.Itoa(max(8, runtime.GOMAXPROCS(0)))); err != nil {
		panic("BUG: " + err.Error())
	}
	Main(m, cleanup...)
}

// Main runs the tests, closes the shared Postgres, cleans up, fails if a goroutine is left
// over, and exits. In a process that [Cluster] has started it serves instead.
func Main(m *testing.M, cleanup ...func() error) {
	localstack.ServeNATSNode()
	code := m.Run()
	if shared.server != nil {
		cleanup = append(cleanup, dropTemplates, shared.server.Close)
	}
	var errs []error
	for _, do := range cleanup {
		errs = append(errs, do())
	}
	if code == 0 {
		errs = append(errs, leftOver())
	}
	if err := errors.Join(errs...); err != nil {
		// In the form of a test that failed, so that whoever looks for names finds one.
		fmt.Fprintf(os.Stderr, "--- FAIL: TestMain (0.00s)\n    after the last test: %v\n", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// leakTimeout is how long goroutines may take to end after the last test, on a busy machine.
const leakTimeout = 10 * time.Second

// leftOver finds goroutines that don't end.
func leftOver() error {
	// A nats-server that is closed while it sets up a stream's source waits for the answer for up to 30 s.
	const source = "github.com/nats-io/nats-server/v2/server.(*stream).trySetupSourceConsumer.func"
	for start := time.Now(); ; { // Find backs off by itself
		// It is the second function up to 2.12.
		if err := goleak.Find(goleak.IgnoreTopFunction(source+"2"), goleak.IgnoreTopFunction(source+"3")); err == nil || time.Since(start) > leakTimeout {
			return err
		}
	}
}
