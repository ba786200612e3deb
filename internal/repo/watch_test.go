package repo

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// everything sets a limit for each throttle.
var everything = purge.Limits{ReplicaLag: time.Second, LockWait: 20 * time.Millisecond, WALRetained: 1}

func TestWatchLeavesOutWhatTheRoleMayNotRead(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openPool(t, url)
	role, as := newRole(t, url)
	execSQL(t, admin, "grant usage on schema lethe, chat to "+role+"; grant all on all tables in schema lethe, chat to "+role)
	execSQL(t, admin, "grant execute on function lethe.sessions() to "+role)
	execSQL(t, admin, "revoke select on pg_catalog.pg_replication_slots, pg_catalog.pg_locks from public")
	r := openRepo(t, Config{URL: as, Plan: plan.Bundled()})
	execSQL(t, admin, "insert into lethe.throttles (lane, reason) values ('long', 'paused')")
	f, err := r.Watch(t.Context(), everything, true)
	if err != nil {
		t.Fatal(err)
	}
	for cause, grant := range map[purge.ThrottleReason]string{
		purge.WALRetained: "select on pg_catalog.pg_replication_slots, pg_catalog.pg_stat_archiver", purge.LockWaiters: "select on pg_catalog.pg_locks, pg_catalog.pg_stat_activity",
		purge.ReplicaLag: "execute on function lethe.standbys()",
	} {
		if why := f.Unread[cause]; !strings.Contains(why, "; run: grant "+grant+" to ") || !strings.Contains(why, role) || strings.Contains(why, "\n") {
			t.Errorf("%s is left out because %q; want the grant that mends it, on one line", cause, why)
		}
	}
	if len(f.Unread) != 3 || len(f.Pauses) != 1 {
		t.Errorf("unread: %v, pauses: %v; want three and one", f.Unread, f.Pauses)
	}
	if f, err = r.Watch(t.Context(), everything, true); err != nil || len(f.Unread) != 0 || len(f.Pauses) != 1 {
		t.Errorf("second look = %+v, %v; want the pause, and nothing reported again", f, err)
	}
	execSQL(t, admin, "revoke select on lethe.throttles from public, "+role)
	if _, err := r.Watch(t.Context(), everything, true); err == nil {
		t.Error("a look without the pauses succeeded")
	}
}

