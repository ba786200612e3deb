package repo

import (
	"context"

	"github.com/lethe-im/lethe/internal/purge"
)

// adoptReused looks once more at the deletions of which res says that their
// command's id was used for other content: a command that a replay has entered in
// the ledger has no content there, since no event tells it, and takes over that of
// the first duplicate that fits what its events say. res is then what the ledger
// says of them. Where nothing was reused, it asks nobody.
func (r *Repo) adoptReused(ctx context.Context, b purge.Batch, res *purge.Result) error {
	var at []int
	again := b
	again.Deletions = nil
	for i, rec := range res.Records {
		if rec.Reused {
			at, again.Deletions = append(at, i), append(again.Deletions, b.Deletions[i])
		}
	}
	if len(at) == 0 {
		return nil
	}
	c := columnsOf(again.Deletions)
	t := r.begin(true)
	t.exec(nil, r.sql.adopt, c.apps, c.commands, c.conversations, c.users, c.devices, c.through, c.keep, c.digests)
	if err := r.commit(ctx, t); err != nil {
		return err
	}
	again.Again = true
	more, err := r.express(ctx, again) // which also takes up what the ledger doesn't know of the command
	if err != nil {
		return err
	}
	for j, i := range at {
		res.Records[i], res.Deleted[i], res.Finished[i] = more.Records[j], more.Deleted[j], more.Finished[j]
	}
	res.Rows, res.BudgetSpent, res.Tables = res.Rows+more.Rows, res.BudgetSpent || more.BudgetSpent, res.Tables|more.Tables
	return nil
}
