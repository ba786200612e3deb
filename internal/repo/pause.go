package repo

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// Pause pauses a lane of all workers, those that are yet to start too, until
// [Ledger.Resume]. changed is false where it was paused already; then its time
// stays.
func (l *Ledger) Pause(ctx context.Context, lane purge.Lane) (p purge.Pause, changed bool, err error) {
	tag, err := l.pool.Exec(ctx, `insert into lethe.holds (lane, cause, detail) values ($1, 'paused', 'by an operator') on conflict do nothing`, lane)
	if err != nil {
		return purge.Pause{}, false, l.fault(ctx, err)
	}
	p.Lane = lane
	err = l.pool.QueryRow(ctx, `select since from lethe.holds where lane = $1 and cause = 'paused'`, lane).Scan(&p.Since)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errors.New("somebody has resumed it at this moment: try again")
	}
	return p, tag.RowsAffected() > 0, l.fault(ctx, err)
}

// Resume lifts the pause of a lane. changed is false where there was none.
func (l *Ledger) Resume(ctx context.Context, lane purge.Lane) (changed bool, err error) {
	err = l.pool.QueryRow(ctx, `delete from lethe.holds where lane = $1 and cause = 'paused' returning true`, lane).Scan(&changed)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return changed, l.fault(ctx, err)
}

// Pauses returns what is paused, ordered by lane.
func (l *Ledger) Pauses(ctx context.Context) ([]purge.Pause, error) {
	rows, err := l.pool.Query(ctx, pauses)
	if err != nil {
		return nil, l.fault(ctx, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[purge.Pause])
	return found, l.fault(ctx, err)
}
