package repo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/plan"
)

// beginSQL begins every transaction of the worker. Later statements of a
// transaction rely on a newer snapshot than the first one's, whatever the role and
// the database have as their default. A default of read only is left as it is: that
// is how an operator closes a database to writers.
const beginSQL = `begin isolation level read committed`

// beginReadSQL begins a transaction that changes nothing, and whose statements all see
// the same moment.
const beginReadSQL = `begin isolation level repeatable read read only`

// setting is what a transaction sets for itself, because a default of the role or
// the database could change what a statement finds, end the session, or rule out the
// index that a statement is meant for.
type setting struct {
	name, value string
	since       int // the first major version that knows it; 0 for all
}

// ownSettings are all of them but the time limits, which differ between callers.
// Sequential scans and joins other than nested loops are ruled out because each
// statement is meant for one index, whatever the statistics say; a generic plan saves
// planning each time.
var ownSettings = []setting{
	{"row_security", "off", 0}, // an error instead of rows that can't be seen
	{"client_encoding", "UTF8", 0},
	{"datestyle", "ISO, MDY", 0},
	{"idle_in_transaction_session_timeout", "3s", 0}, // a worker that is frozen between two statements holds its locks no longer
	{"transaction_timeout", "0", 17},
	{"exit_on_error", "off", 0},
	{"gin_fuzzy_search_limit", "0", 0}, // some of the rows instead of all, from such an index
	{"plan_cache_mode", "force_generic_plan", 0},
	{"jit", "off", 0},
	{"enable_seqscan", "off", 0},
	{"enable_mergejoin", "off", 0},
	{"enable_bitmapscan", "off", 0}, // a step deletes in the order of its index
	{"enable_indexscan", "on", 0},
	{"enable_indexonlyscan", "on", 0},
	{"enable_nestloop", "on", 0},
	{"enable_tidscan", "on", 0},
	{"enable_partition_pruning", "on", 0},
}

// superusers' settings that a role may have as a default and not set itself: where one
// has its bad value the transaction fails, and the error names it. With replica no
// trigger fires and no foreign key holds; the others read a damaged page as one
// without rows.
var superSettings = []struct{ name, bad, good string }{
	{"session_replication_role", "replica", "origin"},
	{"zero_damaged_pages", "on", "off"},
	{"ignore_checksum_failure", "on", "off"},
}

// searchPath is the search path of all that the worker does. Objects of the server
// come first and temporary ones last; the role's own path stays in between, for the
// triggers of the tables may rely on it.
const searchPath = `pg_catalog.replace(pg_catalog.concat('pg_catalog, ', pg_catalog.current_setting('search_path'), ', pg_temp'), ', , ', ', ')`

// setTo is an expression that sets a setting, for the transaction or the session.
func setTo(name, value string, session bool) string {
	return fmt.Sprintf("pg_catalog.set_config('%s', %s, %v)", name, value, !session)
}

// unlessIs is expr where the setting isn't as it matches already: to set one costs some
// microseconds in each transaction, and on a direct connection the session has them.
func unlessIs(name, pattern, expr string) string {
	return "case when pg_catalog.current_setting('" + name + "') operator(pg_catalog.!~~) '" + pattern + "' then " + expr + " end"
}

// settingsSQL returns the statement that sets all settings for the transaction, on a
// server of this major version. $1 and $2: lock_timeout, statement_timeout; $3:
// backend_flush_after; $4: whether the commit waits for the disk. It runs with the
// role's search path, and so names the schema of all that it calls.
func settingsSQL(major int) string {
	parts := []string{
		setTo("lock_timeout", "$1::text", false), setTo("statement_timeout", "$2::text", false), setTo("backend_flush_after", "$3::text", false),
		setTo("synchronous_commit", "case when not $4::boolean then 'off' else pg_catalog.replace(pg_catalog.current_setting('synchronous_commit'), 'off', 'on') end", false),
		unlessIs("search_path", "pg_catalog, %pg_temp", setTo("search_path", searchPath, false)),
	}
	for _, s := range ownSettings {
		if major >= s.since {
			parts = append(parts, unlessIs(s.name, s.value, setTo(s.name, "'"+s.value+"'", false)))
		}
	}
	for _, s := range superSettings {
		parts = append(parts, "case when pg_catalog.current_setting('"+s.name+"') operator(pg_catalog.=) '"+s.bad+"' then "+setTo(s.name, "'"+s.good+"'", false)+" end")
	}
	return "select " + strings.Join(parts, ",\n  ")
}

// sessionSettings are the expressions that set the own settings for the session.
func sessionSettings() string {
	parts := []string{setTo("search_path", searchPath, true)}
	for _, s := range ownSettings {
		set := setTo(s.name, "'"+s.value+"'", true)
		if s.since > 0 {
			set = "case when pg_catalog.current_setting('" + s.name + "', true) is not null then " + set + " end"
		}
		parts = append(parts, set)
	}
	return strings.Join(parts, ",\n  ")
}

// settingsBefore17 and settingsSince17 are made once: they are sent each time.
var settingsBefore17, settingsSince17 = settingsSQL(13), settingsSQL(17)

// settingsFor is settingsSQL for the server of a connection.
func settingsFor(conn *pgx.Conn) string {
	version := conn.PgConn().ParameterStatus("server_version") // such as 17.7 (Debian 17.7-1)
	if end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		version = version[:end]
	}
	if major, err := strconv.Atoi(version); err == nil && major >= 17 {
		return settingsSince17
	}
	return settingsBefore17
}

// limits are what a transaction sets for itself and callers differ in.
type limits struct {
	lock, statement time.Duration
	flushAfter      string
	durable         bool // the commit waits for the disk
}

