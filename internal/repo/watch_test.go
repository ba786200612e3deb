package repo

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// everything sets a limit for each brake.
var everything = purge.Limits{ReplicaLag: time.Second, LockWait: 20 * time.Millisecond, WALHeld: 1}

func TestWatchLeavesOutWhatTheRoleMayNotRead(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openPool(t, url)
	role, as := newRole(t, url)
	execSQL(t, admin, "grant usage on schema lethe, chat to "+role+"; grant all on all tables in schema lethe, chat to "+role)
	execSQL(t, admin, "revoke select on pg_catalog.pg_replication_slots, pg_catalog.pg_locks from public")
	r := openRepo(t, Config{URL: as, Plan: BundledPlan()})
	execSQL(t, admin, "insert into lethe.holds (lane, cause) values ('long', 'paused')")
	f, err := r.Watch(t.Context(), everything, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, cause := range []purge.Cause{purge.WALHeld, purge.LockWaiters} {
		if why := f.Unread[cause]; !strings.Contains(why, "run: grant pg_monitor to ") || !strings.Contains(why, role) || strings.Contains(why, "\n") {
			t.Errorf("%s is left out because %q; want the grant that mends it, on one line", cause, why)
		}
	}
	if len(f.Unread) != 2 || len(f.Pauses) != 1 {
		t.Errorf("unread: %v, pauses: %v; want two and one", f.Unread, f.Pauses)
	}
	if f, err = r.Watch(t.Context(), everything, true); err != nil || len(f.Unread) != 0 || len(f.Pauses) != 1 {
		t.Errorf("second look = %+v, %v; want the pause, and nothing told again", f, err)
	}
	execSQL(t, admin, "revoke select on lethe.holds from public, "+role)
	if _, err := r.Watch(t.Context(), everything, true); err == nil {
		t.Error("a look without the pauses succeeded")
	}
}

// A session that waits for a worker's lock counts, also without pg_monitor; one
// that waits for somebody else's doesn't, nor does a worker.
func TestWatchSeesWhoWaitsForAWorkersLocks(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openPool(t, url)
	role, as := newRole(t, url)
	execSQL(t, admin, "grant usage on schema lethe, chat to "+role+"; grant all on all tables in schema lethe, chat to "+role)
	execSQL(t, admin, "create table public.t as select g as id from generate_series(1, 3) g")
	r := openRepo(t, Config{URL: as, Plan: BundledPlan()})

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
			where not l.granted and l.waitstart < clock_timestamp() - interval '20 ms' and a.datname = current_database()`) < n {
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
