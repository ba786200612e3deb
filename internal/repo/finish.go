package repo

import (
	"cmp"
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// Claim takes the lease of an unfinished deletion, if nobody else holds it, and
// pins its boundary if that has not been done. The record says whether the
// lease is ours (Mine) and, if not, how long it lasts. Claiming again renews it, and makes
// durable what the steps before have committed.
func (r *Repo) Claim(ctx context.Context, d purge.Deletion) (purge.Record, error) {
	t := r.begin(true)
	t.exec(nil, r.sql.get("claim"), argsOf(d).with(args{"lease": r.cfg.Lease()}))
	return r.commitOne(ctx, t, d)
}

// commitOne commits t and returns what the ledger has of d.
func (r *Repo) commitOne(ctx context.Context, t *transaction, d purge.Deletion) (rec purge.Record, err error) {
	t.query(readRecord(d, &rec), r.sql.get("record"), argsOf(d))
	if err := r.commit(ctx, t); err != nil {
		return purge.Record{}, err
	}
	return rec, nil
}

// Mark marks the dead index entries of what steps have deleted above low and up to high, so
// that [Repo.Finish] skips them. It changes nothing that anybody can see and
// takes no locks. [Repo.Step] does it on its way where it is asked to.
func (r *Repo) Mark(ctx context.Context, d purge.Deletion, low, high int64) error {
	defer r.countLong()
	t := r.begin(false)
	t.exec(nil, r.sql.get("step_mark"), argsOf(d).with(args{"from": low, "to": high}))
	return r.commit(ctx, t)
}

// Finish finishes a deletion whose lease we hold, if nothing at or below its
// boundary is left; it waits for the conversation's row. The record says
// whether it is done now; if it is not, something has appeared below the
// boundary, or the lease was lost (then it is not Mine).
func (r *Repo) Finish(ctx context.Context, d purge.Deletion) (purge.Record, error) {
	rec, err := r.tryFinish(ctx, d)
	if isKept(err) { // perhaps by somebody else, who has just written them
		rec, err = r.tryFinish(ctx, d)
	}
	return rec, err
}

func (r *Repo) tryFinish(ctx context.Context, d purge.Deletion) (rec purge.Record, err error) {
	t := r.begin(true)
	err = t.converse(ctx, func(roundTrip func() error) error {
		finished := false
		if err := r.finish(t, d, argsOf(d), roundTrip, &rec, &finished); err != nil || !r.triggers.Load() {
			return err
		}
		there := r.queuePutBack(t, "put_back", []emptied{{key: d.Key, above: bottom}}, nil)
		if err := roundTrip(); err != nil || !finished {
			return err
		}
		return there[0].err(rec.HistoryKept, rec.ConversationRemoved)
	})
	if err != nil {
		return purge.Record{}, err
	}
	return rec, nil
}

// finish adds to t what finishes a deletion, up to its commit. rec and finished are what has
// become of it.
func (r *Repo) finish(t *transaction, d purge.Deletion, a args, roundTrip func() error, rec *purge.Record, finished *bool) error {
	proven, version := false, ""
	var doubt *string
	t.query(func(rows pgx.Rows) error { return rows.Scan(&proven, &version) }, r.sql.get("finish_prove"), a)
	for _, name := range []string{"lock_conversation", "missing"} {
		if s := r.sql[name]; s != nil { // the plan needs it
			t.query(func(rows pgx.Rows) error {
				var found *string
				err := rows.Scan(&found)
				doubt = cmp.Or(found, doubt)
				return err
			}, s, a)
		}
	}
	if err := roundTrip(); err != nil {
		return err
	}
	t.query(readRecords([]purge.Deletion{d}, func(_ int, found purge.Record, written bool) {
		*rec, *finished = found, written
		if written {
			judge(rec, doubt)
		}
	}), r.sql.get("finish"), a.with(args{"proven": proven, "version": version}))
	return nil
}

// judge notes what to think of a deletion that this call has finished without finding a
// message. doubt is what the conversation's row said of messages, nil where there was no row.
func judge(rec *purge.Record, doubt *string) {
	switch {
	case rec.MessagesDeleted > 0:
	case doubt == nil:
		rec.Unknown = rec.ThroughSeq == 0
	case rec.ConversationRemoved && !rec.HistoryKept:
		rec.Doubt = *doubt
	}
}

// Renew renews the lease of a deletion that is throttled, and notes what
// it waits for, "" for nothing to report, with details for people. Nothing is left at and below
// low. The record is not Mine if the lease was lost.
func (r *Repo) Renew(ctx context.Context, d purge.Deletion, low int64, waitingFor purge.ThrottleReason, detail string) (purge.Record, error) {
	t := r.begin(false)
	t.exec(nil, r.sql.get("renew"), argsOf(d).with(args{"lease": r.cfg.Lease(), "low": low, "waiting_for": string(waitingFor), "detail": detail}))
	return r.commitOne(ctx, t, d)
}

// Release releases the lease, so that another worker can go on at once from
// low, at and below which nothing is left, and notes what the deletion waits for, "" for
// nothing, with details for people. If it waits for something, a deletion that the ledger
// doesn't know is entered, so that the ledger can say so. No error if the lease was lost.
func (r *Repo) Release(ctx context.Context, d purge.Deletion, low int64, waitingFor purge.ThrottleReason, detail string) error {
	t := r.begin(true)
	if waitingFor != "" {
		r.enter(t, d)
	}
	t.exec(nil, r.sql.get("release"), argsOf(d).with(args{"low": low, "waiting_for": string(waitingFor), "detail": detail}))
	return r.commit(ctx, t)
}

// Fail counts a failure of d, as far as f says that it is an attempt, releases its
// lease and pins its boundary if that has not been done; at the last attempt the
// deletion is failed. A deletion
// that the ledger doesn't know is entered. The record says what it is now; it is
// unchanged where another worker holds the lease or the deletion is final.
func (r *Repo) Fail(ctx context.Context, d purge.Deletion, f purge.Failure) (purge.Record, error) {
	if _, incompatible := r.Incompatible(d); incompatible == nil {
		rec, err := r.fail(ctx, d, f, r.sql.get("fail_pinned"))
		if fault, _ := purge.FaultOf(err); err == nil || !fault.MayBeCommand() {
			return rec, err
		}
	}
	return r.fail(ctx, d, f, r.sql.get("fail")) // there is no boundary to be had
}

func (r *Repo) fail(ctx context.Context, d purge.Deletion, f purge.Failure, s *statement) (purge.Record, error) {
	t := r.begin(true)
	r.enter(t, d)
	t.exec(nil, s, argsOf(d).with(args{
		"max": f.MaxAttempts, "reason": f.Reason, "message": f.Message, "error": f.Err, "counts": f.Counts(), "final": !f.Unproven,
	}))
	return r.commitOne(ctx, t, d)
}

// enter adds the statements that enter a deletion which the ledger doesn't know,
// without its boundary, unless the command has pinned one. An erasure has been entered with its floor.
func (r *Repo) enter(t *transaction, d purge.Deletion) {
	if d.Erasure() {
		return
	}
	a := argsOf(d)
	t.exec(nil, r.sql.get("enter_command"), a)
	t.exec(nil, r.sql.get("enter"), a)
}

// Reopen makes a failed deletion pending again for the dead letter d.Retry,
// once for each letter. A deletion that is not failed stays as it is.
func (r *Repo) Reopen(ctx context.Context, ds []purge.Deletion) error {
	t := r.begin(true)
	for _, d := range ds {
		t.exec(nil, r.sql.get("reopen"), argsOf(d).with(args{"letter": int64(d.Retry)})) //nolint:gosec // a stream's sequence
	}
	return r.commit(ctx, t)
}

// Incompatible says why the deletion's ids can't be keys of the plan's tables,
// nil if they can. whole says that it is the command's fault, its app's or
// user's id, and not this one conversation's. Pure: it asks nobody.
func (r *Repo) Incompatible(d purge.Deletion) (whole bool, err error) {
	return r.plan.Incompatible(d)
}

// adoptReused checks the deletions again of which recs says that their
// command's id was used for other content, and corrects recs: a command that a replay has entered in
// the ledger has no content there, since no event tells it, and takes over that of
// the first duplicate that fits what its events say. Where nothing was reused, it asks nobody.
func (r *Repo) adoptReused(ctx context.Context, ds []purge.Deletion, recs []purge.Record) error {
	var at []int
	var reused []purge.Deletion
	for i, rec := range recs {
		if rec.Reused {
			at, reused = append(at, i), append(reused, ds[i])
		}
	}
	if len(at) == 0 {
		return nil
	}
	if adopted, err := r.adopt(ctx, reused); err != nil || !adopted {
		return err
	}
	t := r.begin(false)
	for j, i := range at {
		recs[i] = purge.Record{}
		t.query(readRecord(reused[j], &recs[i]), r.sql.get("record"), argsOf(reused[j]))
	}
	return r.commit(ctx, t)
}

// adopt gives the commands of ds their content, where a replay has entered them without, and reports
// whether there was one.
func (r *Repo) adopt(ctx context.Context, ds []purge.Deletion) (bool, error) {
	c, n := columnsOf(ds), 0
	t := r.begin(true)
	t.exec(&n, r.sql.get("adopt"), args{
		"apps": c.apps, "commands": c.commands, "conversations": c.conversations, "users": c.users, "devices": c.devices, "wanted": c.through,
		"kept": c.keep, "requesters": c.requesters, "digests": c.digests,
	})
	return n > 0, r.commit(ctx, t)
}
