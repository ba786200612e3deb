package repo

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// The erasure of a shared log is a row of the ledger without command and user, whose boundary is the
// floor. [Repo.RaiseFloor] and [Repo.EraseEveryone] open it; [Repo.Claim], [Repo.Step] and [Repo.Finish] carry
// it out like any large deletion ([purge.ErasureOf]). Once it is done, [Repo.PinErased] and
// [Repo.MarkErased] go through the hidden deletions that it covers, until none is left.

// RaiseFloor computes the floor of a shared log, pins it and opens the erasure, if there is
// something to erase or to report: of the deletions that have spelled the conversation's id as it is here. Where the floor hasn't risen it only reads. Otherwise it waits for the conversation's
// row, and for a batch of an erasure under way. A failed erasure stays failed; see [Repo.ReopenErasure].
func (r *Repo) RaiseFloor(ctx context.Context, app, conversation string) (purge.Raised, error) {
	a := r.erasureArgs(app, conversation)
	risen, floor, since := false, (*int64)(nil), ""
	look := r.begin(false)
	look.query(func(rows pgx.Rows) error { return rows.Scan(&risen, &floor, &since) }, r.sql.get("floor_look"), a)
	if err := r.commit(ctx, look); err != nil || !risen {
		return purge.Raised{}, err
	}
	var raised purge.Raised
	t := r.begin(true)
	err := t.converse(ctx, func(roundTrip func() error) error {
		r.lockErasure(t, a)
		r.lockConversation(t, a)
		t.query(func(rows pgx.Rows) error {
			var state purge.State
			err := rows.Scan(&state, &raised.Floor, &raised.Risen, &raised.Empty)
			raised.Open, raised.Failed = state != purge.Failed, state == purge.Failed
			return err
		}, r.sql.get("floor_raise"), a.with(args{"floor": floor, "since": since}))
		if err := roundTrip(); err != nil {
			return err
		}
		if raised == (purge.Raised{}) {
			return errAbandon // somebody was faster
		}
		return nil
	})
	if err != nil {
		return purge.Raised{}, err
	}
	return raised, nil
}

// LogOf is the key of the erasure of k's log: the same for all spellings of the conversation's id.
func (r *Repo) LogOf(k purge.Key) purge.Key {
	return purge.Key{App: k.App, Conversation: r.plan.Conversation(purge.Deletion{Key: k})[2]}
}

func (r *Repo) erasureArgs(app, conversation string) args {
	return argsOf(purge.ErasureOf(r.LogOf(purge.Key{App: app, Conversation: conversation}), purge.Token{})).with(args{"spelled": conversation})
}

// lockErasure adds the statements that enter the erasure of a log and lock it.
func (r *Repo) lockErasure(t *transaction, a args) {
	for _, name := range []string{"enter_command", "erasure_enter", "erasure_lock"} {
		t.exec(nil, r.sql.get(name), a)
	}
}

// heldLeases is for how many leases a log isn't erased whose members have been removed: a worker that dies then is noticed after one of
// them, and another one counts what is hidden.
const heldLeases = 4

// Removes reports whether the conversation's row, and the members', go with d, a deletion for everyone, unless there are newer messages.
func (r *Repo) Removes(d purge.Deletion) bool {
	return r.sql["members_remove"] != nil && !d.KeepConversation
}

