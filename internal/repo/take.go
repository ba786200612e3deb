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

// take is the short way of [Repo.Express]: the ledger's row is written once, with
// the outcome, instead of being entered, counted and finished. What the ledger
// knows already is told and not touched.
func (r *Repo) take(ctx context.Context, b purge.Batch) (purge.Result, error) {
	c, res := columnsOf(b.Deletions), emptyResult(len(b.Deletions))
	children := make([]int, len(r.schema.Children))
	t := r.begin(true)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&res.Deleted, nil, nil) },
		r.sql.take, c.apps, c.commands, c.conversations, c.users, c.through, c.stored, c.keep, c.digests, b.Budget.PerDeletion, b.Budget.Rows)
	if r.sql.takeChildren != "" {
		t.query(func(rows pgx.Rows) error { return rows.Scan(&children) },
			r.sql.takeChildren, c.apps, c.users, c.conversations, c.keep, b.Budget.Rows)
	}
	t.query(readOutcomes(b.Deletions, &res), r.sql.takeFinish, c.apps, c.commands, c.conversations, c.tokens, c.users, c.devices,
		c.through, c.stored, c.keep, c.requested, c.digests, r.cfg.Lease)
	if err := r.commit(ctx, t); err != nil {
		return purge.Result{}, err
	}
	sum(&res, children, b.Budget)
	return res, nil
}
