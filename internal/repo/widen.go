package repo

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// widenKey makes the user a part of the ledger's key before the first deletion for everyone: a command has several of
// these for one conversation. A ledger of older workers keeps their key until then (migrations/00010_wide_key.sql).
func (r *Repo) widenKey(ctx context.Context, s purge.Scope) error {
	if s != purge.ScopeEveryone || r.wideKey.Load() {
		return nil
	}
	wide, t := false, r.begin(false)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&wide) }, general.get("key_is_wide"), args{})
	if err := r.commit(ctx, t); err != nil {
		return err
	}
	if !wide {
		t = r.begin(true)
		t.exec(nil, general.get("widen_key"), args{})
		if err := r.commit(ctx, t); err != nil {
			if fault, _ := purge.FaultOf(err); fault.MayBeCommand() {
				err = fmt.Errorf("the ledger's key must grow by the user; run: worker setup; or: grant execute on function lethe.widen_key() to %s (%w)", r.source.role(), err)
			}
			return classifyShared(ctx, err)
		}
	}
	r.wideKey.Store(true)
	return nil
}
