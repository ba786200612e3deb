package repo

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// No error about a connection string shows any part of it: where it is malformed,
// nobody can tell which part is the password.
func TestAMalformedURLIsNotShown(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	for _, text := range []string{
		"password = s3cr3t host", "password=s3cr3t host", "password='s3cr3t", "host=db password = 's3cr3t' port", "s3cr3t", "=s3cr3t", "host=db s3cr3t",
		"password=a s3cr3t x=1 dbname=d", "password=x\x00s3cr3t host=db", "host=db port=s3cr3t", "host=db connect_timeout=s3cr3t", "host=db sslmode=s3cr3t",
		"host=db target_session_attrs=s3cr3t", "host=db default_query_exec_mode=s3cr3t", "host=db statement_cache_capacity=s3cr3t", "host=db pool_max_conns=s3cr3t",
		"host=db channel_binding=s3cr3t", "host=db min_protocol_version=s3cr3t", "host=db require_auth=s3cr3t", "host=db sslcertmode=s3cr3t",
		"postgres://u:s3cr3t", "postgres://u:s3cr3t@", "postgres://u:s3cr3t@db:port/x", "postgres://u:s3cr3t@db:99999/x", "postgres://u:%zzs3cr3t@db/x",
		"postgres://u:a#s3cr3t@db/x", "postgres://u:a/s3cr3t@db/x", "postgres://u:1/s3cr3t@db/x", "postgres://u:1?s3cr3t@db/x", "postgres://u:a@s3cr3t@db/x",
		"postgres://u:a@s3cr3t/x@db/x", "postgres://u:[s3cr3t@db/x", "postgres://u:s3cr3t@[::1/x", "postgres://u:s3cr3t@db/x?sslmode=no", "postgres://u:s3cr3t @db/x",
		"postgresql://u:s3cr3t@db/x?connect_timeout=x", "postgres://u:p@db/x?a b=s3cr3t", "postgres://u:p@db,db2:1,2,3/x?password=s3cr3t&port=1,2,3",
		"postgres:/u:s3cr3t@db/x", "mysql://u:s3cr3t@db/x", "postgres://u:s3cr3t@db/x?default_query_exec_mode=exec", "postgres://u:s3cr3t\n@db/x", " postgres://u:s3cr3t@db/x",
		"postgres://u:s3cr3t@db/x?sslcert=/none&sslkey=/none&sslmode=require", "service=none password=s3cr3t", "host=db password=s3cr3t sslrootcert=/none sslmode=verify-full",
	} {
		for where, open := range map[string]func() error{
			"OpenLedger": func() error { l, err := OpenLedger(t.Context(), text); closeIf(l); return err },
			"Open":       func() error { _, err := Open(t.Context(), Config{URL: text, Plan: plan.Bundled()}); return err },
			"Setup":      func() error { _, err := Setup(t.Context(), text, SetupOptions{}); return err },
		} {
			if err := open(); err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s(%q) = %q, which shows it", where, text, err)
			}
		}
	}
}

func closeIf(l *Ledger) {
	if l != nil {
		l.Close()
	}
}

func TestHowStatementsAreSent(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"host=db": "cache statement, detect", "host=db statement_cache_capacity=0": "cache describe", "host=db default_query_exec_mode=cache_statement": "cache statement",
		"host=db statement_cache_capacity=0 description_cache_capacity=0": "describe exec", "host=db default_query_exec_mode=describe_exec": "describe exec",
		"host=db default_query_exec_mode=exec": "want cache_statement", "host=db default_query_exec_mode=simple_protocol": "want cache_statement",
	} {
		got := ""
		c, detect, err := parseURL(text)
		if err != nil {
			got = err.Error()
		} else if got = c.DefaultQueryExecMode.String(); detect {
			got += ", detect"
		}
		if !strings.Contains(got, want) || (got != want) == (err == nil) {
			t.Errorf("%q: %s; want %s", text, got, want)
		}
	}
}

