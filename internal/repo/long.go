package repo

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// Claim takes the lease of an unfinished deletion, if nobody else holds it, and
// pins its boundary if that has not been done. The record says whether the
// lease is ours (Mine) and, if not, how long it lasts. Claiming again renews it.
func (r *Repo) Claim(ctx context.Context, d purge.Deletion) (purge.Record, error) {
	t := r.begin(true)
	t.exec(nil, r.sql.longClaim, d.App, d.Command, d.Conversation, d.Token, r.cfg.Lease())
	return r.commitOne(ctx, t, d)
}

// commitOne commits t and returns what the ledger says of d.
func (r *Repo) commitOne(ctx context.Context, t *transaction, d purge.Deletion) (purge.Record, error) {
	ds := []purge.Deletion{d}
	recs := make([]purge.Record, 1)
	r.outcome(t, ds, columnsOf(ds), recs)
	if err := r.commit(ctx, t); err != nil {
		return purge.Record{}, err
	}
	return recs[0], nil
}

// Step removes the batch that p says, and what hangs on its messages, and renews
// the lease, in one transaction of one round trip, unless it is held (see
// [purge.Held]): then it changes nothing. It first walks over what earlier batches
// have left behind, as far as p says; see [Repo.Sweep].
// The commit doesn't wait for the disk: a batch that is lost in a crash is done
// again. If the lease was lost nothing is changed and the record is not Mine.
// Where the role may not note in lethe.throttles that all workers shall rest, only the
// caller can.
func (r *Repo) Step(ctx context.Context, d purge.Deletion, p purge.Part) (purge.Step, error) {
	t := r.begin(false)
	turn := r.takeTurn(t, p.ForegroundBackoff > 0)
	if p.SweepTo > p.SweepFrom {
		r.queueSweep(t, d, p.SweepFrom, p.SweepTo)
	}
	n := r.queueStep(t, d, p.Low, p.Limit)
	if p.ForegroundBackoff > 0 && r.mayThrottle.Load() {
		t.exec(nil, noteYield, p.ForegroundBackoff)
	}
	defer r.own()
	rec, err := r.commitOne(ctx, t, d)
	if held := turn.heldBy(err); held.Cause != "" {
		return purge.Step{Record: rec, Low: p.Low, Held: held, Waited: turn.waited}, nil
	}
	if err == nil && rec.Mine && n.gone != n.found && !r.plan.Locked {
		rec, err = r.correct(ctx, d, n.gone-n.found)
	}
	if err != nil {
		return purge.Step{}, err
	}
	step := n.step(p.Low, p.Limit)
	step.Record, step.Waited = rec, turn.waited
	if r.plan.Locked && n.gone < n.found {
		step.Low = p.Low
	}
	return step, nil
}

// stepCounts is what a batch's statements tell.
type stepCounts struct {
	high        int64 // how far the batch reaches
	found, gone int   // messages
	children    []int // rows of each table
}

// queueStep adds a batch's statements to t. Where foreign keys refer to the
// messages, these go after what hangs on them.
func (r *Repo) queueStep(t *transaction, d purge.Deletion, low int64, limit int) *stepCounts {
	n := &stepCounts{high: low, children: make([]int, len(r.plan.Children))}
	key := []any{d.App, d.User, d.Conversation, d.Command, d.Token, low, limit}
	t.query(func(rows pgx.Rows) error { return rows.Scan(&n.high, &n.found) }, r.sql.longStart, append(key[:7:7], r.cfg.Lease())...)
	children := r.sql.lockedLongChildren
	if !r.plan.Locked {
		t.exec(&n.gone, r.sql.longMessages, key[:6]...)
		children = r.sql.longChildren
	}
	for i, sql := range children {
		t.exec(&n.children[i], sql, key...)
	}
	if r.plan.Locked {
		t.query(func(rows pgx.Rows) error { return rows.Scan(&n.gone) }, r.sql.lockedLongMessages, key[:6]...)
	}
	return n
}

// step is what a batch of at most limit messages above low has done.
func (n *stepCounts) step(low int64, limit int) purge.Step {
	s := purge.Step{Low: n.high, Rows: n.gone, Full: n.found >= limit, Empty: n.found == 0}
	if n.gone > 0 {
		s.Tables = purge.MessagesTable
	}
	for i, rows := range n.children {
		s.Rows += rows
		if rows > 0 {
			s.Tables |= childTable(i)
		}
		if rows >= limit { // more of it may hang on this range: go over it again
			s.Low, s.Full, s.Empty = low, true, false
		}
	}
	return s
}

// correct mends the ledger's count where others deleted some of a batch's
// messages, or added some, in the moment between its count and its delete. A
// crash right before it leaves the count as the batch found it.
func (r *Repo) correct(ctx context.Context, d purge.Deletion, by int) (purge.Record, error) {
	defer r.own()
	t := r.begin(false)
	t.exec(nil, r.sql.longCorrect, d.App, d.Command, d.Conversation, d.Token, by)
	return r.commitOne(ctx, t, d)
}

// Sweep walks over what batches have deleted above low and up to high, so that
// [Repo.Finish] passes it quickly. It changes nothing that anybody can see and
// takes no locks; what it finds is left to Finish. [Repo.Step] does it for earlier
// batches on its way.
func (r *Repo) Sweep(ctx context.Context, d purge.Deletion, low, high int64) error {
	defer r.own()
	t := r.begin(false)
	r.queueSweep(t, d, low, high)
	return r.commit(ctx, t)
}

func (r *Repo) queueSweep(t *transaction, d purge.Deletion, low, high int64) {
	t.exec(nil, r.sql.sweep, d.App, d.User, d.Conversation, low, high)
}

// Finish finishes a deletion whose lease we hold, if nothing at or below its
// boundary is left; it waits for the conversation's row. The record says
// whether it is done now; if it is not, something has appeared below the
// boundary, or the lease was lost (then it is not Mine).
func (r *Repo) Finish(ctx context.Context, d purge.Deletion) (purge.Record, error) {
	ds := []purge.Deletion{d}
	c, res := columnsOf(ds), emptyResult(1)
	t := r.begin(true)
	t.exec(nil, r.sql.longProve, d.App, d.User, d.Conversation, d.Command, d.Token, r.cfg.Lease())
	t.exec(nil, r.sql.lockConversations, c.apps, c.commands, c.conversations, c.tokens)
	r.finish(t, r.sql.finishProven, ds, c, &res)
	if err := r.commit(ctx, t); err != nil {
		return purge.Record{}, err
	}
	return res.Records[0], nil
}

// Release gives the lease back, so that another worker can go on at once from
// low, at and below which nothing is left. No error if the lease was lost.
func (r *Repo) Release(ctx context.Context, d purge.Deletion, low int64) error {
	t := r.begin(true)
	t.exec(nil, r.sql.release, d.App, d.Command, d.Conversation, d.Token, low)
	return r.commit(ctx, t)
}

// Blocked is Release for a deletion that waits for another transaction's lock; detail
// says whose, for people. A deletion that the ledger doesn't know, since the lock
// kept it from being taken up, is entered.
func (r *Repo) Blocked(ctx context.Context, d purge.Deletion, low int64, detail string) error {
	t := r.begin(true)
	r.enter(t, d)
	t.exec(nil, r.sql.blocked, d.App, d.Command, d.Conversation, d.Token, low, detail)
	return r.commit(ctx, t)
}
