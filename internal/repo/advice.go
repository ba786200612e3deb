package repo

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	noPrivilege  = "42501" // insufficient_privilege
	readOnly     = "25006" // read_only_sql_transaction
	readOnlyText = "the database is read-only (a standby?)"
)

// lineError says an error's text on one line, for people.
type lineError struct {
	text string
	err  error
}

func (e *lineError) Error() string { return e.text }
func (e *lineError) Unwrap() error { return e.err }

// oneLine puts the text of err on one line: that of a connection attempt has a
// line for each address, that of a check one for each problem.
func oneLine(err error) error {
	var b strings.Builder
	for line := range strings.Lines(err.Error()) {
		switch text := b.String(); {
		case text == "":
		case strings.HasSuffix(text, ":"):
			b.WriteString(" ")
		default:
			b.WriteString("; ")
		}
		b.WriteString(strings.TrimSpace(line))
	}
	return &lineError{text: b.String(), err: err}
}

// adviseLedger adds to an error of a statement on the ledger's tables alone
// what mends it.
func adviseLedger(err error, role string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case "42P01", "3F000", "42703": // no such table, schema, column
		return fmt.Errorf("the schema lethe is missing or older than this program; run: worker setup (%w)", err)
	case noPrivilege:
		role = quote(role)
		return fmt.Errorf("%w; if %s is the operator's role, run: grant usage on schema lethe to %s; grant select on all tables in schema lethe to %s; "+
			"grant insert, update on lethe.apps to %s; grant insert, update, delete on lethe.holds to %s", err, role, role, role, role, role)
	case readOnly:
		return fmt.Errorf("%s: %w", readOnlyText, err)
	}
	return err
}
