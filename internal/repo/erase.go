package repo

import (
	"context"
	"errors"

	"github.com/lethe-im/lethe/internal/purge"
)

// The erasure of a shared log is a row of the ledger without command and user, whose boundary is the
// floor. [Repo.RaiseFloor] and [Repo.EraseEveryone] open it; it is carried out by [Repo.Claim],
// [Repo.Step] and [Repo.Finish] like any large deletion ([purge.ErasureOf]). Once it is done, [Repo.PinErased] and
// [Repo.MarkErased] go through the hidden deletions that it covers, until none is left.

// RaiseFloor computes the floor of a shared log, pins it and opens the erasure, if there is
// something to erase or to report. Without a change of the floor it only reads. It waits for the conversation's row, and
// for a batch of an erasure under way. A failed erasure stays failed; see [Repo.ReopenErasure].
func (r *Repo) RaiseFloor(ctx context.Context, app, conversation string) (purge.Raised, error) {
	return purge.Raised{}, errors.ErrUnsupported
}

// EraseEveryone opens the erasure of a shared log through d.Boundary, whatever members have cleared. With removeRow
// the conversation's row goes at its end, unless newer messages remain.
func (r *Repo) EraseEveryone(ctx context.Context, d purge.Deletion, removeRow bool) error {
	return errors.ErrUnsupported
}

// ReopenErasure makes a failed erasure pending again.
func (r *Repo) ReopenErasure(ctx context.Context, app, conversation string) error {
	return errors.ErrUnsupported
}

// Raisable returns those of the conversations whose floor RaiseFloor may find to have risen. One statement, which
// takes no locks.
func (r *Repo) Raisable(ctx context.Context, ks []purge.Key) ([]purge.Key, error) {
	return nil, errors.ErrUnsupported
}

// Erasures returns the keys of open erasures that no worker has the lease of, at most limit of them.
func (r *Repo) Erasures(ctx context.Context, limit int) ([]purge.Key, error) {
	return nil, errors.ErrUnsupported
}

// Erasure returns what the ledger has of the erasure of a shared log; the zero value if it has none.
func (r *Repo) Erasure(ctx context.Context, app, conversation string) (purge.Erasure, error) {
	return purge.Erasure{}, errors.ErrUnsupported
}

// PinErased pins when what the next hidden deletions of a shared log cover was erased, and returns them, at most limit
// of them: those at or below the floor of its erasure, if that is done, that are not marked. Returning none it marks
// the erasure, which [Repo.Untold] doesn't return again.
func (r *Repo) PinErased(ctx context.Context, k purge.Key, limit int) ([]purge.Record, error) {
	return nil, errors.ErrUnsupported
}

// MarkErased notes that the stream has the event conversation.erased of the deletions.
func (r *Repo) MarkErased(ctx context.Context, recs []purge.Record) error {
	return errors.ErrUnsupported
}

// Untold returns the keys of done erasures whose hidden deletions PinErased has not gone through to the end, at most
// limit of them.
func (r *Repo) Untold(ctx context.Context, limit int) ([]purge.Key, error) {
	return nil, errors.ErrUnsupported
}

// Sweep looks at the next conversations, at most limit of them, that hidden deletions wait in, after the one of that
// key; the zero key stands before all. It returns those whose floor may have risen, and the key to go on from: the zero
// key when it has come to the end.
func (r *Repo) Sweep(ctx context.Context, after purge.Key, limit int) (risen []purge.Key, next purge.Key, err error) {
	return nil, purge.Key{}, errors.ErrUnsupported
}
