package repo

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// Tables returns the tables with rows that the deletion may remove; see
// [purge.Evidence]. Of rows that refer to messages by a reference, those of the
// first 1,000 messages are looked for.
func (r *Repo) Tables(ctx context.Context, d purge.Deletion) (purge.Tables, error) {
	if d.KeepHistory {
		return purge.ConversationsTable, nil
	}
	var holds []bool
	t := r.begin(false)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&holds) }, r.sql.tables, d.App, d.User, d.Conversation)
	if err := r.commit(ctx, t); err != nil {
		return 0, err
	}
	var tables purge.Tables
	for i, some := range holds {
		if some {
			tables |= purge.Table(i)
		}
	}
	return tables, nil
}

// Kept finds rows that stay when they are deleted, in a deletion that makes no
// progress and whose lease is ours. Rows that others have locked are skipped, and
// what doesn't stay is gone then.
func (r *Repo) Kept(ctx context.Context, d purge.Deletion) (purge.Kept, error) {
	key := []any{d.App, d.User, d.Conversation, d.Command, d.Token}
	kept := make([]purge.Kept, len(r.sql.kept)+1)
	read := func(k *purge.Kept) func(pgx.Rows) error {
		return func(rows pgx.Rows) error { return rows.Scan(&k.Rows, &k.Seq) }
	}
	t := r.begin(true)
	for i, sql := range r.sql.kept {
		kept[i].Table = r.plan.Emptied()[i].Name
		t.query(read(&kept[i]), sql, key...)
	}
	if err := r.commit(ctx, t); err != nil {
		return purge.Kept{}, err
	}
	row := &kept[len(r.sql.kept)]
	row.Table = r.plan.Conversations.Name
	t, c := r.begin(true), columnsOf([]purge.Deletion{d})
	t.exec(nil, r.sql.lockConversations, c.apps, c.commands, c.conversations, c.tokens)
	t.query(read(row), r.sql.keptRow, key...)
	if err := r.commit(ctx, t); err != nil {
		if fault, _ := purge.FaultOf(err); fault != purge.Contention {
			return purge.Kept{}, err
		}
	}
	for _, k := range kept {
		if k.Rows > 0 {
			return k, nil
		}
	}
	return purge.Kept{}, nil
}
