package repo

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// holdHides makes hides wait at the end of their transactions, which have done everything then, until release is called.
func holdHides(t *testing.T, r *Repo) (release func()) {
	t.Helper()
	execSQL(t, r.pool, `create function log.wait() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock_shared(4713); return null; end $$`)
	execSQL(t, r.pool, `create constraint trigger waits after insert on lethe.deletions deferrable initially deferred for each row
		when (new.command_id <> '') execute function log.wait()`)
	tx := begin(t, r)
	if _, err := tx.Exec(t.Context(), `select pg_advisory_xact_lock(4713)`); err != nil {
		t.Fatal(err)
	}
	return func() { commit(t, tx) }
}

func commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// hideSoon begins hides of a room through n, and waits until the transactions are at their ends.
func hideSoon(t *testing.T, r *Repo, room, n int, users ...string) (done chan error) {
	t.Helper()
	done = make(chan error, len(users))
	for _, user := range users {
		d := hideOf(fmt.Sprintf("%s%d in %d", user, n, room), user, room, n)
		go func() {
			step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, LockTimeout: time.Minute})
			if err == nil && step.Record.State != purge.Done {
				err = fmt.Errorf("record = %+v; want done", step.Record)
			}
			done <- err
		}()
	}
	waitFor(t, r, fmt.Sprintf(`select count(*) = %d from pg_locks
		where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database()) and objid = 4713 and not granted`, len(users)))
	return done
}

// blocked is whether something waits for the lock of a row.
const blocked = `select exists (select from pg_locks l join pg_stat_activity a using (pid)
	where not l.granted and l.locktype <> 'advisory' and a.datname = current_database())`

