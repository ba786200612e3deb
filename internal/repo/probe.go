package repo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/internal/purge"
)

// Probe is [Repo.Examine] over a new connection: an old one may be broken, or lead
// to a server that was the primary.
func (r *Repo) Probe(ctx context.Context) error {
	r.conns.reset()
	return r.Examine(ctx)
}

// Examine says whether the worker can work: nil if the database can be reached
// and written to, every statement of the worker can be planned and is permitted,
// and the plan still fits the tables ([Repo.Recheck]). One short transaction, which changes nothing
// that anybody sees, and some reading of the catalog. The error is one line, says
// what corrects it where that is known, and is never the deletion's own fault.
func (r *Repo) Examine(ctx context.Context) error {
	t := r.begin(true)
	id := "probe-" + rand.Text()
	t.exec(nil, r.sql.get("probe_write"), args{"id": id})
	t.exec(nil, r.sql.get("probe_erase"), args{"id": id})
	for _, s := range r.sql.all() {
		// Explain checks the privileges, and neither runs the statement nor locks a row.
		t.exec(nil, s.explain(), s.nulls())
	}
	err := r.commit(ctx, t)
	if err == nil { // what no statement shows: a foreign key that came later, say
		if _, err = r.Recheck(ctx); errors.Is(err, ErrChanged) {
			return nil // the statements can be planned as they are, until the worker opens the tables anew
		}
		return err
	}
	fault, cause := purge.FaultOf(err)
	if fault.MayBeCommand() {
		fault = purge.Infrastructure
	}
	return &purge.FaultError{Fault: fault, Cause: cause, Err: oneLine(r.diagnose(ctx, err))}
}

// diagnose finds out which table or grant is missing: the server's error names
// neither schema nor privilege.
func (r *Repo) diagnose(ctx context.Context, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	if pg.Code == readOnly {
		return fmt.Errorf("%s: %w", readOnlyText, err)
	}
	if pg.Code == invalidColumnReference {
		return fmt.Errorf("a publication's row filter or column list has columns that the replica identity of a table doesn't; run for that table: alter table … replica identity full (%w)", err)
	}
	if !strings.HasPrefix(pg.Code, "42") && !strings.HasPrefix(pg.Code, "3F") { // access and syntax; schemas
		return err
	}
	if _, found := r.check(ctx, false); found != nil {
		return found
	}
	if pg.Code == noPrivilege {
		return fmt.Errorf("%w; grant it to %s", err, r.source.role())
	}
	return err
}
