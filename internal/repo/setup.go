package repo

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/lethe-im/lethe/internal/plan"
)

//go:embed migrations/0*.sql
var migrationFiles embed.FS

//go:embed migrations/chat.sql
var sampleSchema string

// sampleTables is how many tables the sample schema has.
const sampleTables = 5

// setupLock is the advisory lock of a setup, "lethe" in ASCII. Advisory locks are
// the database's own.
const setupLock = 0x6c65746865

// setupPoll is how often a setup that waits for another one tries again. Waiting
// inside the server would hold a snapshot all the while, for which some
// migrations of the other one (create index concurrently) would have to wait.
const setupPoll = 50 * time.Millisecond

// lockTimeout is how long a migration tries to get a table's lock, and lockPause how long it leaves
// the table to others between two tries. Each waits for a quarter of a second at most (setup_session).
const (
	lockTimeout      = 2 * time.Minute
	lockPause        = 500 * time.Millisecond
	lockNotAvailable = "55P03"
)

// SetupOptions says what [Setup] adds to the ledger's schema. The zero value
// adds nothing.
type SetupOptions struct {
	// SampleSchema also creates the bundled chat schema, where it isn't there.
	SampleSchema bool
	// Shard is the one that the database is, where there are several; "" leaves what
	// an earlier setup has noted. Another name than that is an error, before anything
	// is changed.
	Shard string
}

// SetupReport says what [Setup] found and left. Versions are those of the
// ledger's schema; 0 means that there was none.
type SetupReport struct {
	Before, After int64
	// EnteredShard says that this setup has noted which shard the database is.
	EnteredShard bool
	// CreatedSample says that this setup has created tables of the sample schema.
	CreatedSample bool
	// Ledger is the ledger's id; "" if the role may not read it.
	Ledger string
}

// Setup creates the schema lethe, or upgrades it to the newest version that this
// program knows; a newer one it leaves alone. It is safe to repeat, and safe
// while other setups run (they wait for one another, until ctx ends) and while
// workers run. On a database that is up to date it changes nothing, and needs no
// more than to read the schema.
//
// url is as in [Config]. It must lead to the database itself, or to a pooler that keeps a session on
// one connection: behind a transaction pooler the lock would be taken on one
// connection and stay there, and later setups would wait for it.
//
// The error is one line and says what to do. After an error the schema is at
// some version between the two; the next setup goes on from there.
func Setup(ctx context.Context, url string, opts SetupOptions) (SetupReport, error) {
	report, err := setup(ctx, url, opts, migrationFiles)
	if err != nil {
		return SetupReport{}, classifyShared(ctx, oneLine(err))
	}
	return report, nil
}

func setup(ctx context.Context, url string, opts SetupOptions, files fs.FS) (SetupReport, error) {
	db, err := openOne(url)
	if err != nil {
		return SetupReport{}, err
	}
	defer func() { _ = db.Close() }() // the lock ends with the connection, however that ends
	return setupLocked(ctx, db, opts, files)
}

// openOne makes a database handle that connects only once: the lock lives in
// that connection, and work on a second one would be without it.
func openOne(url string) (*sql.DB, error) {
	c, err := (&source{url: url}).connConfig()
	if err != nil {
		return nil, err
	}
	c.AfterConnect, c.DefaultQueryExecMode = nil, pgx.QueryExecModeCacheDescribe // a pooler may stand in between
	var connected atomic.Bool
	db := stdlib.OpenDB(*c, stdlib.OptionBeforeConnect(func(context.Context, *pgx.ConnConfig) error {
		if connected.Swap(true) {
			return errors.New("the connection broke in the middle of the setup: run it again")
		}
		return nil
	}))
	db.SetMaxOpenConns(1)
	return db, nil
}

