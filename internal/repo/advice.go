package repo

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/internal/purge"
)

const (
	noPrivilege    = "42501" // insufficient_privilege
	undefinedTable = "42P01"
	// invalidColumnReference is what a delete from a published table gets.
	invalidColumnReference = "42P10"
	readOnly               = "25006" // read_only_sql_transaction
	readOnlyText           = "the database is read-only (a standby? or default_transaction_read_only is on for it or for the role)"
)

// lineError says an error's text on one line, for people.
type lineError struct {
	text string
	err  error
}

func (e *lineError) Error() string { return e.text }
func (e *lineError) Unwrap() error { return e.err }

// oneLine puts the text of err on one line: that of a connection attempt has a
// line for each address, that of a check one for each problem. An attempt is often made
// with TLS and then without: that it was refused says nothing then, and neither does the same line again.
func oneLine(err error) error {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if len(lines) > 2 { // what failed, and more than one reason
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasSuffix(line, refusedTLS) })
	}
	var b strings.Builder
	for _, line := range lines {
		switch text := b.String(); {
		case text == "":
		case strings.HasSuffix(text, ":"):
			b.WriteString(" ")
		default:
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	return &lineError{text: b.String(), err: err}
}

// refusedTLS is how pgconn ends the line of an attempt with TLS on a server that has none.
const refusedTLS = "tls error: server refused TLS connection"

// inherited says that a privilege is missing because of what the session has
// inherited, and that no grant helps: a row-level policy, or a setting that only a
// superuser changes. The names are those of functions of the server.
func inherited(pg *pgconn.PgError) bool {
	return pg.Routine == hidesRows || strings.HasPrefix(pg.Routine, setsSetting)
}

const hidesRows, setsSetting = "check_enable_rls", "set_config"

// advise adds to an error of a session what corrects it, and whose fault it is; that of a connection attempt it puts on
// one line. What a trigger has run (Where is set) may be about tables of its own.
func (s *source) advise(err error) error {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return oneLine(err)
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != noPrivilege || !inherited(pg) || pg.Where != "" {
		return err
	}
	return &purge.FaultError{Fault: purge.Infrastructure, Cause: purge.CausePermission, Err: s.mend(pg, err)}
}

// mend says what corrects an error that comes from an inherited setting.
func (s *source) mend(pg *pgconn.PgError, err error) error {
	if pg.Routine == hidesRows {
		return fmt.Errorf("row-level security would hide rows from %s, and they would stay; run: alter role %s bypassrls; or disable it for the table (%w)",
			s.role(), s.role(), err)
	}
	return fmt.Errorf("the worker can't work with a default of %s or of the database (psql: \\drds lists them); run: alter role %s reset <parameter>, "+
		"or: alter database <name> reset <parameter> (%w)", s.role(), s.role(), err)
}

// adviseLedger adds to an error of a statement on the ledger's tables alone
// what corrects it. role is quoted.
func adviseLedger(err error, role string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case undefinedTable, "3F000", "42703": // no such table, schema, column
		return fmt.Errorf("the schema lethe is missing or older than this program; run: worker setup (%w)", err)
	case noPrivilege:
		if inherited(pg) {
			return err
		}
		return fmt.Errorf("%w; if %s is a worker's role, run deploy/postgres/roles.sql and ledger.sql; if it is an operator's, run: grant usage on schema lethe to %s; grant select on all tables in schema lethe to %s; "+
			"grant insert, update on lethe.apps to %s; grant insert, update, delete on lethe.throttles to %s", err, role, role, role, role, role)
	case readOnly:
		return fmt.Errorf("%s: %w", readOnlyText, err)
	}
	return err
}
