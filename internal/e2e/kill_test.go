package e2e

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/conversation"
)

func TestKilledAtRandomMomentsADeletionGoesOnFromTheLastCommit(t *testing.T) {
	t.Parallel()
	messages, kills := sized(500_000, 10_000_000), sized(4, 30)
	const batch = 2000
	rnd := random(t)
	r := newRig(t)
	c := chat{"demo", "alice", "g"}
	r.huge(t, c, messages)
	cmd := c.ask()
	r.send(t, cmd)
	watch := &cursorWatch{r: r, command: cmd.CommandID}
	hits, settings := 0, []string{"max-rows=" + fmt.Sprint(batch)}
	for range kills {
		w := r.start(t, settings...)
		from := watch.cursor
		eventually(t, timeout, "the deletion goes on", func() bool { return watch.look(t) || watch.cursor > from })
		pause(t, between(rnd, time.Millisecond, 200*time.Millisecond))
		w.kill()
		if watch.look(t) {
			break
		}
		hits++
		watch.check(t, messages)
	}
	if hits < 3 {
		t.Fatalf("hit %d times; want 3: the deletion is too small", hits)
	}
	r.say(t, c)
	w := r.start(t, settings...)
	eventually(t, 2*timeout, "the deletion is done", func() bool { return watch.look(t) })
	r.settled(t)
	w.term(t)
	r.told(t, map[deletionKey]int{{cmd.CommandID, "g"}: messages})
	r.wantLeft(t, c, left{Messages: 1, First: int64(messages) + 1, Last: int64(messages) + 1, Row: true, Unread: 1})
	r.workOnce(t, messages, hits*batch)
	r.noAttempts(t)
}

func TestKilledAtRandomMomentsSmallDeletionsAreDoneOnce(t *testing.T) {
	t.Parallel()
	kills, small := sized(3, 30), sized(600, 3000)
	rnd := random(t)
	r := newRig(t)
	want := map[deletionKey]int{}
	for i := range kills {
		var cmds []conversation.Command
		for _, c := range r.crowd(t, "demo", fmt.Sprintf("kill%d-", i), small, 20) {
			cmd := c.ask()
			cmds = append(cmds, cmd)
			want[deletionKey{cmd.CommandID, "g"}] = 20
		}
		w := r.start(t, "batch-size=40")
		r.flood(t, append(cmds, cmds[:50]...))
		pause(t, between(rnd, time.Millisecond, 80*time.Millisecond))
		w.kill()
	}
	w := r.start(t)
	r.awaitStored(t, len(want))
	r.settled(t)
	w.term(t)
	r.told(t, want)
	r.wantEmpty(t)
	r.noAttempts(t)
	r.workOnce(t, len(want)*20, kills*2*40*20) // what was under way in two lanes
}

// cursorWatch follows a deletion in the ledger.
type cursorWatch struct {
	r               *rig
	command         string
	cursor, deleted int64
}

// look asserts that neither the cursor nor the count has gone back, and reports
// whether the deletion is done.
func (w *cursorWatch) look(t testing.TB) (done bool) {
	t.Helper()
	state, cursor, deleted, _ := w.r.ledger(t, w.command, "g")
	if cursor < w.cursor || deleted < w.deleted {
		t.Fatalf("cursor and count went back from %d, %d to %d, %d", w.cursor, w.deleted, cursor, deleted)
	}
	w.cursor, w.deleted = cursor, deleted
	return state == "done"
}

// check asserts that the ledger tells the truth about the messages.
func (w *cursorWatch) check(t testing.TB, messages int) {
	t.Helper()
	got := one[string](t, w.r, `select format('%s %s', (select count(*) from chat.messages where seq <= $2) + d.messages_deleted,
		(select count(*) from chat.messages where user_id = 'alice' and seq <= d.cursor_seq)) from lethe.deletions d where command_id = $1`, w.command, messages)
	if want := fmt.Sprintf("%d 0", messages); got != want {
		t.Errorf("messages left and deleted, and left below the cursor: %s; want %s", got, want)
	}
}

// Its lease of half a minute would show if another worker had to wait for it.
func TestSIGTERMAtRandomMomentsHandsOverAtOnce(t *testing.T) {
	t.Parallel()
	rounds, messages, small := sized(4, 40), sized(400_000, 6_000_000), sized(400, 2000)
	rnd := random(t)
	r := newRig(t, withEnv("LETHE_ACK_WAIT=30s"))
	c := chat{"demo", "alice", "g"}
	r.huge(t, c, messages)
	cmd := c.ask()
	r.send(t, cmd)
	want := map[deletionKey]int{{cmd.CommandID, "g"}: messages}
	watch := &cursorWatch{r: r, command: cmd.CommandID}
	settings := []string{"max-rows=500"}
	w := r.start(t, settings...)
	for i := range rounds {
		var cmds []conversation.Command
		for _, c := range r.crowd(t, "demo", fmt.Sprintf("round%d-", i), small, 20) {
			cmd := c.ask()
			cmds = append(cmds, cmd)
			want[deletionKey{cmd.CommandID, "g"}] = 20
		}
		r.flood(t, cmds)
		next := r.start(t, settings...)
		pause(t, between(rnd, time.Millisecond, 300*time.Millisecond))
		w.term(t)
		done, from := watch.look(t), watch.cursor
		eventually(t, 10*time.Second, "the next worker goes on", func() bool { return done || watch.look(t) || watch.cursor > from })
		w = next
	}
	eventually(t, 2*timeout, "the deletion is done", func() bool { return watch.look(t) })
	r.awaitStored(t, len(want))
	r.settled(t)
	w.term(t)
	r.told(t, want)
	r.wantEmpty(t)
	r.workOnce(t, messages+rounds*small*20, 0)
	r.noAttempts(t)
}