// RemoveMembers removes rows of members, at most limit, of the log that d deletes for everyone through d.Boundary, where [Repo.Removes]
// says so and there is no newer message. It moves the enumeration from a place, the beginning of the log's, to the one that it returns, and notes the removed
// members and the ids of open as open. The log isn't erased before [Repo.EraseEveryone], or for some leases. Without rows, or with newer messages, it does nothing and returns none: then [Repo.List] finds the members.
// It reports false where another worker has moved the enumeration meanwhile. Where a trigger keeps rows, and there are more than limit, it changes nothing and returns [purge.Kept].
func (r *Repo) RemoveMembers(ctx context.Context, d purge.Deletion, from purge.Place, open []string, limit int) (users []string, to purge.Place, moved bool, err error) {
	to = from
	removed := 0
	a := argsOf(d).with(args{"was": from.String(), "limit": limit, "log_conversation": r.plan.Conversation(d)[2]})
	t := r.begin(true)
	err = t.converse(ctx, func(roundTrip func() error) error {
		t.query(func(rows pgx.Rows) error {
			var n int
			err := rows.Scan(&n)
			moved = n > 0
			return err
		}, r.sql.get("enumeration_lock"), a)
		if err := roundTrip(); err != nil || !moved {
			return cmp.Or(err, errAbandon)
		}
		log := r.erasureArgs(d.App, d.Conversation)
		r.lockErasure(t, log)
		t.exec(nil, r.sql.get("erasure_hold"), log.with(args{"lease": heldLeases * r.cfg.Lease()}))
		t.exec(nil, r.sql.get("members_lock"), a)
		t.query(func(rows pgx.Rows) error {
			var user string
			err := rows.Scan(&user, &removed)
			users = append(users, user)
			return err
		}, r.sql.get("members_remove"), a)
		if err := roundTrip(); err != nil || len(users) == 0 {
			return cmp.Or(err, errAbandon)
		}
		if to.Done = len(users) < limit; !to.Done && removed < len(users) { // the next ones would be the same
			return errKept(purge.Kept{Table: r.plan.Members.Name, Rows: len(users) - removed})
		}
		if !to.Done && r.triggers.Load() { // the same goes for those that triggers write back
			k := purge.Kept{Table: r.plan.Members.Name}
			r.fireDeferred(t)
			t.query(func(rows pgx.Rows) error { return rows.Scan(&k.Rows) }, r.sql.get("members_put_back"), a.with(args{"users": users}))
			if err := roundTrip(); err != nil {
				return err
			}
			if k.Any() {
				return errKept(k)
			}
		}
		t.exec(nil, r.sql.get("enumeration_advance"), a.with(args{"cursor": to.String(), "page": append(open, users...), "on": false}))
		return nil
	})
	if err != nil {
		return nil, from, false, err
	}
	return users, to, moved, nil
}

// EraseEveryone opens the erasure of d's log through d.Boundary, whatever members have cleared. A second call changes nothing, unless the erasure is
// done or failed: then it is done again.
func (r *Repo) EraseEveryone(ctx context.Context, d purge.Deletion) error {
	a := r.erasureArgs(d.App, d.Conversation)
	t := r.begin(true)
	r.lockErasure(t, a)
	t.exec(nil, r.sql.get("erase_everyone"), a.with(args{"boundary": d.Boundary}))
	return r.commit(ctx, t)
}

// ReopenErasure makes a failed erasure pending again.
func (r *Repo) ReopenErasure(ctx context.Context, app, conversation string) error {
	t := r.begin(true)
	t.exec(nil, r.sql.get("erasure_reopen"), r.erasureArgs(app, conversation))
	return r.commit(ctx, t)
}

// Raisable returns those of the logs whose floor RaiseFloor may find to have risen. One statement, which
// takes no locks.
func (r *Repo) Raisable(ctx context.Context, ks []purge.Key) ([]purge.Key, error) {
	var risen []purge.Key
	apps, conversations := make([]string, len(ks)), make([]string, len(ks))
	for i, k := range ks {
		apps[i], conversations[i] = k.App, k.Conversation
	}
	t := r.begin(false)
	t.query(func(rows pgx.Rows) error {
		var ord int
		err := rows.Scan(&ord)
		if err == nil {
			risen = append(risen, ks[ord-1])
		}
		return err
	}, r.sql.get("floor_risen"), args{"apps": apps, "conversations": conversations})
	return risen, r.commit(ctx, t)
}

// Erasures returns the keys of open erasures that no worker has the lease of, at most limit of them.
func (r *Repo) Erasures(ctx context.Context, limit int) ([]purge.Key, error) {
	return r.erasures(ctx, "erasures", limit)
}

// Untold returns the keys of done erasures whose hidden deletions PinErased has not gone through to the end, at most
// limit of them.
func (r *Repo) Untold(ctx context.Context, limit int) ([]purge.Key, error) {
	return r.erasures(ctx, "erasures_untold", limit)
}

