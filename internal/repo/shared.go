package repo

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// A deletion of a shared log's member hides the history: it moves the watermark on, and removes nothing. What
// members have hidden is erased later; see erase.go.

// hideCount is up to how many messages that become hidden are counted, of one deletion and of all of one batch:
// more is reported as that many. Counting 100,000 takes 10 ms.
const (
	hideCount      = 100_000
	leastHideCount = 200
	batchHideCount = 20_000
)

// hides reports whether the deletion hides, instead of removing rows.
func (r *Repo) hides(d purge.Deletion) bool { return r.plan.Members != nil && !d.Erasure() }

// compareHides orders by the log and then by the member: what triggers of the members' table do to the
// conversations, two workers do in the same order, too.
func compareHides(a, b purge.Deletion) int {
	if c := strings.Compare(a.App, b.App); c != 0 {
		return c
	}
	if c := strings.Compare(a.Conversation, b.Conversation); c != 0 {
		return c
	}
	return compare(a, b)
}

// hide is bulk in a shared log with members: one round trip and the commit. It takes up what the ledger has unfinished, too, whoever
// has the lease: to hide twice changes nothing. Where several come together it passes over locked rows in
// any case: to wait would hold the others' rows, too. Those whose members' rows a trigger keeps it leaves for steps.
func (r *Repo) hide(ctx context.Context, b purge.Batch) (purge.Result, error) {
	fresh := r.fresh(b.Deletions)
	for {
		res, kept, err := r.tryHide(ctx, b, fresh)
		if err != nil || len(kept) == 0 {
			return res, err
		}
		for i := range kept {
			fresh[i] = false
		}
	}
}

// tryHide hides fresh deletions, or returns which of them are kept, and has changed nothing then.
func (r *Repo) tryHide(ctx context.Context, b purge.Batch, fresh []bool) (res purge.Result, kept map[int]purge.Kept, err error) {
	res = emptyResult(len(b.Deletions))
	t := r.begin(true)
	t.preferred = r.ready
	if b.Timeout > 0 {
		t.limits.statement = min(t.limits.statement, b.Timeout)
	}
	err = t.converse(ctx, func(roundTrip func() error) error {
		kept = r.queueHide(t, b.Deletions, fresh, &res)
		if err := roundTrip(); err != nil {
			return err
		}
		if len(kept) > 0 {
			return errAbandon
		}
		return nil
	})
	if err != nil {
		return purge.Result{}, nil, err
	}
	if slices.Contains(res.Finished, true) {
		res.Tables = purge.ConversationsTable
	}
	return res, kept, nil
}

// queueHide adds the statements that hide fresh deletions, and fills res in with what they return, and kept with those that must not
// be committed.
func (r *Repo) queueHide(t *transaction, ds []purge.Deletion, fresh []bool, res *purge.Result) (kept map[int]purge.Kept) {
	c := columnsOf(ds)
	a := args{
		"apps": c.apps, "commands": c.commands, "conversations": c.conversations, "users": c.users, "devices": c.devices, "wanted": c.through,
		"stored_at": c.stored, "requested_at": c.requested, "digests": c.digests, "fresh": fresh, "count": hideCount,
	}
	lock := "hide_lock"
	if len(ds) > 1 {
		lock = "hide_lock_unlocked"
		a["count"] = max(leastHideCount, batchHideCount/len(ds))
	}
	boundaries, users, conversations := make([]*int64, len(ds)), make([]string, len(ds)), make([]string, len(ds))
	for i, d := range ds {
		key := r.plan.Conversation(d)
		boundaries[i], users[i], conversations[i] = d.Boundary, key[1], key[2]
	}
	a = a.with(args{
		"boundaries": boundaries, "scopes": c.scopes, "requesters": c.requesters, "conversations_kept": c.keepRow, "log_users": users, "log_conversations": conversations,
	})
	t.exec(nil, r.sql.get(lock), a)
	t.query(readRecords(ds, func(i int, rec purge.Record, written bool) {
		res.Records[i], res.Finished[i] = rec, written
		if written { // without a member's row and without messages it may be another database's
			res.Records[i].Unknown = rec.ThroughSeq == 0 && rec.ConversationRemoved && rec.Scope != purge.ScopeEveryone
		}
	}), r.sql.get("hide"), a)
	return r.queueKept(t, a)
}

