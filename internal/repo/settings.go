package repo

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Ledger is the schema lethe of a database as people ask for it: settings and
// status. Unlike a [Repo] it needs no plan. Safe for concurrent use.
type Ledger struct {
	source *source
	conns  *pools
}

// OpenLedger makes a Ledger of the database at url, with a few connections at
// most. It connects when it is first used; an error here is the url's. Errors of
// its methods are one line, and say what to do where that is known.
func OpenLedger(ctx context.Context, url string) (*Ledger, error) {
	from := &source{url: url, lock: ledgerLock}
	conns, err := from.newPools(ctx, 2)
	if err != nil {
		return nil, oneLine(err)
	}
	return &Ledger{source: from, conns: conns}, nil
}

// Close waits for the connections that are in use and closes all of them.
func (l *Ledger) Close() { l.conns.close() }

// begin returns a transaction for which, and for its locks, a person waits.
func (l *Ledger) begin() *transaction {
	return &transaction{
		source: l.source, pools: l.conns, preferred: l.conns.all[0],
		limits: limits{lock: ledgerLock, statement: ledgerStatement, flushAfter: "0", durable: true},
	}
}

// ledgerLock and ledgerStatement are how long a statement that people wait for may
// wait for a lock, and take.
const ledgerLock, ledgerStatement = 5 * time.Second, 30 * time.Second

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
	t := l.begin()
	t.query(func(rows pgx.Rows) error { return rows.Scan(&s.Explicit, &s.MultiClientSync) },
		general.get("settings_get"), args{"app": app})
	if err := t.commit(ctx); err != nil {
		return Settings{}, l.fault(ctx, err)
	}
	return s, nil
}

// SetSettings gives the app its settings, effective with the next deletion that
// finishes. Doing it again changes nothing; Explicit is not looked at.
func (l *Ledger) SetSettings(ctx context.Context, s Settings) error {
	t := l.begin()
	t.exec(nil, general.get("settings_set"), args{"app": s.App, "sync": s.MultiClientSync})
	return l.fault(ctx, t.commit(ctx))
}

// fault marks err with whose fault it is and says what mends it.
func (l *Ledger) fault(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return classifyShared(ctx, oneLine(adviseLedger(err, l.source.role())))
}
