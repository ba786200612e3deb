package purge

import "errors"

// Fault says whose an error is, and so what to do about it. The zero value is
// Command: an unknown error counts against the deletion, which delays work, never
// loses it.
type Fault int

// The faults. See [FaultOf].
const (
	// Command: the deletion's own. Counts as an attempt, unless [Evidence] says otherwise.
	Command Fault = iota
	// Contention: a deadlock, a serialization failure, a lock not had in time.
	// Trying again heals it; not an attempt.
	Contention
	// Infrastructure: no connection, a read-only standby, a missing grant or
	// table, a full disk. The worker stops pulling; not an attempt.
	Infrastructure
	// Stopping: the worker is being stopped. Not an attempt.
	Stopping
	// Ambiguous: the error alone doesn't show whether the deletion or the
	// infrastructure is at fault: a constraint, a trigger, a missing table. What
	// becomes of other deletions does; see [Evidence].
	Ambiguous
)

// The causes on which a decision depends. Others are only words for metrics.
const (
	CauseConnection    = "connection" // no way to the server
	CausePermission    = "permission" // a privilege is missing
	CauseConfiguration = "configuration"
	CauseServer        = "server"       // the server ends sessions, or is starting
	CauseTimeout       = "timeout"      // NATS did not answer in time
	CauseUnavailable   = "unavailable"  // a stream without a leader
	CauseLettersFull   = "letters_full" // the stream of dead letters takes no more
	// StatementTimeout says that a statement took far too long. Fewer rows may heal it.
	StatementTimeout = "statement_timeout"
)

// Transient reports whether a fault may end within seconds without anybody doing
// anything, so that the same call is worth repeating in place.
func Transient(fault Fault, cause string) bool {
	if fault == Infrastructure {
		switch cause {
		case CauseConnection, CauseServer, CauseTimeout, CauseUnavailable:
			return true
		}
	}
	return fault == Contention
}

// MayBeCommand reports whether the error may be the deletion's own.
func (f Fault) MayBeCommand() bool { return f == Command || f == Ambiguous }

// String returns the fault's name as it stands in logs and metrics.
func (f Fault) String() string {
	switch f {
	case Command:
		return "command"
	case Contention:
		return "contention"
	case Infrastructure:
		return "infrastructure"
	case Stopping:
		return "stopping"
	case Ambiguous:
		return "ambiguous"
	}
	return "unknown"
}

// FaultError carries the verdict of the layer that saw the error. That layer
// classifies once; the others ask [FaultOf].
type FaultError struct {
	Fault Fault
	// Cause is a short fixed word for metrics, such as "connection".
	Cause string
	Err   error
}

// Error returns the wrapped error's text.
func (e *FaultError) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *FaultError) Unwrap() error { return e.Err }

// FaultOf returns the fault that err carries and its cause; Command and "unknown"
// where it carries none, also for nil.
func FaultOf(err error) (Fault, string) {
	var f *FaultError
	if errors.As(err, &f) {
		return f.Fault, f.Cause
	}
	return Command, "unknown"
}
