package repo

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// Express takes up what the ledger doesn't know, removes rows within the
// budget, finishes what is empty, and tells what the ledger says of every
// deletion, also of those known before. One round trip, one transaction: after
// an error nothing was changed, or, when the connection broke, perhaps
// everything; the same call again finds out. A second call with the same tokens
// goes on where the first one stopped.
func (r *Repo) Express(ctx context.Context, b purge.Batch) (purge.Result, error) {
	order := make([]int, len(b.Deletions))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return compare(b.Deletions[i], b.Deletions[j]) })
	sorted := make([]purge.Deletion, len(order))
	for i, o := range order {
		sorted[i] = b.Deletions[o]
	}
	b.Deletions = sorted
	res, err := r.express(ctx, b)
	if err == nil {
		err = r.adoptReused(ctx, b, &res)
	}
	if err != nil {
		return purge.Result{}, err
	}
	out := emptyResult(len(order))
	out.Rows, out.BudgetSpent, out.Tables = res.Rows, res.BudgetSpent, res.Tables
	for i, o := range order {
		out.Records[o], out.Deleted[o], out.Finished[o] = res.Records[i], res.Deleted[i], res.Finished[i]
	}
	return out, nil
}

func emptyResult(n int) purge.Result {
	return purge.Result{Records: make([]purge.Record, n), Finished: make([]bool, n), Deleted: make([]int, n)}
}

// compare orders by the messages' key, so that two workers take row locks in
// the same order.
func compare(a, b purge.Deletion) int {
	if c := strings.Compare(a.App, b.App); c != 0 {
		return c
	}
	if c := strings.Compare(a.User, b.User); c != 0 {
		return c
	}
	if c := strings.Compare(a.Conversation, b.Conversation); c != 0 {
		return c
	}
	return strings.Compare(a.Command, b.Command)
}

// express is Express for deletions in the order of their locks.
func (r *Repo) express(ctx context.Context, b purge.Batch) (purge.Result, error) {
	res := emptyResult(len(b.Deletions))
	t := r.begin(true)
	if !b.Isolated {
		t.own = r.ready
	}
	if b.Timeout > 0 {
		t.limits.statement = min(t.limits.statement, b.Timeout)
	}
	children := r.queue(t, b, &res)
	if err := r.commit(ctx, t); err != nil {
		return purge.Result{}, err
	}
	sum(&res, *children, b.Budget)
	return res, nil
}

// queue adds the statements of a batch to t, which fill res in, and returns where
// the counts of the other tables' rows will stand.
func (r *Repo) queue(t *transaction, b purge.Batch, res *purge.Result) *[]int {
	if r.takes(b) {
		return r.queueTake(t, b, res)
	}
	return r.queueKnown(t, b, res)
}

// queueKnown is the long way: it goes for deletions that the ledger may know, too.
func (r *Repo) queueKnown(t *transaction, b purge.Batch, res *purge.Result) *[]int {
	c := columnsOf(b.Deletions)
	keys := []any{c.apps, c.commands, c.conversations, c.tokens}
	with := func(more ...any) []any { return append(slices.Clone(keys), more...) }
	t.exec(nil, r.sql.claim, with(c.users, c.devices, c.through, c.stored, c.keep, c.requested, c.digests, r.cfg.Lease())...)
	if b.Reclaim {
		t.exec(nil, r.sql.reclaim, with(c.digests, r.cfg.Lease(), b.Budget.PerDeletion)...)
	}
	if b.Again {
		t.exec(nil, r.sql.lockLedger, keys...)
	}
	children := r.queueRows(t, b, with, res)
	r.finish(t, r.sql.finish, b.Deletions, c, res)
	return children
}

// childTable is the set of the plan's i-th child table alone.
func childTable(i int) purge.Tables { return purge.Table(2 + i) }

// sum fills in how many rows went, and whether they have spent the budget.
func sum(res *purge.Result, children []int, budget purge.Budget) {
	for _, n := range res.Deleted {
		res.Rows += n
	}
	res.BudgetSpent = res.Rows >= budget.Rows
	if res.Rows > 0 {
		res.Tables |= purge.MessagesTable
	}
	for i, n := range children {
		res.Rows += n
		res.BudgetSpent = res.BudgetSpent || n >= budget.Rows
		if n > 0 {
			res.Tables |= childTable(i)
		}
	}
	for i, finished := range res.Finished {
		if finished {
			res.Tables |= res.Records[i].Removed()
		}
	}
}

// queueRows adds the deletes, in the order that the plan asks for, and
// returns where the children's counts will stand.
func (r *Repo) queueRows(t *transaction, b purge.Batch, with func(...any) []any, res *purge.Result) *[]int {
	per, rows := b.Budget.PerDeletion, b.Budget.Rows
	counts := make([]int, len(r.plan.Children))
	messages := func(sql string) {
		t.query(func(rows pgx.Rows) error {
			var ord, n int
			if err := rows.Scan(&ord, &n); err != nil {
				return err
			}
			if ord > 0 { // 0: the conversations' rows
				res.Deleted[ord-1] = n
			}
			return nil
		}, sql, with(per, rows)...)
	}
	if r.plan.Locked {
		t.exec(nil, r.sql.lockedMessages, with(per, rows)...)
		for i, sql := range r.sql.lockedExpressChildren {
			t.exec(&counts[i], sql, with(per, rows)...)
		}
		messages(r.sql.lockedExpressMessages)
		return &counts
	}
	sql, children := r.sql.expressMessages, r.sql.expressChildren
	if b.SkipLocked {
		sql, children = r.sql.expressMessagesSkip, r.sql.expressChildrenSkip
	}
	messages(sql)
	if children != "" {
		t.query(func(rows pgx.Rows) error { return rows.Scan(&counts) }, children, with(rows)...)
	}
	return &counts
}
