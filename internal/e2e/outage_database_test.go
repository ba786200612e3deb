package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
)

// outage is something that happens to a worker's infrastructure.
type outage struct {
	strike, mend func(t *testing.T)
	reason       []string // words of /readyz meanwhile; one is enough
	silent       bool     // producers can't publish either
}

// load is what a worker has to do while its infrastructure fail.
type load struct {
	r    *rig
	want map[deletionKey]int
	n    int
}

const longOfLoad = 25_000

// newLoad starts a long deletion, of batches of a hundred, under this worker.
func newLoad(t *testing.T, r *rig) *load {
	t.Helper()
	l := &load{r: r, want: map[deletionKey]int{}}
	c := chat{"demo", "long", "g"}
	r.huge(t, c, longOfLoad)
	cmd := c.ask()
	r.send(t, cmd)
	l.want[deletionKey{cmd.CommandID, "g"}] = longOfLoad
	eventually(t, timeout, "the long deletion is under way", func() bool { _, cursor, _, _ := r.ledger(t, cmd.CommandID, "g"); return cursor > 0 })
	return l
}

// small makes n small commands, to be published.
func (l *load) small(t *testing.T, n int) []conversation.Command {
	t.Helper()
	l.n++
	var cmds []conversation.Command
	for _, c := range l.r.crowd(t, "demo", fmt.Sprintf("small%d-", l.n), n, 20) {
		cmd := c.ask()
		l.want[deletionKey{cmd.CommandID, "g"}] = 20
		cmds = append(cmds, cmd)
	}
	return cmds
}

// done waits until everything has been done, and asserts that it was done right.
func (l *load) done(t *testing.T) {
	t.Helper()
	l.r.db.Reset()
	l.r.awaitStored(t, len(l.want), typed(conversation.TypeDeleted))
	l.r.settled(t)
	l.r.told(t, l.want)
	l.r.wantEmpty(t)
	l.r.noAttempts(t)
}

// rideOut has an outage strike while the worker is at work, and asserts that it
// says so, and goes on by itself.
func (l *load) rideOut(t *testing.T, w *worker, o outage) {
	t.Helper()
	before, during := l.small(t, 100), l.small(t, 30)
	l.r.flood(t, before)
	o.strike(t)
	w.awaitNotReady(t, o.reason...)
	if code, _ := w.get(t, "/livez"); code != http.StatusOK {
		t.Errorf("/livez: %d; want it alive through an outage", code)
	}
	if !o.silent {
		l.r.flood(t, during)
	}
	pause(t, time.Second)
	w.awaitNotReady(t, o.reason...)
	o.mend(t)
	w.awaitReady(t, 20*time.Second)
	if o.silent {
		l.r.flood(t, during)
	}
}

// awaitNotReady waits until /readyz gives one of these reasons.
func (w *worker) awaitNotReady(t testing.TB, reasons ...string) {
	t.Helper()
	var code int
	var text string
	if !poll(15*time.Second, func() bool {
		if w.ended() {
			t.Fatalf("the worker ended (%v):\n%s", w.err, w.log.last(20))
		}
		code, text = w.get(t, "/readyz")
		for _, reason := range reasons {
			if code == http.StatusServiceUnavailable && strings.Contains(text, reason) {
				return true
			}
		}
		return false
	}) {
		t.Fatalf("/readyz: %d %s; want 503 and one of %q", code, text, reasons)
	}
}

// slowly keeps a long deletion going for some time.
var slowly = []string{"max-rows=100", "--express-rows", "100"}

// ownPostgres is a server that the test may stop, and a database on it.
func ownPostgres(t *testing.T) (*localstack.Postgres, string) {
	t.Helper()
	return ownPostgresOf(t, 0)
}

// ownPostgresOf is ownPostgres of a major version, 0 for any.
func ownPostgresOf(t *testing.T, major int) (*localstack.Postgres, string) {
	t.Helper()
	pg, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{Major: major})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Close(); err != nil {
			t.Error(err)
		}
	})
	address, _, err := pg.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pg, address
}

// must ends the test at an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnOutageOfPostgresCostsTimeAlone(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(r *rig, pg *localstack.Postgres) outage{
		"stopped":             stopped,
		"crashed":             crashed,
		"read_only":           readOnly,
		"back_as_a_standby":   standby,
		"refuses_connections": refusing,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pg, address := ownPostgres(t)
			r := newRig(t, onDatabase(address))
			w := r.start(t, slowly...)
			l := newLoad(t, r)
			l.rideOut(t, w, of(r, pg))
			l.done(t)
			w.term(t)
		})
	}
}

