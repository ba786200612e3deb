package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

const month = 30 * 24 * time.Hour

// addCommand enters a command that is age old, and for each state a deletion
// that came to it then.
func addCommand(tb testing.TB, r *Repo, command string, age time.Duration, states ...purge.State) {
	tb.Helper()
	execSQL(tb, r.pool, `insert into lethe.commands (app_id, command_id, digest, created_at) values ('demo', $1, '', now() - $2::interval)`, command, age)
	for i, s := range states {
		execSQL(tb, r.pool, `insert into lethe.deletions (app_id, command_id, conversation_id, user_id, state, stored_at, history_kept, completed_at, failed_at)
			values ('demo', $1, $2, 'alice', $3, now(), false, case when $3 = 'done' then now() - $4::interval end, case when $3 = 'failed' then now() - $4::interval end)`,
			command, fmt.Sprint(i), string(s), age)
	}
}

func expire(tb testing.TB, r *Repo, limit int) int {
	tb.Helper()
	n, err := r.Expire(tb.Context(), month, limit)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// ledgerHolds lists the ledger's commands with the number of their deletions.
func ledgerHolds(tb testing.TB, r *Repo) string {
	tb.Helper()
	return queryOne[string](tb, r.pool, `select coalesce(string_agg(command_id || ':' || n, ' ' order by command_id), '') from (
		select command_id, count(d.user_id) as n
		from lethe.commands c full join lethe.deletions d using (app_id, command_id) group by command_id) x`)
}

func TestExpire(t *testing.T) {
	t.Parallel()
	t.Run("forgets what became final long ago and nothing else", expireForgets)
	t.Run("goes on past what has to stay, also among commands of one moment", expireTies)
	t.Run("removes a command of a hundred deletions whole", expireBulk)
	t.Run("shares the work with another replica", expireReplicas)
	t.Run("passes over a deletion that somebody has locked", expireLocked)
	t.Run("lets a reopened deletion and its command live", expireReopened)
	t.Run("stops with its context", expireStops)
	t.Run("reads the ledger by its indexes", expirePlan)
}

func expireForgets(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	addCommand(t, r, "done", month+time.Hour, purge.Done)
	addCommand(t, r, "failed", month+time.Hour, purge.Failed, purge.Done)
	addCommand(t, r, "empty", month+time.Hour)
	addCommand(t, r, "recent", month-time.Hour, purge.Done)
	addCommand(t, r, "pending", 3*month, purge.Done, purge.Pending)
	addCommand(t, r, "running", 3*month, purge.Running, purge.Failed)
	addCommand(t, r, "slow", 3*month, purge.Done) // finished only now
	execSQL(t, r.pool, `update lethe.deletions set completed_at = now() where command_id = 'slow'`)
	addCommand(t, r, "hidden", 3*month, purge.Done, purge.Done) // in a shared log: one has been reported as erased, one hasn't
	execSQL(t, r.pool, `update lethe.deletions set erased = false, erased_told = conversation_id = '1' where command_id = 'hidden'`)
	addCommand(t, r, "erased", 3*month, purge.Done)
	execSQL(t, r.pool, `update lethe.deletions set erased = false, erased_told = true where command_id = 'erased'`)
	addCommand(t, r, "", 3*month, purge.Done, purge.Done) // the erasures
	if n := expire(t, r, 100); n != 4 {
		t.Errorf("Expire = %d; want 4", n)
	}
	if got, want := ledgerHolds(t, r), ":2 hidden:2 pending:2 recent:1 running:2 slow:1"; got != want {
		t.Errorf("the ledger holds %q; want %q", got, want)
	}
	if n := expire(t, r, 100); n != 0 {
		t.Errorf("Expire again = %d; want 0", n)
	}
}

func expireTies(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	execSQL(t, r.pool, `insert into lethe.commands (app_id, command_id, digest, created_at)
		select 'app' || i % 7, i, '', now() - interval '40 days' from generate_series(1, 500) i`)
	execSQL(t, r.pool, `insert into lethe.deletions (app_id, command_id, conversation_id, user_id, state, stored_at, history_kept, completed_at)
		select app_id, command_id, 'c', 'alice', case when command_id::int % 2 = 0 then 'done' else 'pending' end, now(), false, created_at from lethe.commands`)
	if n := expire(t, r, 10); n != 250 {
		t.Errorf("Expire = %d; want 250", n)
	}
	if n := queryOne[int](t, r.pool, `select count(*) from lethe.deletions where state = 'pending'`); n != 250 {
		t.Errorf("%d unfinished deletions are left; want 250", n)
	}
}

func expireBulk(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	for i := range 5 {
		addCommand(t, r, fmt.Sprint(i), 2*month, slices.Repeat([]purge.State{purge.Done}, 100)...)
	}
	if n := expire(t, r, 0); n != 5 { // a limit of none is a limit of one
		t.Errorf("Expire = %d; want 5", n)
	}
	if got := ledgerHolds(t, r); got != "" {
		t.Errorf("the ledger holds %q; want nothing", got)
	}
}

func expireReplicas(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	fillLedger(t, r.pool, 3000)
	var wg sync.WaitGroup
	removed, errs := make([]int, 3), make([]error, 3)
	for i := range removed {
		wg.Go(func() { removed[i], errs[i] = r.Expire(t.Context(), time.Minute, 50) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	rest, err := r.Expire(t.Context(), time.Minute, 50) // what one had locked and another passed over, if it rolled back
	if sum := removed[0] + removed[1] + removed[2] + rest; err != nil || sum != 3000 {
		t.Errorf("removed %v and then %d, %v; want 3000 in all", removed, rest, err)
	}
	if got := ledgerHolds(t, r); got != "" {
		t.Errorf("the ledger holds %q; want nothing", got)
	}
}

func expireLocked(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	addCommand(t, r, "free", 2*month, purge.Done)
	addCommand(t, r, "locked", 2*month, purge.Done, purge.Done)
	err := pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `select from lethe.deletions where command_id = 'locked' and conversation_id = '1' for update`); err != nil {
			return err
		}
		if n := expire(t, r, 100); n != 1 {
			t.Errorf("Expire beside the lock = %d; want 1", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := ledgerHolds(t, r); got != "locked:2" {
		t.Errorf("the ledger holds %q; want the locked command whole", got)
	}
	if n := expire(t, r, 100); n != 1 {
		t.Errorf("Expire after the lock = %d; want 1", n)
	}
}

// The retry of a dead letter reopens a deletion after it was found and before it
// is locked.
func expireReopened(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	addCommand(t, r, "1", 2*month, purge.Done, purge.Failed)
	found, ripe, _, err := r.findExpired(t.Context(), month, commandKey{}, 10)
	if err != nil || found != 1 || len(ripe) != 1 {
		t.Fatalf("found %d, %v, %v; want the one command", found, ripe, err)
	}
	d := purge.Deletion{Key: purge.Key{App: "demo", Command: "1", User: "alice", Conversation: "1"}, Retry: 9}
	execSQL(t, r.pool, `update lethe.commands set digest = $1`, d.Digest[:])
	if err := r.Reopen(t.Context(), []purge.Deletion{d}); err != nil {
		t.Fatal(err)
	}
	if n, err := r.forget(t.Context(), month, ripe); n != 0 || err != nil {
		t.Errorf("forget = %d, %v; want 0, nil", n, err)
	}
	if got := ledgerHolds(t, r); got != "1:2" {
		t.Errorf("the ledger holds %q; want the command whole", got)
	}
}

func expireStops(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	addCommand(t, r, "1", 2*month, purge.Done)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n, err := r.Expire(ctx, month, 10)
	if fault, _ := purge.FaultOf(err); n != 0 || fault != purge.Stopping {
		t.Errorf("Expire = %d, %v; want 0 and the stop", n, err)
	}
}

func expirePlan(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	fillLedger(t, r.pool, 20_000)
	a := args{
		"age": time.Hour, "created_at": time.Time{}, "app": "", "command": "", "limit": 100,
		"apps": []string{"app1"}, "commands": []string{"cmd1"},
	}
	for _, name := range []string{"expire_find", "expire_lock", "expire_commands", "expire_deletions"} {
		p := explain(t, r.pool, r.sql.get(name), a)
		if strings.Contains(p, "Seq Scan") || name == "expire_find" && !strings.Contains(p, "commands_created_at") {
			t.Errorf("%s\n%s\nwant index scans alone", name, p)
		}
	}
}