// setupLocked does the work of a setup under the lock.
func setupLocked(ctx context.Context, db *sql.DB, opts SetupOptions, files fs.FS) (SetupReport, error) {
	if _, err := db.ExecContext(ctx, general.get("setup_session").sql); err != nil {
		return SetupReport{}, err
	}
	if err := waitForSetupLock(ctx, db); err != nil {
		return SetupReport{}, err
	}
	// It ends with the connection; a pooler in between may keep that one.
	defer db.ExecContext(context.WithoutCancel(ctx), general.get("setup_unlock").sql, int64(setupLock)) //nolint:errcheck // see above
	var role, database string
	var version int
	if err := db.QueryRowContext(ctx, general.get("setup_names").sql).Scan(&role, &database, &version); err != nil {
		return SetupReport{}, err
	}
	if err := plan.CheckServer(version); err != nil {
		return SetupReport{}, err
	}
	create := fmt.Sprintf("run the setup as the database's owner, or run: grant create on database %s to %s", database, role)
	change := fmt.Sprintf("run the setup as the schema's owner; a role that finds it up to date needs no more than: "+
		"grant usage on schema lethe to %s; grant select on lethe.schema_version to %s", role, role)
	var found string
	if err := db.QueryRowContext(ctx, general.get("shard").sql).Scan(&found); err != nil {
		return SetupReport{}, err
	}
	if err := otherShard(found, opts.Shard); err != nil {
		return SetupReport{}, err
	}
	var createdSample bool
	if opts.SampleSchema { // before the ledger: a worker that finds that takes what its plan lacks for a mistake
		var err error
		if createdSample, err = createSample(ctx, db); err != nil {
			return SetupReport{}, fmt.Errorf("schema chat: %w", adviseSetup(err, create))
		}
	}
	if err := createSchema(ctx, db); err != nil {
		return SetupReport{}, fmt.Errorf("schema lethe: %w", adviseSetup(err, create))
	}
	report, err := migrate(ctx, db, files)
	if err != nil {
		return SetupReport{}, fmt.Errorf("schema lethe: %w", adviseSetup(err, change))
	}
	report.CreatedSample = createdSample
	if opts.Shard != "" && found == "" {
		_, err := db.ExecContext(ctx, fmt.Sprintf("comment on schema lethe is 'shard %s'", opts.Shard)) // a name without quotes
		if err != nil {
			return SetupReport{}, fmt.Errorf("schema lethe: %w", adviseSetup(err, "run the setup with --shard as the schema's owner"))
		}
		report.EnteredShard = true
	}
	err = db.QueryRowContext(ctx, general.get("ledger_id").sql).Scan(&report.Ledger)
	if err != nil && !unknownLedger(err) {
		return SetupReport{}, err
	}
	return report, nil
}

func waitForSetupLock(ctx context.Context, db *sql.DB) error {
	tick := time.NewTicker(setupPoll)
	defer tick.Stop()
	for waited := false; ; waited = true {
		var held bool
		err := db.QueryRowContext(ctx, general.get("setup_lock").sql, int64(setupLock)).Scan(&held)
		switch {
		case err != nil && waited && ctx.Err() != nil:
			return fmt.Errorf("another setup is at work in this database, or a transaction pooler has kept its lock: %w", err)
		case err != nil || held:
			return err
		}
		select {
		case <-ctx.Done(): // the next try says so
		case <-tick.C:
		}
	}
}

// createSample runs the sample's file if one of its tables is missing: "if not
// exists" asks for the privilege to create also where everything exists.
func createSample(ctx context.Context, db *sql.DB) (created bool, err error) {
	var tables int
	err = db.QueryRowContext(ctx, general.get("setup_sample").sql).Scan(&tables)
	if err != nil || tables == sampleTables {
		return false, err
	}
	_, err = db.ExecContext(ctx, sampleSchema)
	return err == nil, err
}

// createSchema creates the schema if it is missing, asked for the same reason.
func createSchema(ctx context.Context, db *sql.DB) error {
	var exists bool
	err := db.QueryRowContext(ctx, general.get("setup_exists").sql).Scan(&exists)
	if err != nil || exists {
		return err
	}
	_, err = db.ExecContext(ctx, general.get("setup_create").sql)
	return err
}

// migrate applies the migrations that the version table doesn't list, each in a
// transaction.
func migrate(ctx context.Context, db *sql.DB, files fs.FS) (SetupReport, error) {
	dir, err := fs.Sub(files, "migrations")
	if err != nil {
		return SetupReport{}, err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithTableName("lethe.schema_version"),
		goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return SetupReport{}, err
	}
	var report SetupReport
	if report.Before, err = p.GetDBVersion(ctx); err != nil {
		return SetupReport{}, err
	}
	for err == nil {
		err = patiently(ctx, db, func() error { _, err := p.UpByOne(ctx); return err })
	}
	if !errors.Is(err, goose.ErrNoNextVersion) {
		return SetupReport{}, err
	}
	if report.Before == 0 { // no older worker needs the older key
		widen := func() error { _, err := db.ExecContext(ctx, general.get("widen_key").sql); return err }
		if err := patiently(ctx, db, widen); err != nil {
			return SetupReport{}, err
		}
	}
	report.After, err = p.GetDBVersion(ctx)
	return report, err
}

// patiently does a migration, and again while it doesn't get a lock within the session's short
// timeout: behind it everybody else would wait. The migration before may have changed the timeout.
func patiently(ctx context.Context, db *sql.DB, migration func() error) error {
	for end := time.Now().Add(lockTimeout); ; {
		if _, err := db.ExecContext(ctx, general.get("setup_session").sql); err != nil {
			return err
		}
		err := migration()
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != lockNotAvailable || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lockPause):
		}
	}
}

// adviseSetup adds to err what the operator can do about it; grant is what does
// where a privilege is missing.
func adviseSetup(err error, grant string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case noPrivilege:
		return fmt.Errorf("%w; %s", err, grant)
	case readOnly:
		return fmt.Errorf("%w; %s; give the setup the primary's address", err, readOnlyText)
	case lockNotAvailable:
		return fmt.Errorf("%w; a transaction has held a table of the schema for two minutes: run the setup again when it is through", err)
	}
	return err
}