func stopped(_ *rig, pg *localstack.Postgres) outage {
	return outage{
		strike: func(t *testing.T) { must(t, pg.Stop(t.Context())) },
		mend:   func(t *testing.T) { must(t, pg.Start(t.Context())) },
		reason: []string{"connect", "shutting down", "terminating"},
	}
}

func crashed(_ *rig, pg *localstack.Postgres) outage {
	return outage{
		strike: func(t *testing.T) { must(t, pg.StopImmediate(t.Context())) },
		mend:   func(t *testing.T) { must(t, pg.Start(t.Context())) },
		reason: []string{"connect", "terminating"},
	}
}

func readOnly(r *rig, pg *localstack.Postgres) outage {
	reload := `select pg_reload_conf()`
	return outage{
		strike: func(t *testing.T) {
			r.asAdmin(t, pg, `alter system set default_transaction_read_only = on`, reload)
		},
		mend:   func(t *testing.T) { r.asAdmin(t, pg, `alter system reset default_transaction_read_only`, reload) },
		reason: []string{"read-only"},
	}
}

func standby(_ *rig, pg *localstack.Postgres) outage {
	signal := filepath.Join(pg.DataDir(), "standby.signal")
	return outage{
		strike: func(t *testing.T) {
			must(t, pg.Stop(t.Context()))
			must(t, os.WriteFile(signal, nil, 0o666))
			must(t, pg.Start(t.Context()))
		},
		mend: func(t *testing.T) {
			must(t, os.Remove(signal))
			must(t, pg.Restart(t.Context()))
		},
		reason: []string{"read-only", "recovery"},
	}
}

func refusing(r *rig, pg *localstack.Postgres) outage {
	name, _ := strings.CutPrefix(r.db.Config().ConnConfig.Database, "/")
	return outage{
		strike: func(t *testing.T) {
			r.asAdmin(t, pg, `alter database `+name+` allow_connections false`)
			endSessions(t, pg, `datname = '`+name+`'`)
		},
		mend:   func(t *testing.T) { r.asAdmin(t, pg, `alter database `+name+` allow_connections true`) },
		reason: []string{"not currently accepting connections", "terminating"},
	}
}

// asAdmin runs statements in the server's own database.
func (r *rig) asAdmin(t testing.TB, pg *localstack.Postgres, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pg.URL())
	must(t, err)
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	must(t, conn.Close(t.Context()))
}

// endSessions ends the sessions for which a condition holds, also those that were being let in at this moment and show only now.
func endSessions(t testing.TB, pg *localstack.Postgres, condition string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pg.URL())
	must(t, err)
	eventually(t, timeout, "no session is left where "+condition, func() bool {
		left := 0
		err := conn.QueryRow(t.Context(), `select count(pg_terminate_backend(pid)) from pg_stat_activity where `+condition).Scan(&left)
		must(t, err)
		return left == 0
	})
	must(t, conn.Close(t.Context()))
}

// What an operator may take away from a worker, and give back.
func TestWhatAWorkerMayNotDoCostsTimeAlone(t *testing.T) {
	t.Parallel()
	pg, address := ownPostgres(t)
	r := newRig(t, onDatabase(address))
	r.exec(t, `create role worker login;
		grant usage on schema lethe, chat to worker;
		grant select, insert, delete on lethe.commands to worker;
		grant select, insert, update, delete on lethe.deletions, lethe.enumerations to worker;
		grant select, insert, update on lethe.watermarks to worker;
		grant select on lethe.apps to worker;
		grant select, delete on chat.messages, chat.reactions, chat.attachments, chat.conversations to worker;
		grant update (body) on chat.messages to worker;
		grant update (emoji) on chat.reactions to worker;
		grant update (bytes) on chat.attachments to worker;
		grant update (unread_count) on chat.conversations to worker;`)
	w := r.start(t, append([]string{"DATABASE_URL=" + asRole(t, address, "worker")}, slowly...)...)
	l := newLoad(t, r)
	for _, o := range []struct{ strike, mend, reason string }{
		{`revoke delete on chat.messages from worker`, `grant delete on chat.messages to worker`, "messages"},
		{`revoke update on lethe.deletions from worker`, `grant update on lethe.deletions to worker`, "deletions"},
		{`revoke select on lethe.apps from worker`, `grant select on lethe.apps to worker`, "apps"},
		{`revoke usage on schema chat from worker`, `grant usage on schema chat to worker`, "chat"},
		{`revoke update (unread_count) on chat.conversations from worker`, `grant update (unread_count) on chat.conversations to worker`, "conversations"},
		{`alter table lethe.deletions rename to elsewhere`, `alter table lethe.elsewhere rename to deletions`, "deletions"},
		{`alter schema lethe rename to elsewhere`, `alter schema elsewhere rename to lethe`, "lethe"},
		{`alter table chat.reactions rename column seq to position`, `alter table chat.reactions rename column position to seq`, "seq"},
		{`alter table chat.messages enable row level security`, `alter table chat.messages disable row level security`, "row-level security"},
		{`alter table lethe.deletions enable row level security`, `alter table lethe.deletions disable row level security`, "row-level security"},
		{`alter table lethe.throttles enable row level security`, `alter table lethe.throttles disable row level security`, "row-level security"},
		{`alter role worker set session_replication_role = replica`, `alter role worker reset session_replication_role`, "session_replication_role"},
		{`alter role worker nologin`, `alter role worker login`, "log in"},
		{`alter role worker connection limit 0`, `alter role worker connection limit -1`, "too many connections"},
	} {
		l.rideOut(t, w, outage{
			strike: func(t *testing.T) {
				r.exec(t, o.strike)
				if strings.HasPrefix(o.strike, "alter role") {
					endSessions(t, pg, `usename = 'worker'`)
				}
			},
			mend:   func(t *testing.T) { r.exec(t, o.mend) },
			reason: []string{o.reason},
		})
	}
	l.done(t)
	w.term(t)
}

