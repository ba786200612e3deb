package repo

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// turnClass is the class of the advisory locks that are the shared budget,
	// "leth" in ASCII. Advisory locks are the database's own.
	turnClass = 0x6c657468
	// turnPatience is how long a batch queues for its turn. It is below a second
	// because Postgres can be set to log who waits for longer than that, its
	// deadlock_timeout, and long enough for twenty batches of 40 ms before it.
	turnPatience = 900 * time.Millisecond
)

// turn is what a batch of the long lane finds out before it may change anything.
type turn struct {
	had    bool // a place in the budget
	held   purge.Held
	waited time.Duration // for the place
}

// takeTurn adds to t, in front of a batch, the statements that take a place in
// the budget and look whether anything holds the long lane; what comes after them
// hangs on the fence, which changes nothing then. Batches that yield to others go one by
// one, whatever the budget is, so that each finds the rest after the one before.
func (r *Repo) takeTurn(t *transaction, yields bool) *turn {
	n := r.cfg.LongConcurrency
	if yields {
		n = 1
	}
	u := &turn{had: n <= 0}
	if n > 0 {
		place := 1 + rand.IntN(n) //nolint:gosec // no secret
		t.query(func(pgx.Rows) error { u.had = true; return nil }, r.sql.turn, turnClass, n, place, millis(turnPatience))
	}
	t.query(func(rows pgx.Rows) error {
		var left, waited float64
		var set string
		err := rows.Scan(&u.held.Cause, &u.held.Detail, &left, &waited, &set, &set)
		u.held.Left, u.waited = seconds(left), seconds(waited)
		return err
	}, r.sql.held, millis(r.cfg.Target))
	return u
}

// heldBy returns what kept the batch from running, after its transaction ended
// with err. A lock timeout before the batch had its turn was the turn's.
func (u *turn) heldBy(err error) purge.Held {
	if _, cause := purge.FaultOf(err); err != nil && !u.had && cause == "lock_timeout" {
		return purge.Held{Cause: purge.NoPermit}
	}
	if err != nil {
		return purge.Held{}
	}
	return u.held
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Hold renews the lease of a deletion whose batches are held back, and notes what
// it waits for, "" for nothing to report, with details for people. Nothing is left at and below
// low. The record is not Mine if the lease was lost.
func (r *Repo) Hold(ctx context.Context, d purge.Deletion, low int64, waitingFor purge.ThrottleReason, detail string) (purge.Record, error) {
	t := r.begin(false)
	t.exec(nil, r.sql.hold, d.App, d.Command, d.Conversation, d.Token, r.cfg.Lease(), low, string(waitingFor), detail)
	return r.commitOne(ctx, t, d)
}

// noteYield lets the long lane of all workers rest for $1 times as long as this
// batch has taken since it had its turn, if it did anything. It comes last: the row
// is locked for the moment of the commit alone. By throttles_pkey.
const noteYield = `insert into lethe.throttles as h (lane, reason, until)
select 'long', 'foreground_load', clock_timestamp()
  + least($1::float8 * (clock_timestamp() - current_setting('lethe.began')::timestamptz), interval '1 s')
where current_setting('lethe.throttled') = ''
on conflict (lane, reason) do update set since = excluded.since, until = greatest(h.until, excluded.until)`

// noteRest notes that the long lane of all workers shall rest. By throttles_pkey.
const noteRest = `insert into lethe.throttles as h (lane, reason, until, detail) values ('long', 'slow_batch', clock_timestamp() + $1::interval, $2)
on conflict (lane, reason) do update
set since = excluded.since, until = greatest(h.until, excluded.until), detail = excluded.detail`

// Rest lets the long lane of all workers rest for a while; a longer rest that is
// under way stays. detail says why, for people.
func (r *Repo) Rest(ctx context.Context, rest time.Duration, detail string) error {
	t := r.begin(false)
	t.exec(nil, noteRest, rest, detail)
	return r.commit(ctx, t)
}
