package repo

import (
	"context"

	"github.com/lethe-im/lethe/internal/purge"
)

// Fail counts a failure of d, as far as f says that it is an attempt, releases its
// lease and pins its boundary if that has not been done; at the last attempt the
// deletion is failed. A deletion
// that the ledger didn't know is entered. The record says what it is now; it is
// unchanged where another worker holds the lease or the deletion is final.
func (r *Repo) Fail(ctx context.Context, d purge.Deletion, f purge.Failure) (purge.Record, error) {
	if _, unfit := r.Incompatible(d); unfit == nil {
		rec, err := r.fail(ctx, d, f, r.sql.failPinned)
		if fault, _ := purge.FaultOf(err); err == nil || !fault.MayBeCommand() {
			return rec, err
		}
	}
	return r.fail(ctx, d, f, r.sql.fail) // there is no boundary to be had
}

func (r *Repo) fail(ctx context.Context, d purge.Deletion, f purge.Failure, sql string) (purge.Record, error) {
	t := r.begin(true)
	r.enter(t, d)
	t.exec(nil, sql, d.App, d.Command, d.Conversation, d.Token, f.MaxAttempts, f.Reason, f.Message, f.Err, d.Digest[:], f.Counts(), !f.Unproven)
	return r.commitOne(ctx, t, d)
}

// enter adds the statements that enter a deletion which the ledger doesn't know,
// without its boundary.
func (r *Repo) enter(t *transaction, d purge.Deletion) {
	t.exec(nil, r.sql.claimCommands, []string{d.App}, []string{d.Command}, [][]byte{d.Digest[:]})
	t.exec(nil, r.sql.failClaim, d.App, d.Command, d.Conversation, d.Token, d.User, d.Device, d.ThroughSeq, d.StoredAt,
		d.KeepHistory, formatTime(d.RequestedAt), d.Digest[:])
}

// Reopen makes a failed deletion pending again for the dead letter d.Retry,
// once for each letter. A deletion that is not failed stays as it is.
func (r *Repo) Reopen(ctx context.Context, ds []purge.Deletion) error {
	t := r.begin(true)
	for _, d := range ds {
		t.exec(nil, r.sql.reopen, d.App, d.Command, d.Conversation, int64(d.Retry), d.Digest[:]) //nolint:gosec // a stream's sequence
	}
	return r.commit(ctx, t)
}

// Incompatible says why the deletion's ids can't be keys of the plan's tables,
// nil if they can. whole says that it is the command's fault, its app's or
// user's id, and not this one conversation's. Pure: it asks nobody.
func (r *Repo) Incompatible(d purge.Deletion) (whole bool, err error) {
	return r.plan.Incompatible(d)
}