// What the database's owner has hung on the rows may fail for all of them, and
// heal, under two workers.
func TestATriggerThatFailsEveryDeletionCostsTimeAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.start(t, slowly...)
	other := r.start(t, slowly...)
	l := newLoad(t, r)
	r.exec(t, `create table public.audit (at timestamptz) partition by range (at);
		create function public.audited() returns trigger language plpgsql as $$ begin insert into public.audit values (now()); return null; end $$`)
	l.rideOut(t, w, outage{
		strike: func(t *testing.T) {
			r.exec(t, `create trigger audited after delete on chat.messages for each row execute function public.audited()`)
		},
		mend:   func(t *testing.T) { r.exec(t, `create table public.audit_now partition of public.audit default`) },
		reason: []string{"deletions: different deletions fail one after the other", "no partition of relation"},
	})
	other.awaitReady(t, timeout)
	l.done(t)
	w.term(t)
	other.term(t)
}

// asRole is the address for another user.
func asRole(t testing.TB, address, role string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	q := u.Query()
	q.Set("user", role)
	u.RawQuery = q.Encode()
	return u.String()
}

// Connections that are there and never answer, as after a failover that nobody was
// told of, are given up for others.
func TestConnectionsThatHangAreGivenUp(t *testing.T) {
	t.Parallel()
	_, address := ownPostgres(t)
	r := newRig(t, onDatabase(address))
	w := r.start(t, append([]string{"statement-timeout=500ms"}, slowly...)...)
	l := newLoad(t, r)
	r.flood(t, l.small(t, 50))
	thaw := r.freezeBackends(t)
	before := time.Now()
	more := l.small(t, 50)
	r.flood(t, more)
	r.awaitStored(t, len(more), func(e event) bool {
		return slices.ContainsFunc(more, func(c conversation.Command) bool { return c.CommandID == e.command() })
	})
	t.Logf("served again after %v", time.Since(before))
	thaw()
	l.done(t)
	w.awaitReady(t, timeout)
	w.term(t)
}

// A statement that takes far too long, because of what the chat's owner has hung
// on the rows, is tried with fewer rows.
func TestAStatementThatTakesTooLongIsTriedWithFewerRows(t *testing.T) {
	t.Parallel()
	const messages = 400
	r := newRig(t)
	r.exec(t, `create function public.slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.002); return old; end $$`)
	r.exec(t, `create trigger slow before delete on chat.messages for each row execute function public.slow()`)
	w := r.start(t, "statement-timeout=100ms", "min-rows=10", "--express-rows", "10")
	c := chat{"demo", "alice", "g"}
	r.fill(t, c, messages)
	cmd := c.ask()
	r.send(t, cmd)
	r.deleted(t, cmd.CommandID, "g")
	r.settled(t)
	r.told(t, map[deletionKey]int{{cmd.CommandID, "g"}: messages})
	r.wantEmpty(t)
	if n := len(r.letters(t)); n > 0 {
		t.Errorf("%d dead letters", n)
	}
	w.term(t)
}
