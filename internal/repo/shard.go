package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The shard that a database is stands in the comment on the schema lethe, where a dump
// and a copy of the database take it along and nobody needs a grant to read it. It keeps
// workers from deleting in one shard what commands ask of another: they would find
// nothing and report it as deleted.

// Shard returns which shard the database is, "" where no setup has said so. A caller
// that expects another one, unless that is "", gets an error.
func (l *Ledger) Shard(ctx context.Context, expected string) (shard string, err error) {
	t := l.begin()
	t.query(func(rows pgx.Rows) error { return rows.Scan(&shard) }, general.get("shard"), nil)
	if err := t.commit(ctx); err != nil {
		return "", l.fault(ctx, err)
	}
	return shard, otherShard(shard, expected)
}

// otherShard is nil unless both are named and different.
func otherShard(found, expected string) error {
	if found == "" || expected == "" || found == expected {
		return nil
	}
	return fmt.Errorf("the database is shard %s, expected shard %s: correct --shard or --database-url, or rename the shard by: comment on schema lethe is 'shard %[2]s'",
		found, expected)
}

// ID returns which ledger it is, "" where an older setup has made it, or where the role may
// not read that.
func (l *Ledger) ID(ctx context.Context) (id string, err error) {
	t := l.begin()
	t.query(func(rows pgx.Rows) error { return rows.Scan(&id) }, general.get("ledger_id"), nil)
	if err := t.commit(ctx); err != nil && !unknownLedger(err) {
		return "", l.fault(ctx, err)
	}
	return id, nil
}

// LedgerID is [Ledger.ID] by the worker's own connections. It may be asked again and again: where there is none to be had, the
// server logs no error.
func (r *Repo) LedgerID(ctx context.Context) (id string, err error) {
	readable := false
	t := r.begin(false)
	err = t.converse(ctx, func(roundTrip func() error) error {
		t.query(func(rows pgx.Rows) error { return rows.Scan(&readable) }, general.get("ledger_id_readable"), nil)
		if err := roundTrip(); err != nil || !readable {
			return err
		}
		t.query(func(rows pgx.Rows) error { return rows.Scan(&id) }, general.get("ledger_id"), nil)
		return nil
	})
	if err != nil {
		return "", classifyShared(ctx, oneLine(err))
	}
	return id, nil
}

// unknownLedger reports whether err is that the ledger has no id, or that the role may not read it.
func unknownLedger(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == noPrivilege || pg.Code == undefinedTable)
}