// timeout bounds a transaction, with the wait for its connection: two statements that hang.
func (l limits) timeout() time.Duration { return 2*l.statement + silence }

// silence is how long a server may take to say that a statement's time is over.
const silence = 5 * time.Second

// transaction collects statements that go to the database in one round trip and
// commit together. Every statement of the worker is in one, so that none depends on
// what a session has inherited.
type transaction struct {
	source    *source
	pools     *pools
	preferred *pgxpool.Pool // tried first
	limits    limits
	readOnly  bool // the server refuses to change anything
	batch     pgx.Batch
}

// begin is the statement that begins it.
func (t *transaction) begin() string {
	if t.readOnly {
		return beginReadSQL
	}
	return beginSQL
}

// exec adds a statement whose rows, if any, nobody reads; rows, if not nil,
// receives how many it touched.
func (t *transaction) exec(rows *int, s *statement, a args) {
	q := t.batch.Queue(s.sql, s.bind(a)...)
	if rows != nil {
		q.Exec(func(tag commandTag) error { *rows = int(tag.RowsAffected()); return nil })
	}
}

// query adds a statement whose rows scan is called for, one by one.
func (t *transaction) query(scan func(pgx.Rows) error, s *statement, a args) {
	t.batch.Queue(s.sql, s.bind(a)...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// commit sends everything and waits for the commit. After an error nothing was
// changed, or, if the connection broke, everything or nothing: the ledger shows which.
// A server that doesn't answer at all, or a network that has swallowed it, is given
// up after a while, and counts as a broken connection.
func (t *transaction) commit(ctx context.Context) error {
	t.end()
	return t.on(ctx, func(ctx context.Context, conn *pgx.Conn) error { return t.send(ctx, conn, t.begin()) })
}

// errAbandon ends a transaction without a commit, and is no error.
var errAbandon = errors.New("abandoned")

// converse is commit for a transaction of several round trips: work adds statements and
// calls roundTrip to send them, and what it has added when it returns goes with the
// commit. After an error of work nothing is changed; [errAbandon] is none to the caller.
func (t *transaction) converse(ctx context.Context, work func(roundTrip func() error) error) error {
	return t.on(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		roundTrip := t.roundTripper(ctx, conn)
		if err := work(roundTrip); errors.Is(err, errAbandon) {
			return nil
		} else if err != nil {
			return err
		}
		t.end()
		return roundTrip()
	})
}

// try sends what work adds, in one round trip, and rolls it back.
func (t *transaction) try(ctx context.Context, work func(t *transaction)) error {
	return t.converse(ctx, func(roundTrip func() error) error {
		work(t)
		if err := roundTrip(); err != nil {
			return err
		}
		return errAbandon
	})
}

// roundTripper returns what sends over conn what has been added since the last time, the
// first time after the statement that begins the transaction.
func (t *transaction) roundTripper(ctx context.Context, conn *pgx.Conn) func() error {
	begin := t.begin()
	return func() error {
		defer func() { t.batch, begin = pgx.Batch{}, "" }()
		return t.send(ctx, conn, begin)
	}
}

// end adds the commit, which a server must not have turned into a rollback.
func (t *transaction) end() {
	t.batch.Queue("commit").Exec(func(tag commandTag) error {
		if tag.String() != "COMMIT" {
			return fmt.Errorf("commit: %s", tag)
		}
		return nil
	})
}

// read sends what was collected, which may be nothing, and calls work with the
// transaction open, for statements that depend on one another. It changes nothing, and
// all of them see the same moment.
func (t *transaction) read(ctx context.Context, work func(context.Context, plan.Querier) error) error {
	return t.on(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if err := t.send(ctx, conn, beginReadSQL); err != nil {
			return err
		}
		return work(ctx, conn)
	})
}

// send sends what was collected over conn, after the statement that begins the
// transaction, if it is yet to begin.
func (t *transaction) send(ctx context.Context, conn *pgx.Conn, begin string) error {
	var b pgx.Batch
	if begin != "" {
		b.Queue(begin)
		b.Queue(settingsFor(conn), millis(t.limits.lock), millis(t.limits.statement), t.limits.flushAfter, t.limits.durable)
	}
	b.QueuedQueries = append(b.QueuedQueries, t.batch.QueuedQueries...)
	return conn.SendBatch(ctx, &b).Close()
}

// on calls work with a connection, on which it leaves no transaction.
func (t *transaction) on(ctx context.Context, work func(context.Context, *pgx.Conn) error) error {
	limited, cancel := context.WithTimeout(ctx, t.limits.timeout())
	defer cancel()
	conn, err := t.pools.acquire(limited, t.preferred)
	if err != nil {
		return classify(ctx, t.source.advise(err))
	}
	defer t.pools.release(conn)
	watched, stop := t.watch(limited, conn.Conn())
	err = work(watched, conn.Conn())
	if lost := stop(); lost != nil {
		t.pools.reset() // this connection is closed, and the others lead to the same server
		if err != nil {
			err = fmt.Errorf("%w (%w)", lost, err)
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		_ = conn.Conn().PgConn().Conn().Close() // a farewell would wait for an answer, too
	}
	rollback(ctx, conn.Conn())
	return classify(ctx, t.source.advise(err))
}

// rollback ends what is left of a transaction. If that fails the pool throws the
// connection away.
func rollback(ctx context.Context, conn *pgx.Conn) {
	if conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), silence)
	defer cancel()
	_ = conn.PgConn().Exec(ctx, "rollback").Close()
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%dms", max(1, d.Milliseconds()))
}

// role is whom the source connects as, quoted.
func (s *source) role() string {
	c, err := s.connConfig()
	if err != nil {
		return "<role>"
	}
	return pgx.Identifier{c.User}.Sanitize()
}
