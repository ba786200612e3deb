package repo

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Ledger is the schema lethe of a database as people ask for it: settings and
// status. Unlike a [Repo] it needs no plan. Safe for concurrent use.
type Ledger struct {
	pool *pgxpool.Pool
}

// OpenLedger makes a Ledger of the database at url, with a few connections at
// most. It connects when it is first used; an error here is the url's. Errors of
// its methods are one line, and say what to do where that is known.
func OpenLedger(ctx context.Context, url string) (*Ledger, error) {
	pool, err := newPool(ctx, url, 2)
	if err != nil {
		return nil, oneLine(err)
	}
	return &Ledger{pool: pool}, nil
}

// Close waits for the connections that are in use and closes all of them.
func (l *Ledger) Close() { l.pool.Close() }

// Settings are the switches of one app.
type Settings struct {
	App string
	// MultiClientSync tells all of the user's devices of a deletion, and not
	// only the one that asked for it.
	MultiClientSync bool
	// Explicit says that the app has been given settings; the others are the
	// defaults.
	Explicit bool
}

// Settings returns the app's settings; the defaults for an app that has none.
func (l *Ledger) Settings(ctx context.Context, app string) (Settings, error) {
	s := Settings{App: app}
	err := l.pool.QueryRow(ctx, `select true, multi_client_sync from lethe.apps where app_id = $1`, app).Scan(&s.Explicit, &s.MultiClientSync)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Settings{}, l.fault(ctx, err)
	}
	return s, nil
}

// SetSettings gives the app its settings, effective with the next deletion that
// finishes. Doing it again changes nothing; Explicit is not looked at.
func (l *Ledger) SetSettings(ctx context.Context, s Settings) error {
	_, err := l.pool.Exec(ctx, `insert into lethe.apps (app_id, multi_client_sync) values ($1, $2)
on conflict (app_id) do update set multi_client_sync = excluded.multi_client_sync`, s.App, s.MultiClientSync)
	return l.fault(ctx, err)
}

// fault marks err with whose fault it is and says what mends it.
func (l *Ledger) fault(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return classifyShared(ctx, oneLine(adviseLedger(err, l.pool.Config().ConnConfig.User)))
}