func TestAWorkerStopsInTimeWhereverItIs(t *testing.T) {
	t.Parallel()
	t.Run("without_NATS", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		c, settings := chat{"demo", "alice", "g"}, []string{"max-rows=500"}
		r.huge(t, c, 200_000)
		small := r.crowd(t, "demo", "u", 200, 20)
		w := r.start(t, settings...)
		cmd := c.ask()
		r.send(t, cmd)
		eventually(t, timeout, "the deletion is under way", func() bool { _, cursor, _, _ := r.ledger(t, cmd.CommandID, "g"); return cursor > 0 })
		want := map[deletionKey]int{{cmd.CommandID, "g"}: 200_000}
		var cmds []conversation.Command
		for _, c := range small {
			cmds = append(cmds, c.ask())
			want[deletionKey{cmds[len(cmds)-1].CommandID, "g"}] = 20
		}
		r.flood(t, cmds)
		r.stopNATS(t)
		w.term(t)
		r.startNATS(t)
		r.start(t)
		r.awaitStored(t, len(want))
		r.settled(t)
		r.told(t, want)
		r.wantEmpty(t)
	})
	t.Run("with_a_database_that_hangs", func(t *testing.T) {
		t.Parallel()
		_, address := ownPostgres(t)
		r := newRig(t, onDatabase(address))
		c := chat{"demo", "alice", "g"}
		r.huge(t, c, 200_000)
		w := r.start(t, "max-rows=100")
		cmd := c.ask()
		r.send(t, cmd)
		eventually(t, timeout, "the deletion is under way", func() bool { _, cursor, _, _ := r.ledger(t, cmd.CommandID, "g"); return cursor > 0 })
		thaw := r.freezeBackends(t)
		w.signal(t, syscall.SIGTERM)
		w.awaitEnd(t, stopLimit)
		thaw()
		r.start(t)
		r.deleted(t, cmd.CommandID, "g")
		r.settled(t)
		r.told(t, map[deletionKey]int{{cmd.CommandID, "g"}: 200_000})
		r.wantEmpty(t)
	})
	t.Run("with_rows_that_others_hold", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		var cmds []conversation.Command
		for _, c := range r.crowd(t, "demo", "u", 40, 20) {
			cmds = append(cmds, c.ask())
		}
		release := r.hold(t, `select from chat.messages where seq = 10 for update`)
		w := r.start(t)
		r.flood(t, cmds)
		eventually(t, timeout, "all are taken up", func() bool { return one[int](t, r, `select count(*)::int from lethe.deletions`) == len(cmds) })
		w.term(t)
		release()
		r.start(t)
		r.awaitStored(t, len(cmds))
		r.settled(t)
		r.wantEmpty(t)
		r.noAttempts(t)
	})
}

// stopNATS and startNATS break the server's connections, and keep its store.
func (r *rig) stopNATS(t testing.TB) {
	t.Helper()
	if err := r.nats.Stop(); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) startNATS(t testing.TB) {
	t.Helper()
	if err := r.nats.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, timeout, "the test is connected to NATS again", r.nc.IsConnected)
}

// freezeBackends stops the server's processes that serve workers, as a disk that hangs would, until thaw is called or the test ends.
// Each is stopped where it waits for its client's next statement, which then gets no answer. Elsewhere it could hold a lock that the
// whole server needs, for WAL or for a snapshot. The server must be the test's own: dropping a database waits for all processes.
func (r *rig) freezeBackends(t testing.TB) (thaw func()) {
	t.Helper()
	rows, err := r.db.Query(t.Context(), `select pid from pg_stat_activity where datname = current_database() and application_name = 'lethe'`)
	must(t, err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil || len(pids) == 0 {
		t.Fatalf("workers' connections: %v, %v", pids, err)
	}
	thaw = func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended
		}
	}
	t.Cleanup(thaw)
	for _, pid := range pids {
		eventually(t, timeout, "a backend is stopped where it waits for its client", func() bool { return r.freezeBackend(t, pid) })
	}
	return thaw
}

// freezeBackend stops a process of the server, and reports whether that was where it waits for its client. If not, it goes on.
func (r *rig) freezeBackend(t testing.TB, pid int) bool {
	t.Helper()
	if syscall.Kill(pid, syscall.SIGSTOP) != nil {
		return true // it has ended
	}
	// Where the process holds a lock that this needs, too, the time runs out.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var waits bool
	err := r.db.QueryRow(ctx, `select coalesce(wait_event = 'ClientRead', false) from pg_stat_activity where pid = $1`, pid).Scan(&waits)
	if err == nil && waits || errors.Is(err, pgx.ErrNoRows) {
		return true
	}
	_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended
	return false
}
