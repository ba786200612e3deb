package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

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
	fault, cause := faultOf(err)
	return &purge.FaultError{Fault: fault, Cause: cause, Err: err}
}

// classifyShared is classify for a statement that is about no deletion: what may be
// a deletion's own is the infrastructure's there.
func classifyShared(ctx context.Context, err error) error {
	err = classify(ctx, err)
	if fault, cause := purge.FaultOf(err); err != nil && fault == purge.Ambiguous {
		return &purge.FaultError{Fault: purge.Infrastructure, Cause: cause, Err: err}
	}
	return err
}

func faultOf(err error) (purge.Fault, string) {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		if broken(err) {
			return purge.Infrastructure, purge.CauseConnection
		}
		return purge.Ambiguous, "client" // a value that can't be encoded or read, say
	}
	fault, cause := faultOfState(pg.Code)
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &connect), pg.SeverityUnlocalized == "FATAL", pg.SeverityUnlocalized == "PANIC":
		return purge.Infrastructure, cause // the server has ended the connection: no deletion can cause that
	case pg.Where != "" && (fault == purge.Infrastructure || pg.Code == "40001"):
		return purge.Ambiguous, cause // a trigger's, which may raise any code, for one conversation too
	}
	return fault, cause
}

// broken says that the error came from the way to the server: a refused or broken
// connection, a timeout, a pool that can't connect.
func broken(err error) bool {
	var network net.Error
	var number syscall.Errno
	var connect *pgconn.ConnectError
	for _, known := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, known) {
			return true
		}
	}
	return errors.As(err, &network) || errors.As(err, &number) || errors.As(err, &connect) || pgconn.SafeToRetry(err) || pgconn.Timeout(err)
}

// faults are the SQLSTATEs (https://www.postgresql.org/docs/current/errcodes-appendix.html)
// and, of two characters, their classes that say more than that a statement has
// failed. A cause is a word for metrics; the others' is made from their class.
var faults = map[string]struct {
	fault purge.Fault
	cause string
}{
	"55P03": {purge.Contention, "lock_timeout"},
	"40P01": {purge.Contention, "deadlock"},
	"40001": {purge.Contention, "serialization"},
	"57014": {purge.Ambiguous, purge.StatementTimeout}, // ours: the statement, not the server, was too slow
	"25006": {purge.Infrastructure, "read_only"},
	"25P03": {purge.Infrastructure, purge.CauseServer}, // an operator's limits for idle and for long transactions
	"25P04": {purge.Infrastructure, purge.CauseServer},
	"42501": {purge.Ambiguous, purge.CausePermission}, // perhaps a trigger's
	"08":    {purge.Infrastructure, purge.CauseConnection},
	"28":    {purge.Infrastructure, purge.CauseConfiguration},
	"3D":    {purge.Infrastructure, purge.CauseConfiguration},
	"3F":    {purge.Ambiguous, purge.CauseConfiguration},
	"42":    {purge.Ambiguous, purge.CauseConfiguration},
	"53":    {purge.Infrastructure, "resources"},
	"57":    {purge.Infrastructure, purge.CauseServer},
	"58":    {purge.Infrastructure, purge.CauseServer},
	"23":    {purge.Ambiguous, "constraint"},
}

// faultOfState maps an SQLSTATE. For most of them the results of other deletions show
// whose fault they are.
func faultOfState(code string) (purge.Fault, string) {
	if len(code) < 2 {
		return purge.Ambiguous, "unknown"
	}
	for _, known := range []string{code, code[:2]} {
		if f, found := faults[known]; found {
			return f.fault, f.cause
		}
	}
	return purge.Ambiguous, "sqlstate_" + code[:2]
}