// A session that waits for a worker's lock counts, from Postgres 14 on also without pg_monitor; one
// that waits for somebody else's doesn't, nor does a worker.
func TestWatchSeesWhoWaitsForAWorkersLocks(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openPool(t, url)
	role, as := newRole(t, url)
	execSQL(t, admin, "grant usage on schema lethe, chat to "+role+"; grant all on all tables in schema lethe, chat to "+role)
	execSQL(t, admin, "grant execute on function lethe.standbys(), lethe.sessions() to "+role)
	if queryOne[int](t, admin, `select current_setting('server_version_num')::int`) < 140000 {
		execSQL(t, admin, "grant pg_read_all_stats to "+role) // which shows since when a statement runs
	}
	execSQL(t, admin, "create table public.t as select g as id from generate_series(1, 3) g")
	r := openRepo(t, Config{URL: as, Plan: plan.Bundled()})

	begin := func(name string) pgx.Tx {
		c, err := pgx.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		c.RuntimeParams["application_name"] = name
		conn, err := pgx.ConnectConfig(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	lock := func(tx pgx.Tx, id int) {
		if _, err := tx.Exec(t.Context(), "select from public.t where id = $1 for update", id); err != nil {
			t.Error(err)
		}
	}
	ours, theirs := begin("lethe"), begin("chat")
	lock(ours, 1)
	lock(theirs, 2)
	var waiting sync.WaitGroup
	for _, w := range []struct {
		name string
		id   int
	}{{"chat", 2}, {"lethe", 1}} {
		tx := begin(w.name)
		waiting.Go(func() { lock(tx, w.id); _ = tx.Rollback(t.Context()) })
	}
	blocked := func(n int) {
		for queryOne[int](t, admin, `select count(*)::int from pg_locks l join pg_stat_activity a using (pid)
			where not l.granted and coalesce((to_jsonb(l) ->> 'waitstart')::timestamptz, a.query_start) < clock_timestamp() - interval '20 ms' and a.datname = current_database()`) < n {
			<-time.After(2 * time.Millisecond)
		}
	}
	blocked(2)
	f, err := r.Watch(t.Context(), everything, true)
	if err != nil || f.LockWaiters != 0 || len(f.Unread) != 0 {
		t.Errorf("one waits for others, and a worker for us: %+v, %v; want no waiters", f, err)
	}
	tx := begin("chat")
	lock(ours, 3)
	waiting.Go(func() { lock(tx, 3); _ = tx.Rollback(t.Context()) })
	blocked(3)
	f, err = r.Watch(t.Context(), everything, true)
	if err != nil || f.LockWaiters != 1 || f.LongestWait < 20*time.Millisecond {
		t.Errorf("one waits for us: %+v, %v; want one waiter, for 20ms at least", f, err)
	}
	if err := ours.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
	if err := theirs.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
	waiting.Wait()
	if f, err = r.Watch(t.Context(), everything, true); err != nil || f.LockWaiters != 0 {
		t.Errorf("nobody waits: %+v, %v", f, err)
	}
}

// session is a transaction of somebody who calls himself so.
func session(t *testing.T, address, application string) pgx.Tx {
	t.Helper()
	c, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	c.RuntimeParams["application_name"] = application
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// Who holds a lock is found out by a role that sees nobody's SQL.
func TestBlockerIsTheOldestTransactionWithLocks(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openPool(t, url)
	role, as := newRole(t, url)
	execSQL(t, admin, "grant usage on schema lethe, chat to "+role+"; grant all on all tables in schema lethe, chat to "+role)
	r := openRepo(t, Config{URL: as, Plan: plan.Bundled(), LongConcurrency: 2})
	execSQL(t, admin, "insert into chat.messages (app_id, user_id, conversation_id, seq) values ('demo', 'alice', 'g', 1)")
	for _, c := range []struct{ application, sql, want string }{
		{"reader", "select from chat.messages", ""},
		{"lethe", "select from chat.messages for update", ""},
		{"report", "select from chat.messages for update", "(role postgres, application report), in a transaction since 20"},
		{"migration", "lock table chat.attachments", "application migration"},
	} {
		tx := session(t, url, c.application)
		if _, err := tx.Exec(t.Context(), c.sql); err != nil {
			t.Fatal(err)
		}
		got := ""
		for range 25 { // a transaction counts when it is 100 ms old
			if got = r.Blocker(t.Context()); got != "" {
				break
			}
			<-time.After(10 * time.Millisecond)
		}
		if got != "" {
			t.Fatalf("Blocker = %q without the right to ask; want nothing", got)
		}
		execSQL(t, admin, "grant execute on function lethe.sessions() to "+role)
		if got = r.Blocker(t.Context()); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %s: Blocker = %q; want %q", c.application, c.sql, got, c.want)
		}
		execSQL(t, admin, "revoke execute on function lethe.sessions() from "+role)
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A session that holds permits without running a batch is told of, whatever role it
// has and however it has taken them.
func TestWatchSeesWhoHoldsPermits(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	r := openRepo(t, Config{URL: url, Plan: plan.Bundled(), LongConcurrency: 2})
	holders := func() []string {
		t.Helper()
		f, err := r.Watch(t.Context(), everything, true)
		if err != nil || len(f.Unread) > 0 {
			t.Fatalf("Watch = %+v, %v; want figures", f, err)
		}
		return f.PermitHolders
	}
	tx := session(t, url, "cron")
	if _, err := tx.Exec(t.Context(), `select pg_advisory_lock($1::int, 2), pg_advisory_lock($1::int, 3), pg_advisory_lock(2)`, permitClass); err != nil {
		t.Fatal(err)
	}
	if got := holders(); len(got) != 0 {
		t.Errorf("holders = %q at once; want none, for a batch may take a while", got)
	}
	began := time.Now()
	var got []string
	for len(got) == 0 && time.Since(began) < 30*time.Second {
		<-time.After(50 * time.Millisecond)
		got = holders()
	}
	if len(got) != 1 || !strings.Contains(got[0], "application cron), in a transaction since ") {
		t.Errorf("holders = %q; want the one session, once", got)
	}
	if err := tx.Commit(t.Context()); err != nil { // the session's locks stay
		t.Fatal(err)
	}
	if got := holders(); len(got) != 1 || !strings.Contains(got[0], "connected since ") {
		t.Errorf("holders = %q after the commit; want the session", got)
	}
}
