package repo

import (
	"bytes"
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// Below, d is a command that names its deletions by a rule: without a conversation for all of its user's, or, for everyone,
// with one and the user who asks.

// Shared reports whether the plan's messages are a shared log.
func (r *Repo) Shared() bool { return r.plan.Shared }

// Lists returns why the plan can't list the deletions of d, nil if it can. The error wraps [purge.ErrUnsupportedScope].
func (r *Repo) Lists(d purge.Deletion) error {
	_, err := r.lists(d)
	return err
}

func (r *Repo) lists(d purge.Deletion) ([]*plan.List, error) {
	if d.Scope == purge.ScopeEveryone {
		return r.plan.UsersOfConversation()
	}
	return r.plan.ConversationsOfUser()
}

// Enumerate enters the command d, unless the ledger knows it, and returns how far its deletions have been found.
func (r *Repo) Enumerate(ctx context.Context, d purge.Deletion) (purge.Enumeration, error) {
	e, err := r.enumerate(ctx, d)
	if err != nil || !e.Reused {
		return e, err
	}
	if adopted, err := r.adopt(ctx, []purge.Deletion{d}); err != nil || !adopted {
		return e, err
	}
	return r.enumerate(ctx, d)
}

func (r *Repo) enumerate(ctx context.Context, d purge.Deletion) (e purge.Enumeration, err error) {
	t := r.begin(true)
	a := argsOf(d).with(args{"everyone": d.Scope == purge.ScopeEveryone})
	t.exec(nil, r.sql.get("enter_command"), a)
	t.exec(nil, r.sql.get("enumeration_enter"), a)
	t.query(func(rows pgx.Rows) error {
		var digest []byte
		var at string
		if err := rows.Scan(&digest, &at, &e.Open, &e.Completed); err != nil {
			return err
		}
		if e.Reused = !bytes.Equal(digest, d.Digest[:]); e.Reused {
			return nil
		}
		var err error
		e.At, err = purge.ParsePlace(at)
		return err
	}, r.sql.get("enumeration"), a)
	if err := r.commit(ctx, t); err != nil {
		return purge.Enumeration{}, err
	}
	return e, nil
}

// Restart begins a completed enumeration of d, for everyone, anew if a conversation's deletion failed for one of these reasons: the one that stands
// for all of the conversation, of who asks, is forgotten. It reports false if there is none.
func (r *Repo) Restart(ctx context.Context, d purge.Deletion, reasons []string) (bool, error) {
	restarted := 0
	t := r.begin(true)
	t.exec(&restarted, r.sql.get("enumeration_restart"), argsOf(d).with(args{"reasons": reasons}))
	err := r.commit(ctx, t)
	return restarted > 0, err
}

// List looks at up to limit ids behind a place of the enumeration. It returns those of deletions, which may be none, and the
// place behind what it has looked at. It changes nothing.
func (r *Repo) List(ctx context.Context, d purge.Deletion, from purge.Place, limit int) (ids []string, next purge.Place, err error) {
	tables, err := r.lists(d)
	if err != nil {
		return nil, from, err
	}
	name := "list_conversations"
	if d.Scope == purge.ScopeEveryone {
		name = "list_users"
	}
	next = from
	if from.List >= len(tables) {
		next.Done = true
		return nil, next, nil
	}
	seen := 0
	t := r.begin(false)
	t.query(func(rows pgx.Rows) error {
		var part bool
		if err := rows.Scan(&next.After, &part); err != nil {
			return err
		}
		if seen++; part {
			ids = append(ids, next.After)
		}
		return nil
	}, r.sql.child(name, from.List), argsOf(d).with(args{"after": from.After, "limit": limit}))
	if err := r.commit(ctx, t); err != nil {
		return nil, from, err
	}
	if seen < limit {
		next.List, next.After, next.Done = from.List+1, "", from.List+1 == len(tables)
	}
	return ids, next, nil
}

// Advance moves the enumeration from a place to another one, and notes which of its deletions are open. It reports
// false where another worker has moved it meanwhile: then [Repo.Enumerate] says how far.
func (r *Repo) Advance(ctx context.Context, d purge.Deletion, from, to purge.Place, open []string) (bool, error) {
	moved := 0
	t := r.begin(false) // in the log before what depends on it
	t.exec(&moved, r.sql.get("enumeration_advance"), args{
		"app": d.App, "command": d.Command, "was": from.String(), "cursor": to.String(), "page": open, "on": from.Target != to.Target,
	})
	err := r.commit(ctx, t)
	return moved > 0, err
}

// PinBoundary decides the boundary of d, a deletion for everyone in a shared log, and returns it: the same until the
// enumeration moves on to the command's next conversation.
func (r *Repo) PinBoundary(ctx context.Context, d purge.Deletion) (boundary int64, err error) {
	t := r.begin(true)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&boundary) }, r.sql.get("enumeration_pin"), argsOf(d))
	return boundary, r.commit(ctx, t)
}

// Known returns up to limit deletions of the command that the ledger knows, in the order of its key, behind a deletion.
func (r *Repo) Known(ctx context.Context, d purge.Deletion, after purge.Key, limit int) (ks []purge.Key, err error) {
	t := r.begin(false)
	t.query(func(rows pgx.Rows) error {
		k := purge.Key{App: d.App, Command: d.Command}
		err := rows.Scan(&k.User, &k.Conversation)
		ks = append(ks, k)
		return err
	}, r.sql.get("enumeration_known"), args{"app": d.App, "command": d.Command, "user": after.User, "after": after.Conversation, "limit": limit})
	if err := r.commit(ctx, t); err != nil {
		return nil, err
	}
	return ks, nil
}

// Complete notes that all deletions up to the place, which is the last one, are final, and returns what has become of them. It reports
// false where another worker has moved the enumeration meanwhile. Once completed, it stays so.
func (r *Repo) Complete(ctx context.Context, d purge.Deletion, at purge.Place) (sum purge.Totals, completed bool, err error) {
	t := r.begin(true)
	a := args{"app": d.App, "command": d.Command, "was": at.String()}
	t.exec(nil, r.sql.get("enumeration_complete"), a)
	t.query(func(rows pgx.Rows) error {
		completed = true
		return rows.Scan(&sum.Done, &sum.Failed, &sum.MessagesDeleted, &sum.Reason, &sum.Message, &sum.MultiClientSync, &sum.CompletedAt)
	}, r.sql.get("enumeration_totals"), a)
	if err := r.commit(ctx, t); err != nil {
		return purge.Totals{}, false, err
	}
	sum.CompletedAt = sum.CompletedAt.UTC()
	return sum, completed, nil
}
