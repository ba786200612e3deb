package repo

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// Tables returns the tables with rows that the deletion may remove; see
// [purge.Evidence]. What hides removes none: it counts as one of the conversations' table. Of rows that refer to messages by a reference, those of the
// first 1,000 messages are looked for.
func (r *Repo) Tables(ctx context.Context, d purge.Deletion) (purge.Tables, error) {
	if d.KeepHistory || r.hides(d) {
		return purge.ConversationsTable, nil
	}
	var holds []bool
	a, err := r.findFirst(ctx, "first_messages", argsOf(d))
	if err != nil {
		return 0, err
	}
	t := r.begin(false)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&holds) }, r.sql.get("tables"), a)
	if err := r.commit(ctx, t); err != nil {
		return 0, err
	}
	var tables purge.Tables
	for i, some := range holds {
		if some {
			tables |= purge.Table(i)
		}
	}
	if d.KeepConversation {
		tables &^= purge.ConversationsTable
	}
	return tables, nil
}

// findFirst finds the first messages for the statements that a is for, where messages are pointers.
func (r *Repo) findFirst(ctx context.Context, name string, a args) (args, error) {
	if !r.plan.Messages.Pointed() {
		return a, nil
	}
	positions, t := []int64{}, r.begin(false)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&positions) }, r.sql.get(name), a)
	err := r.commit(ctx, t)
	return a.with(args{"positions": slices.Compact(positions)}), err
}

// Kept finds rows that stay when they are deleted, in a deletion that makes no
// progress and whose lease is ours. Rows that others have locked are skipped. It changes nothing.
// If there are none, something that the plan looks up may be missing, of a deletion that an older worker or another
// plan has begun.
func (r *Repo) Kept(ctx context.Context, d purge.Deletion) (purge.Kept, error) {
	a, err := r.findFirst(ctx, "kept_first", argsOf(d))
	if err != nil {
		return purge.Kept{}, err
	}
	n := len(r.plan.Children)
	read := func(k *purge.Kept) func(pgx.Rows) error {
		return func(rows pgx.Rows) error { return rows.Scan(&k.Rows, &k.Seq) }
	}
	messages := purge.Kept{Table: r.plan.Messages.Name}
	children := make([]purge.Kept, n)
	err = r.begin(false).try(ctx, func(t *transaction) {
		ofMessages := func() { t.query(read(&messages), r.sql.get("kept_messages"), a) }
		if r.plan.Locked {
			t.exec(nil, r.sql.get("kept_lock"), a)
		} else {
			ofMessages()
		}
		for i, c := range r.plan.Children {
			children[i].Table = c.Name
			t.query(read(&children[i]), r.sql.child("child_kept", i), a)
		}
		if r.plan.Locked {
			ofMessages()
		}
	})
	if err != nil {
		return purge.Kept{}, err
	}
	var atEnd []int
	var missing *string
	err = r.begin(false).try(ctx, func(t *transaction) {
		r.lockConversation(t, a)
		t.query(func(rows pgx.Rows) error { return rows.Scan(&atEnd) }, r.sql.get("kept_rows"), a)
		if s := r.sql["vanished"]; s != nil { // the plan looks something up
			t.query(func(rows pgx.Rows) error { return rows.Scan(&missing) }, s, a)
		}
	})
	if fault, _ := purge.FaultOf(err); err != nil && fault != purge.Contention {
		return purge.Kept{}, err
	}
	kept := append([]purge.Kept{messages}, children...)
	if r.plan.Locked {
		kept = append(children, messages)
	}
	for i, n := range atEnd {
		table := r.plan.Conversations.Table
		if i > 0 {
			table = r.plan.Conversations.Children[i-1].Table
		}
		kept = append(kept, purge.Kept{Table: table.Name, Rows: n})
	}
	for _, k := range kept {
		if k.Rows > 0 {
			return k, nil
		}
	}
	return purge.Kept{Missing: value(missing)}, nil
}

// lockConversation locks the conversation's rows, if there is a table of them.
func (r *Repo) lockConversation(t *transaction, a args) {
	if s := r.sql["lock_conversation"]; s != nil {
		t.exec(nil, s, a)
	}
}
