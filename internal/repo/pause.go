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
	t, noted := l.begin(), 0
	a := args{"lane": lane}
	t.exec(&noted, general.get("pause"), a)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&p.Since) }, general.get("paused_since"), a)
	err = t.commit(ctx)
	if err == nil && p.Since.IsZero() {
		err = errors.New("somebody has resumed it at this moment: try again")
	}
	p.Lane = lane
	return p, noted > 0, l.fault(ctx, err)
}

// Resume lifts the pause of a lane. changed is false where there was none.
func (l *Ledger) Resume(ctx context.Context, lane purge.Lane) (changed bool, err error) {
	t, lifted := l.begin(), 0
	t.exec(&lifted, general.get("resume"), args{"lane": lane})
	err = t.commit(ctx)
	return lifted > 0, l.fault(ctx, err)
}

// Pauses returns what is paused, ordered by lane.
func (l *Ledger) Pauses(ctx context.Context) (found []purge.Pause, err error) {
	t := l.begin()
	t.query(func(rows pgx.Rows) error {
		var p purge.Pause
		err := rows.Scan(&p.Lane, &p.Since)
		found = append(found, p)
		return err
	}, general.get("pauses"), nil)
	err = t.commit(ctx)
	return found, l.fault(ctx, err)
}