// erasures also takes those over whose key an older worker has spelled as a command did: [Repo.LogOf] is the key then.
func (r *Repo) erasures(ctx context.Context, name string, limit int) ([]purge.Key, error) {
	var ks []purge.Key
	t := r.begin(false)
	t.query(func(rows pgx.Rows) error {
		var k purge.Key
		err := rows.Scan(&k.App, &k.Conversation)
		ks = append(ks, k)
		return err
	}, r.sql.get(name), args{"limit": limit})
	if err := r.commit(ctx, t); err != nil {
		return nil, err
	}
	for _, k := range ks {
		if r.LogOf(k) == k {
			continue
		}
		a, t := r.erasureArgs(k.App, k.Conversation), r.begin(true)
		r.lockErasure(t, a)
		t.exec(nil, r.sql.get("erasure_adopt"), a)
		if err := r.commit(ctx, t); err != nil {
			return nil, err
		}
	}
	return ks, nil
}

// Erasure returns what the ledger has of the erasure of a shared log; the zero value if it has none.
func (r *Repo) Erasure(ctx context.Context, app, conversation string) (e purge.Erasure, err error) {
	t := r.begin(false)
	t.query(func(rows pgx.Rows) error {
		var completed *time.Time
		var failure *string
		e.App, e.Conversation = app, conversation
		err := rows.Scan(&e.State, &e.Floor, &e.MessagesDeleted, &completed, &failure, &e.Waiting)
		e.CompletedAt, e.LastError = value(completed).UTC(), value(failure)
		return err
	}, r.sql.get("erasure"), r.erasureArgs(app, conversation))
	return e, r.commit(ctx, t)
}

// PinErased pins when the next hidden deletions of a shared log were erased, and returns them, at most limit
// of them: those at or below the floor of its erasure, if that is done, that are not marked and have spelled the conversation's id as k does.
// It marks the erasure when none is left, of the spelling that the tables have; [Repo.Untold] doesn't return it again then.
func (r *Repo) PinErased(ctx context.Context, k purge.Key, limit int) ([]purge.Record, error) {
	var recs []purge.Record
	a := r.erasureArgs(k.App, k.Conversation)
	t := r.begin(true)
	t.query(func(rows pgx.Rows) error {
		var row ledgerRow
		if err := row.scan(rows); err != nil {
			return err
		}
		rec, err := row.record()
		recs = append(recs, rec)
		return err
	}, r.sql.get("erased_pin"), a.with(args{"limit": limit}))
	t.exec(nil, r.sql.get("erased_all"), a)
	if err := r.commit(ctx, t); err != nil {
		return nil, err
	}
	slices.SortFunc(recs, func(a, b purge.Record) int { return cmp.Compare(a.ThroughSeq, b.ThroughSeq) })
	return recs, nil
}

// MarkErased notes that the stream has the event conversation.erased of the deletions.
func (r *Repo) MarkErased(ctx context.Context, recs []purge.Record) error {
	apps, commands, users, conversations := make([]string, len(recs)), make([]string, len(recs)), make([]string, len(recs)), make([]string, len(recs))
	for i, rec := range recs {
		apps[i], commands[i], users[i], conversations[i] = rec.App, rec.Command, rec.User, rec.Conversation
	}
	t := r.begin(true)
	t.exec(nil, r.sql.get("erased_mark"), args{"apps": apps, "commands": commands, "users": users, "conversations": conversations})
	return r.commit(ctx, t)
}

// Sweep looks at the next logs, at most limit of them, that hidden deletions wait in, after the one of that
// key; the zero key stands before all. It returns those whose floor may have risen, and the key to go on from: the zero
// key when it has come to the end.
func (r *Repo) Sweep(ctx context.Context, after purge.Key, limit int) (risen []purge.Key, next purge.Key, err error) {
	n := 0
	t := r.begin(false)
	t.query(func(rows pgx.Rows) error {
		var k purge.Key
		var found bool
		err := rows.Scan(&k.App, &k.Conversation, &found)
		if n, next = n+1, k; found {
			risen = append(risen, k)
		}
		return err
	}, r.sql.get("floor_sweep"), args{"app": after.App, "conversation": after.Conversation, "limit": limit})
	if err := r.commit(ctx, t); err != nil {
		return nil, purge.Key{}, err
	}
	if n < limit {
		next = purge.Key{}
	}
	return risen, next, nil
}
