package repo

import (
	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// takes says that the batch can go the short way: none of its deletions is known
// to be in the ledger, no lock has been in its way, nothing refers to messages,
// and no conversation comes twice, which a statement could change only once.
func (r *Repo) takes(b purge.Batch) bool {
	if b.Again || b.Reclaim || b.SkipLocked || r.plan.Locked {
		return false
	}
	seen := make(map[[3]string]bool, len(b.Deletions))
	for _, d := range b.Deletions {
		key := r.plan.Conversation(d)
		if seen[key] {
			return false
		}
		seen[key] = true
	}
	return true
}

// queueTake is the short way of [Repo.Express]: the ledger's row is written once, with
// the outcome, instead of being entered, counted and finished. What the ledger
// knows already is told and not touched.
func (r *Repo) queueTake(t *transaction, b purge.Batch, res *purge.Result) *[]int {
	children := new([]int)
	start, finish, starts, finishes := r.sql.take, r.sql.takeFinish, r.takeMany, r.finishMany
	if len(b.Deletions) == 1 {
		start, finish, starts, finishes = r.sql.takeOne, r.sql.takeOneFinish, r.takeOne, r.finishOne
	}
	t.query(func(rows pgx.Rows) error { return rows.Scan(&res.Deleted, children, nil, nil, nil) }, start, starts(b)...)
	t.query(readOutcomes(b.Deletions, res), finish, finishes(b)...)
	return children
}

func (r *Repo) takeMany(b purge.Batch) []any {
	c := columnsOf(b.Deletions)
	return []any{c.apps, c.commands, c.conversations, c.users, c.through, c.stored, c.keep, c.digests, b.Budget.PerDeletion, b.Budget.Rows}
}

func (r *Repo) finishMany(b purge.Batch) []any {
	c := columnsOf(b.Deletions)
	return []any{
		c.apps, c.commands, c.conversations, c.tokens, c.users, c.devices, c.through, c.stored, c.keep, c.requested, c.digests, r.cfg.Lease(),
	}
}

func (r *Repo) takeOne(b purge.Batch) []any {
	d := b.Deletions[0]
	return []any{
		d.App, d.Command, d.Conversation, d.User, d.ThroughSeq, d.StoredAt, d.KeepHistory, d.Digest[:],
		b.Budget.PerDeletion, b.Budget.Rows,
	}
}

func (r *Repo) finishOne(b purge.Batch) []any {
	d := b.Deletions[0]
	return []any{
		d.App, d.Command, d.Conversation, d.Token, d.User, d.Device, d.ThroughSeq, d.StoredAt, d.KeepHistory,
		formatTime(d.RequestedAt), d.Digest[:], r.cfg.Lease(),
	}
}