// The places where a trigger can keep what a hide writes, and what a watermark can't say.
const (
	keptWatermark = iota + 1 // of the member's row
	keptUnread
	keptLedger // lethe.watermarks
	keptZero   // the boundary
	keptMissing
)

// queueKept adds the statement that finds those deletions of this transaction whose members would still see what they have deleted.
func (r *Repo) queueKept(t *transaction, a args) (kept map[int]purge.Kept) {
	kept = map[int]purge.Kept{}
	r.fireDeferred(t)
	t.query(func(rows pgx.Rows) error {
		var ord, by int
		var missing string
		if err := rows.Scan(&ord, &by, &missing); err != nil {
			return err
		}
		m := r.plan.Members
		kept[ord-1] = map[int]purge.Kept{
			keptWatermark: {Table: m.Name, Column: cmp.Or(m.Watermark, m.Unread), Rows: 1},
			keptUnread:    {Table: m.Name, Column: m.Unread, Rows: 1},
			keptLedger:    {Table: "lethe.watermarks", Column: "cleared_through", Rows: 1},
			keptZero:      {Table: r.plan.Messages.Name, AtZero: true},
			keptMissing:   {Missing: missing},
		}[by]
		return nil
	}, r.sql.get("hide_kept"), a)
	return kept
}

// errKept is why a hide has changed nothing.
func errKept(k purge.Kept) error {
	return &purge.FaultError{Fault: purge.Command, Cause: "kept", Err: k}
}

// errMemberChanged is why a hide that has waited for its member's row did nothing.
var errMemberChanged = errors.New("the member's row has come or been replaced at this moment")

// hideStep is Step in a shared log with members: a batch of one, that waits for locks.
func (r *Repo) hideStep(ctx context.Context, d purge.Deletion, p purge.Part) (purge.Step, error) {
	res := emptyResult(1)
	t := r.begin(true)
	if p.Timeout > 0 {
		t.limits.statement = min(t.limits.statement, p.Timeout)
	}
	if p.LockTimeout > 0 {
		t.limits.lock = min(t.limits.lock, p.LockTimeout)
	}
	err := t.converse(ctx, func(roundTrip func() error) error {
		kept := r.queueHide(t, []purge.Deletion{d}, r.fresh([]purge.Deletion{d}), &res)
		if err := roundTrip(); err != nil {
			return err
		}
		for _, k := range kept {
			return errKept(k)
		}
		return nil
	})
	if err != nil {
		return purge.Step{}, err
	}
	if err := r.adoptReused(ctx, []purge.Deletion{d}, res.Records); err != nil {
		return purge.Step{}, err
	}
	rec := res.Records[0]
	if !rec.Final() && !rec.Reused {
		return purge.Step{}, &purge.FaultError{Fault: purge.Contention, Cause: "member", Err: errMemberChanged}
	}
	step := purge.Step{Record: rec, Finished: res.Finished[0], Low: rec.ThroughSeq, Reached: true, Empty: true}
	if step.Finished {
		step.Tables = purge.ConversationsTable
	}
	return step, nil
}

// warmHide is warm in a shared log with members.
func (r *Repo) warmHide(ctx context.Context, conn *pgx.Conn) {
	t, res := r.begin(true), emptyResult(0)
	roundTrip := t.roundTripper(ctx, conn)
	r.queueHide(t, nil, nil, &res)
	t.end()
	if roundTrip() != nil {
		rollback(ctx, conn)
	}
}
