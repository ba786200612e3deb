package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/internal/purge"
)

type commandTag = pgconn.CommandTag

// classify marks err with whose fault it is. It is the only place that reads
// SQLSTATEs. Nil stays nil, and an error that has been marked stays as it is.
func classify(ctx context.Context, err error) error {
	var marked *purge.FaultError
	if err == nil || errors.As(err, &marked) {
		return err
	}
	if ctx.Err() != nil {
		return &purge.FaultError{Fault: purge.Stopping, Cause: "stopping", Err: fmt.Errorf("%w (%w)", err, context.Cause(ctx))}
	}
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	if errors.As(err, &pg) {
		fault, cause := faultOfState(pg.Code)
		if errors.As(err, &connect) { // no deletion can cause that, whatever the code
			fault = purge.Surroundings
		}
		return &purge.FaultError{Fault: fault, Cause: cause, Err: err}
	}
	// What is not the server's word came from the way there: a refused or broken
	// connection, a time-out, a pool that can't connect.
	return &purge.FaultError{Fault: purge.Surroundings, Cause: "connection", Err: err}
}

// faultOfState maps an SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html).
// Unknown ones are the deletion's own: that delays it, and loses nothing.
func faultOfState(code string) (purge.Fault, string) {
	switch code {
	case "55P03":
		return purge.Contention, "lock_timeout"
	case "40P01":
		return purge.Contention, "deadlock"
	case "40001":
		return purge.Contention, "serialization"
	case "57014": // a statement time-out of ours: the statement, not the server, was too slow
		return purge.Own, purge.StatementTimeout
	case "25006":
		return purge.Surroundings, "read_only"
	case "25P03", "25P04": // an operator's limits for idle and for long transactions
		return purge.Surroundings, "server"
	case "42501":
		return purge.Surroundings, "permission"
	}
	if len(code) < 2 {
		return purge.Own, "unknown"
	}
	switch code[:2] {
	case "08":
		return purge.Surroundings, "connection"
	case "28", "3D", "3F", "42":
		return purge.Surroundings, "configuration"
	case "53":
		return purge.Surroundings, "resources"
	case "57", "58":
		return purge.Surroundings, "server"
	case "23":
		return purge.Own, "constraint"
	}
	return purge.Own, "sqlstate_" + code[:2]
}
