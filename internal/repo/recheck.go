package repo

import (
	"context"
	"errors"
	"reflect"

	"github.com/lethe-im/lethe/internal/purge"
)

// ErrChanged says that the plan fits the tables, but in another way than when the
// worker started: a type, a key or a foreign key has changed. A Repo that is opened
// anew works with them as they are.
var ErrChanged = errors.New("the plan's tables have changed since they were checked")

// Recheck checks the plan against the catalog again, as [Open] did, and returns its
// warnings. The error is [ErrChanged], or is never a deletion's own fault, is one
// line, and says what corrects it. It reads the catalog in one short transaction (some
// milliseconds) and changes nothing.
func (r *Repo) Recheck(ctx context.Context) (warnings []string, err error) {
	s, err := r.resolve(ctx)
	if err != nil {
		fault, cause := purge.FaultOf(err)
		if fault == purge.Command { // here it is an operator who has changed the tables
			fault = purge.Infrastructure
		}
		return nil, &purge.FaultError{Fault: fault, Cause: cause, Err: oneLine(err)}
	}
	if !s.same(r.schema) {
		return nil, ErrChanged
	}
	return s.warnings, nil
}

// same says that the statements of both are the same, and so are the ids that they
// take.
func (s *schema) same(other *schema) bool {
	a, b := *s, *other
	a.warnings, b.warnings = nil, nil
	return reflect.DeepEqual(a, b)
}