// passwordServer is a server that wants a password of everybody but its superuser,
// with a database, and the role's address there without the password.
func passwordServer(t *testing.T) (admin *Repo, role string) {
	t.Helper()
	server, admin := ownServer(t)
	execSQL(t, admin.pool, `create role app login superuser password 'first'`)
	hba := "local all postgres trust\nlocal all all password\n"
	if err := os.WriteFile(filepath.Join(server.DataDir(), "pg_hba.conf"), []byte(hba), 0o644); err != nil { //nolint:gosec // the server runs as somebody else
		t.Fatal(err)
	}
	execSQL(t, admin.pool, `select pg_reload_conf()`)
	return admin, strings.Replace(server.URL(), "user=postgres", "user=app", 1)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A password that has changed is read again when a connection is made. Meanwhile that
// is an infrastructure fault, which heals by itself.
func TestARotatedPassword(t *testing.T) {
	t.Parallel()
	admin, address := passwordServer(t)
	passFile, urlFile := filepath.Join(t.TempDir(), "pgpass"), filepath.Join(t.TempDir(), "url")
	rotate := map[string]func(password string){
		"in_the_password_file":   func(p string) { write(t, passFile, "*:*:*:app:"+p+"\n") },
		"in_a_file_with_the_url": func(p string) { write(t, urlFile, "  "+address+"&password="+p+"\n") },
	}
	addresses := map[string]string{"in_the_password_file": address + "&passfile=" + url.QueryEscape(passFile), "in_a_file_with_the_url": "file:" + urlFile}
	repos := map[string]*Repo{}
	for how, to := range rotate {
		to("first")
		repos[how] = openRepo(t, Config{URL: addresses[how], Plan: plan.Bundled()})
	}
	execSQL(t, admin.pool, `alter role app password 'second'`)
	execSQL(t, admin.pool, `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'`)
	for how, r := range repos {
		r.conns.reset()
		_, err := r.Claim(t.Context(), deletion("1", "c"))
		if fault, _ := purge.FaultOf(err); fault != purge.Infrastructure || strings.Contains(fmt.Sprint(err), "first") {
			t.Errorf("%s: with the old password: %v (%v); want an infrastructure fault, without the password", how, err, fault)
		}
		rotate[how]("second")
		wantHealthy(t, r)
		bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion(how, how)}})
	}
	if err := os.Remove(urlFile); err != nil {
		t.Fatal(err)
	}
	wantProbe(t, repos["in_a_file_with_the_url"], "connection", "no such file")
}

