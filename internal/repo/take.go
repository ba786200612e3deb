package repo

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// takes says that the batch can go the short way: none of its deletions is known
// to be in the ledger, no lock has been in its way, nothing refers to messages,
// and no conversation comes twice, which a statement could change only once.
func (r *Repo) takes(b purge.Batch) bool {
	if b.Again || b.Reclaim || b.SkipLocked || r.schema.Locked {
		return false
	}
	seen := make(map[[3]string]bool, len(b.Deletions))
	for _, d := range b.Deletions {
		key := r.schema.conversation(d)
		if seen[key] {
			return false
		}
		seen[key] = true
	}
	return true
}

// takeArgs are the arguments of the three statements of the short way.
type takeArgs struct {
	take, children, finish []any
}

// take is the short way of [Repo.Express]: the ledger's row is written once, with
// the outcome, instead of being entered, counted and finished. What the ledger
// knows already is told and not touched.
func (r *Repo) take(ctx context.Context, b purge.Batch) (purge.Result, error) {
	res := emptyResult(len(b.Deletions))
	take, takeChildren, finish := r.sql.take, r.sql.takeChildren, r.sql.takeFinish
	args := r.takeMany(b)
	if len(b.Deletions) == 1 {
		take, takeChildren, finish = r.sql.takeOne, r.sql.takeOneChildren, r.sql.takeOneFinish
		args = r.takeOne(b)
	}
	t := r.begin(true)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&res.Deleted, nil, nil, nil) }, take, args.take...)
	children := make([]int, len(r.schema.Children))
	if takeChildren != "" {
		t.query(func(rows pgx.Rows) error { return rows.Scan(&children) }, takeChildren, args.children...)
	}
	t.query(readOutcomes(b.Deletions, &res), finish, args.finish...)
	if err := r.commit(ctx, t); err != nil {
		return purge.Result{}, err
	}
	sum(&res, children, b.Budget)
	return res, nil
}

func (r *Repo) takeMany(b purge.Batch) takeArgs {
	c := columnsOf(b.Deletions)
	return takeArgs{
		take:     []any{c.apps, c.commands, c.conversations, c.users, c.through, c.stored, c.keep, c.digests, b.Budget.PerDeletion, b.Budget.Rows},
		children: []any{c.apps, c.users, c.conversations, c.keep, b.Budget.Rows},
		finish: []any{
			c.apps, c.commands, c.conversations, c.tokens, c.users, c.devices, c.through, c.stored, c.keep, c.requested, c.digests, r.cfg.Lease,
		},
	}
}

func (r *Repo) takeOne(b purge.Batch) takeArgs {
	d := b.Deletions[0]
	return takeArgs{
		take:     []any{d.App, d.Command, d.Conversation, d.User, d.ThroughSeq, d.StoredAt, d.KeepHistory, d.Digest[:], min(b.Budget.PerDeletion, b.Budget.Rows)},
		children: []any{d.App, d.User, d.Conversation, d.KeepHistory, b.Budget.Rows},
		finish: []any{
			d.App, d.Command, d.Conversation, d.Token, d.User, d.Device, d.ThroughSeq, d.StoredAt, d.KeepHistory, formatTime(d.RequestedAt), d.Digest[:], r.cfg.Lease,
		},
	}
}
