package repo

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/internal/purge"
)

// Single reports whether the plan needs a transaction for each deletion: all of them are for [Repo.Step] then.
func (r *Repo) Single() bool { return r.plan.Single() && r.plan.Members == nil }

// Bulk takes up the deletions that the ledger doesn't know, removes rows within the
// budget, and finishes what is empty, in one transaction of two round trips, or of one where
// a deletion comes alone. Of the others it only returns what the ledger has: the record of
// one that is known, and the zero record of one that stands behind another of its
// conversation, or whose command is known without it. Those are for [Repo.Step]. Not where [Repo.Single].
// After an error nothing was changed, or, when the connection broke, perhaps
// everything; the same call again finds out.
func (r *Repo) Bulk(ctx context.Context, b purge.Batch) (purge.Result, error) {
	for _, d := range b.Deletions {
		if err := r.widenKey(ctx, d.Scope); err != nil {
			return purge.Result{}, err
		}
	}
	order, named := make([]int, len(b.Deletions)), slices.Clone(b.Deletions)
	for i := range order {
		key := r.plan.Conversation(named[i])
		order[i], named[i].User, named[i].Conversation = i, key[1], key[2] // in one order, however their ids are spelled
	}
	carryOut, before := r.bulk, compare
	if r.plan.Members != nil {
		carryOut, before = r.hide, compareHides
	}
	slices.SortStableFunc(order, func(i, j int) int { return before(named[i], named[j]) })
	sorted := b
	sorted.Deletions = make([]purge.Deletion, len(order))
	for i, o := range order {
		sorted.Deletions[i] = b.Deletions[o]
	}
	res, err := carryOut(ctx, sorted)
	if err == nil {
		err = r.adoptReused(ctx, sorted.Deletions, res.Records)
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

// bulk is Bulk for deletions in the order of their locks. Those of which triggers write rows back at the commit it leaves for steps.
func (r *Repo) bulk(ctx context.Context, b purge.Batch) (purge.Result, error) {
	fresh := r.fresh(b.Deletions)
	for {
		res, kept, err := r.tryBulk(ctx, b, fresh)
		if err != nil || len(kept) == 0 {
			return res, err
		}
		for _, i := range kept {
			fresh[i] = false
		}
	}
}

// tryBulk is bulk for the fresh deletions, or returns which of them triggers put back, and has changed nothing then.
func (r *Repo) tryBulk(ctx context.Context, b purge.Batch, fresh []bool) (res purge.Result, kept []int, err error) {
	res = emptyResult(len(b.Deletions))
	t := r.begin(true)
	t.preferred = r.ready
	if b.Timeout > 0 {
		t.limits.statement = min(t.limits.statement, b.Timeout)
	}
	var children []int
	err = t.converse(ctx, func(roundTrip func() error) error {
		emptied, err := r.takeAndFinish(t, b, fresh, &res, &children, roundTrip)
		if err != nil || !r.triggers.Load() {
			return err
		}
		there := r.queuePutBack(t, "put_back", emptied, nil)
		if err := roundTrip(); err != nil {
			return err
		}
		for i, rec := range res.Records {
			if res.Finished[i] && there[i].err(rec.HistoryKept, rec.ConversationRemoved) != nil {
				kept = append(kept, i)
			}
		}
		if len(kept) > 0 {
			return errAbandon
		}
		return nil
	})
	if err != nil {
		return purge.Result{}, nil, r.orRace(err, b)
	}
	sum(&res, children, b.Budget)
	return res, kept, nil
}

// orRace is err, or contention where a child row may have come in between: a foreign key
// that it violates says nothing of the deletion, nor does the ledger's key. A batch that passes over locked rows has
// locked its messages before it looks for child rows, so that none can.
func (r *Repo) orRace(err error, b purge.Batch) error {
	var pg *pgconn.PgError
	switch {
	case !errors.As(err, &pg):
		return err
	case b.Listed && pg.Code == uniqueViolation && pg.SchemaName == "lethe": // another worker has taken one up
	case !r.plan.Locked || r.plan.Loose || b.SkipLocked || pg.Code != foreignKeyViolation:
		return err
	}
	_, cause := purge.FaultOf(err)
	return &purge.FaultError{Fault: purge.Contention, Cause: cause, Err: err}
}

// takeAndFinish carries a batch's fresh deletions out up to its commit, and fills res and the counts of the
// child tables' rows in. It returns of what nothing is left of those that have been finished.
func (r *Repo) takeAndFinish(t *transaction, b purge.Batch, fresh []bool, res *purge.Result, children *[]int, roundTrip func() error) ([]emptied, error) {
	all := make([]emptied, len(b.Deletions))
	for i, d := range b.Deletions {
		all[i] = emptied{key: d.Key, above: bottom}
	}
	var through []*int64
	var doubts, lookedUp []*string
	readTaken := func(rows pgx.Rows) error {
		into := []any{&through, &res.Deleted, &doubts, children, &lookedUp}
		return rows.Scan(into[:len(rows.FieldDescriptions())]...) // the last only where the plan looks something up
	}
	readTakenOne := func(rows pgx.Rows) error {
		into := []any{&through, &res.Deleted, &doubts, children, nil, nil, nil}
		return rows.Scan(into[:len(rows.FieldDescriptions())]...)
	}
	found := func(i int, rec purge.Record, written bool) {
		res.Records[i], res.Finished[i] = rec, written && rec.State == purge.Done
		if res.Finished[i] {
			judge(&res.Records[i], doubts[i])
		}
	}
	if len(b.Deletions) == 1 && fresh[0] && !b.SkipLocked && !r.plan.Loose && !(r.plan.LooksUp() && r.triggers.Load()) {
		a := argsOf(b.Deletions[0]).with(args{
			"each": b.Budget.PerDeletion, "rows": b.Budget.Rows, "lease": r.cfg.Lease(),
		})
		t.query(readTakenOne, r.sql.get("bulk_take_one"), a)
		t.query(readRecords(b.Deletions, found), r.sql.get("bulk_finish_one"), a)
		return all, nil
	}
	c := columnsOf(b.Deletions)
	a := args{
		"apps": c.apps, "commands": c.commands, "conversations": c.conversations, "tokens": c.tokens, "users": c.users, "devices": c.devices,
		"wanted": c.through, "stored_at": c.stored, "kept": c.keep, "conversations_kept": c.keepRow, "scopes": c.scopes, "requesters": c.requesters, "requested_at": c.requested, "digests": c.digests, "fresh": fresh,
		"each": b.Budget.PerDeletion, "rows": b.Budget.Rows, "lease": r.cfg.Lease(),
	}
	take, lock := "bulk_take", "bulk_lock"
	if b.Listed {
		take, lock = take+"_listed", lock+"_listed"
	}
	if b.SkipLocked {
		take, lock = take+"_unlocked", lock+"_unlocked"
	}
	if s := r.sql[lock]; s != nil { // the plan needs it
		t.exec(nil, s, a)
	}
	t.query(readTaken, r.sql.get(take), a)
	if err := roundTrip(); err != nil {
		return nil, err
	}
	t.query(readRecords(b.Deletions, found), r.sql.get("bulk_finish"), a.with(args{"through_seqs": through, "deleted": res.Deleted, "looked_up": lookedUp}))
	for i := range lookedUp {
		all[i].lookedUp = lookedUp[i]
	}
	return all, nil
}

// fresh says which deletions a batch may take up: of one conversation the first alone,
// since a statement can change its row only once.
func (r *Repo) fresh(ds []purge.Deletion) []bool {
	fresh, seen := make([]bool, len(ds)), make(map[[3]string]bool, len(ds))
	for i, d := range ds {
		key := r.plan.Conversation(d)
		fresh[i], seen[key] = !seen[key], true
	}
	return fresh
}

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

// childTable is the set of the plan's i-th child table alone.
func childTable(i int) purge.Tables { return purge.Table(2 + i) }

// columns are the deletions of one statement, column by column, as unnest takes
// them.
type columns struct {
	apps, commands, conversations []string
	tokens                        [][16]byte
	users, devices, requested     []string
	through                       []*int64
	stored                        []time.Time
	keep, keepRow                 []bool
	scopes, requesters            []string
	digests                       [][]byte
}

func columnsOf(ds []purge.Deletion) columns {
	var c columns
	for _, d := range ds {
		c.apps, c.commands = append(c.apps, d.App), append(c.commands, d.Command)
		c.conversations, c.tokens = append(c.conversations, d.Conversation), append(c.tokens, d.Token)
		c.users, c.devices = append(c.users, d.User), append(c.devices, d.Device)
		c.requested, c.through = append(c.requested, formatTime(d.RequestedAt)), append(c.through, d.ThroughSeq)
		c.stored, c.keep = append(c.stored, d.StoredAt), append(c.keep, d.KeepHistory)
		c.keepRow, c.scopes, c.requesters = append(c.keepRow, d.KeepConversation), append(c.scopes, string(d.Scope)), append(c.requesters, d.RequestedBy)
		c.digests = append(c.digests, d.Digest[:])
	}
	return c
}