// So is a client's certificate.
func TestARotatedCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	issue := func() string {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
		template := &x509.Certificate{SerialNumber: serial, NotBefore: now, NotAfter: now.Add(time.Hour)}
		cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
		write(t, filepath.Join(dir, "key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
		return string(cert)
	}
	first := issue()
	s := &source{url: fmt.Sprintf("postgres://127.0.0.1/x?sslmode=require&sslcert=%[1]s/crt&sslkey=%[1]s/key", dir)}
	pc, err := s.poolConfig(1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	second := issue()
	c := pc.ConnConfig.Copy()
	if was := string(c.TLSConfig.Certificates[0].Certificate[0]); was != first {
		t.Error("the first certificate was not read")
	}
	if err := pc.BeforeConnect(t.Context(), c); err != nil || string(c.TLSConfig.Certificates[0].Certificate[0]) != second {
		t.Errorf("a new connection takes the old certificate (%v); want the new one", err)
	}
}

// A role with few connections is slower, and no call fails.
func TestFewConnections(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 4} {
		t.Run(fmt.Sprint("a_role_may_have_", limit), func(t *testing.T) {
			t.Parallel()
			address := newDatabase(t)
			role, as := newRole(t, address)
			admin := openPool(t, address)
			grantAll(t, admin, as)
			execSQL(t, admin, fmt.Sprintf("alter role %s connection limit %d", role, limit))
			r := openRepo(t, Config{URL: as, Plan: plan.Bundled(), ExpressConns: 2})
			var all sync.WaitGroup
			for i := range 12 {
				all.Go(func() {
					for j := range 5 {
						name := fmt.Sprint(i, " ", j)
						if _, err := r.Bulk(t.Context(), purge.Batch{Deletions: []purge.Deletion{deletion(name, name)}, Budget: wide}); err != nil {
							t.Errorf("Express: %v", err)
						}
						if _, err := r.Claim(t.Context(), deletion(name, name)); err != nil {
							t.Errorf("Claim: %v", err)
						}
						if _, err := r.Watch(t.Context(), purge.Limits{}, true); err != nil {
							t.Errorf("Watch: %v", err)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// After a failover that nobody was told of, what is outstanding is given up within
// seconds, and the next try takes another connection; a transaction that merely takes
// long is left alone.
func TestAFailoverInSilence(t *testing.T) {
	t.Parallel()
	const enough = 5 * time.Second
	behind := map[string]func(t *testing.T, address string) string{
		"without_a_pooler": func(_ *testing.T, address string) string { return address },
		"behind_a_pooler": func(t *testing.T, address string) string {
			t.Helper()
			return localtest.PgBouncer(t, address, nil).URL()
		},
	}
	for name, to := range behind {
		open := func(t *testing.T) (r *Repo, direct *Repo, proxy *localstack.Proxy) {
			t.Helper()
			address := newDatabase(t)
			proxy, through, err := localstack.OpenPostgresProxy(t.Context(), to(t, address), 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := proxy.Close(); err != nil {
					t.Error(err)
				}
			})
			r = openRepo(t, Config{URL: through, Plan: plan.Bundled(), Target: 20 * time.Second})
			r.source.checkAfter = 500 * time.Millisecond
			direct = openRepo(t, Config{URL: address, Plan: plan.Bundled()})
			fillChat(t, direct, "c", 20)
			return r, direct, proxy
		}
		t.Run("while_an_answer_is_outstanding_"+name, func(t *testing.T) {
			t.Parallel()
			r, direct, proxy := open(t)
			tx, err := direct.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), `select from chat.messages where seq = 7 for key share`); err != nil {
				t.Fatal(err)
			}
			b := purge.Batch{Deletions: []purge.Deletion{deletion("1", "c")}, Budget: wide}
			var began time.Time
			_, err = whileItWaits(t, direct, func() (purge.Result, error) { return r.Bulk(t.Context(), b) }, func() error {
				proxy.Swallow()
				began = time.Now()
				return tx.Commit(t.Context())
			})
			if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure || cause != "connection" || time.Since(began) > enough {
				t.Errorf("after %v: %v (%v, %s); want a broken connection within %v", time.Since(began), err, fault, cause, enough)
			}
			if res := steps(t, r, b.Deletions...); res.Records[0].State != purge.Done || res.Records[0].MessagesDeleted != 20 {
				t.Errorf("the next try: %+v; want done", res.Records[0])
			}
			t.Logf("noticed after %v: %v", time.Since(began), err)
		})
		t.Run("while_connections_are_idle_"+name, func(t *testing.T) {
			t.Parallel()
			r, _, proxy := open(t)
			var held []interface{ Release() }
			for range 5 {
				conn, err := r.pool.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, conn)
			}
			for _, conn := range held {
				conn.Release()
			}
			proxy.Swallow()
			began := time.Now()
			_, err := r.Bulk(t.Context(), purge.Batch{Deletions: []purge.Deletion{deletion("1", "c")}, Budget: wide})
			if err != nil {
				_, err = r.Bulk(t.Context(), purge.Batch{Deletions: []purge.Deletion{deletion("1", "c")}, Budget: wide})
			}
			if err != nil || time.Since(began) > enough {
				t.Errorf("after %v: %v; want a new connection within %v", time.Since(began), err, enough)
			}
		})
		t.Run("a_long_transaction_is_left_alone_"+name, func(t *testing.T) {
			t.Parallel()
			r, direct, _ := open(t)
			execSQL(t, direct.pool, `create function chat.slow() returns trigger language plpgsql as $$ begin perform pg_sleep(1.6); return old; end $$;
				create trigger slow before delete on chat.messages for each row when (old.seq = 7) execute function chat.slow()`)
			res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion("1", "c")}})
			if rec := res.Records[0]; rec.State != purge.Done || rec.MessagesDeleted != 20 {
				t.Errorf("record = %+v; want done", rec)
			}
		})
	}
	t.Run("and_nobody_else_answers", func(t *testing.T) {
		t.Parallel()
		address := newDatabase(t)
		proxy, through, err := localstack.OpenPostgresProxy(t.Context(), address, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer proxy.Close()
		r := openRepo(t, Config{URL: through, Plan: plan.Bundled()})
		r.source.checkAfter = 500 * time.Millisecond
		proxy.Freeze()
		began := time.Now()
		_, err = r.Claim(t.Context(), deletion("1", "c"))
		if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure || cause != "connection" || time.Since(began) > enough {
			t.Errorf("after %v: %v (%v, %s); want a broken connection within %v", time.Since(began), err, fault, cause, enough)
		}
		proxy.Mend()
		wantHealthy(t, r)
	})
}

// Of several hosts the one that can be written to is taken, without a word from the
// connection string.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	primary, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Setup(t.Context(), primary.URL(), SetupOptions{SampleSchema: true}); err != nil {
		t.Fatal(err)
	}
	standby, err := primary.StartStandby(t.Context(), "standby", localstack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(standby.Close(), primary.Close()); err != nil {
			t.Error(err)
		}
	})
	folder := func(p *localstack.Postgres) string { return filepath.Dir(p.DataDir()) }
	hosts := strings.Join([]string{"/nowhere", folder(standby), folder(primary)}, ",")
	for _, more := range []string{"", " target_session_attrs=read-write"} {
		address := "host=" + hosts + " port=5432 user=postgres dbname=postgres" + more
		if _, err := Setup(t.Context(), address, SetupOptions{}); err != nil {
			t.Errorf("Setup: %v", err)
		}
		r := openRepo(t, Config{URL: address, Plan: plan.Bundled()})
		wantHealthy(t, r)
		if queryOne[bool](t, r.pool, `select pg_is_in_recovery()`) {
			t.Error("connected to the standby; want the primary")
		}
	}
	conn, err := pgx.Connect(t.Context(), standby.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	r := openRepo(t, Config{URL: "host=" + hosts + " port=5432 user=postgres dbname=postgres", Plan: plan.Bundled()})
	if err := primary.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `select pg_promote()`); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; {
		err := r.Probe(t.Context())
		if err == nil {
			break
		}
		if fault, _ := purge.FaultOf(err); fault != purge.Infrastructure || time.Now().After(end) {
			t.Fatalf("after the standby was promoted: %v (%v); want it taken", err, fault)
		}
	}
}