// What happens to a floor between two statements, in each order that transactions may have.
func TestFloorsAmidTransactions(t *testing.T) {
	t.Parallel()
	type log struct {
		*testing.T
		*Repo
	}
	nothing, at := purge.Raised{}, func(floor int64) purge.Raised { return purge.Raised{Open: true, Floor: floor, Risen: true} }
	wantRaised := func(l log, want purge.Raised) {
		l.Helper()
		if got := raise(l.T, l.Repo, 1); got != want {
			l.Errorf("raised = %+v; want %+v", got, want)
		}
	}
	wantEnd := func(l log, told, left string) {
		l.Helper()
		got := carryOutErasure(l.T, l.Repo, 1, 3)
		if slices.Sort(got); strings.Join(got, ", ") != told {
			l.Errorf("told %q; want %q", got, told)
		}
		if got := queryOne[string](l.T, l.pool, `select format('%s-%s (%s)', min(n), max(n), count(*)) from log.messages where room = 1`); got != left {
			l.Errorf("left are %s; want %s", got, left)
		}
	}
	wait := func(l log, done <-chan error) {
		l.Helper()
		if err := <-done; err != nil {
			l.Error(err)
		}
	}
	for name, test := range map[string]func(l log){
		// Neither sees the other's watermark; whoever looks after the second one's end raises the floor.
		"two_members_deletions_that_together_raise_it": func(l log) {
			release := holdHides(l.T, l.Repo)
			done := hideSoon(l.T, l.Repo, 1, 10, "alice", "bob")
			wantRaised(l, nothing)
			release()
			wait(l, done)
			wait(l, done)
			wantRaised(l, at(10))
			wantRaised(l, purge.Raised{Open: true, Floor: 10})
			wantEnd(l, "alice10 in 1, bob10 in 1", "11-20 (10)")
		},
		// The floor that is being raised was computed before: it rises to that, and the next look finds more.
		"deletions_while_it_is_raised": func(l log) {
			clearFor(l.T, l.Repo, 1, 5, "alice", "bob")
			tx := begin(l.T, l.Repo)
			if _, err := tx.Exec(l.Context(), `select from log.rooms where id = 1 for update`); err != nil {
				l.Fatal(err)
			}
			raised := make(chan purge.Raised)
			go func() { raised <- raise(l.T, l.Repo, 1) }()
			waitFor(l.T, l.Repo, blocked)
			clearFor(l.T, l.Repo, 1, 9, "alice")
			clearFor(l.T, l.Repo, 1, 12, "bob")
			commit(l.T, tx)
			if got := <-raised; got.Floor < 5 || got.Floor > 9 || !got.Open {
				l.Errorf("raised = %+v; want it open at 5, or at 9 already", got)
			}
			raise(l.T, l.Repo, 1)
			wantEnd(l, "alice5 in 1, alice9 in 1, bob5 in 1", "10-20 (11)")
		},
		// Who leaves while their own deletion, or another's, is in flight counts no more.
		"a_leave_with_deletions_in_flight": func(l log) {
			release := holdHides(l.T, l.Repo)
			done := hideSoon(l.T, l.Repo, 1, 10, "alice")
			execSQL(l.T, l.pool, `delete from log.members where who = 'bob'`)
			wantRaised(l, nothing)
			release()
			wait(l, done)
			wantRaised(l, at(10))
			wantEnd(l, "alice10 in 1", "11-20 (10)")
		},
		// Nobody is a member when the deletion of the last one ends, not even they: everything goes, and the row.
		"the_last_ones_leave_with_their_deletion_in_flight": func(l log) {
			execSQL(l.T, l.pool, `delete from log.members where who = 'bob'`)
			release := holdHides(l.T, l.Repo)
			done := hideSoon(l.T, l.Repo, 1, 10, "alice")
			left := make(chan error, 1)
			go func() {
				_, err := l.pool.Exec(l.Context(), `delete from log.members where who = 'alice'`)
				left <- err
			}()
			waitFor(l.T, l.Repo, blocked)
			release()
			wait(l, done)
			wait(l, left)
			wantRaised(l, at(20))
			wantEnd(l, "alice10 in 1", "- (0)")
		},
		// What is committed below the floor after its proof goes the next time, and no event is published again.
		"a_send_below_it_during_the_erasure": func(l log) {
			execSQL(l.T, l.pool, `delete from log.messages where n = 4`) // so that nobody has had its position
			clearFor(l.T, l.Repo, 1, 8, "alice", "bob")
			wantRaised(l, at(8))
			tx := begin(l.T, l.Repo)
			if _, err := tx.Exec(l.Context(), `insert into log.messages (room, sender, n, at, ms) values (1, 'carol', 4, now(), 0)`); err != nil {
				l.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				wantEnd(l, "alice8 in 1, bob8 in 1", "9-20 (12)")
			}()
			waitFor(l.T, l.Repo, blocked) // its counter on the room's row
			commit(l.T, tx)
			<-ended
			say(l.T, l.Repo, 1, 3, 3)
			wantRaised(l, purge.Raised{Open: true, Floor: 8})
			wantEnd(l, "", "9-20 (12)")
		},
		// Who joins after a deletion for everyone has been pinned sees what came later, and keeps it.
		"a_join_during_a_deletion_for_everyone": func(l log) {
			d, through := hideOf("", "", 1, 10), int64(10)
			d.Boundary = &through
			tx := begin(l.T, l.Repo)
			if _, err := tx.Exec(l.Context(), `insert into log.members (room, who) values (1, 'carol')`); err != nil {
				l.Fatal(err)
			}
			if err := l.EraseEveryone(l.Context(), d); err != nil {
				l.Error(err)
			}
			commit(l.T, tx)
			wantEnd(l, "", "11-20 (10)")
			clearFor(l.T, l.Repo, 1, 15, "alice", "bob")
			wantRaised(l, nothing)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := log{t, openLog(t)}
			fillLog(t, l.Repo, 1, 20, "alice", "bob")
			test(l)
			if open := keys(t, func() ([]purge.Key, error) { return l.Erasures(t.Context(), 9) }); open != "" {
				t.Errorf("an erasure is open: %s", open)
			}
		})
	}
}
