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
	// table, a full disk. The worker pauses; not an attempt.
	Infrastructure
	// Stopping: the worker is being stopped. Not an attempt.
	Stopping
	// Ambiguous: the error alone doesn't show whether the deletion or the
	// infrastructure is at fault: a constraint, a trigger, a missing table. What
	// becomes of other deletions does; see [Evidence].
	Ambiguous
)

// StatementTimeout is the cause of an error, of its own fault, that says that a
// statement took far too long. Fewer rows may heal it.
const StatementTimeout = "statement_timeout"

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
