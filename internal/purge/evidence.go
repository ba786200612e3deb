package purge

import (
	"slices"
	"time"
)

const (
	// sharedAfter is how many different deletions must fail one after the other, with
	// no success in between, before the infrastructure is at fault. Two may be a
	// coincidence: a user deletes two conversations that are on legal hold, and there
	// are no other commands. Three are unlikely to be one, and a wrong guess costs
	// little: the next deletion that succeeds corrects it.
	sharedAfter = 3
	// othersTimeout is how long the failures of a deletion wait for the results of others
	// that are about to be tried. Those take milliseconds on a healthy database.
	othersTimeout = time.Second
	// evidenceTTL is how long a failure counts as evidence. It is longer than the ten
	// attempts of a deletion take (half a minute), so that a fault is noticed where a
	// command comes every few minutes.
	evidenceTTL = 10 * time.Minute
	// maxTracked bounds the memory. The deletions that failed longest ago are forgotten.
	maxTracked = 1024
)

// Tables is a set of a plan's tables, a bit for each in the plan's order. The zero
// value is the empty set.
type Tables uint64

// The tables that every plan has.
const (
	MessagesTable      Tables = 1 << 0
	ConversationsTable Tables = 1 << 1
)

// Removed returns the tables from which a finished deletion removed a row at its end:
// the conversations' table, if the deletion had messages. Without messages there was
// usually no row.
func (r Record) Removed() Tables {
	if r.ConversationRemoved && r.MessagesDeleted > 0 {
		return ConversationsTable
	}
	return 0
}

// Table returns the set of the i-th table alone. Tables beyond the 63rd share a bit.
func Table(i int) Tables { return 1 << min(i, 63) }

// Has reports whether all of other is in t.
func (t Tables) Has(other Tables) bool { return other&^t == 0 }

// FailedTry is a try of one deletion alone that failed with an error that may be
// the deletion's own fault or the infrastructure's; see [Ambiguous].
type FailedTry struct {
	Key Key
	// Needs are the tables with rows of the deletion.
	Needs Tables
	// Others are the tables from which rows of other deletions were deleted since this
	// deletion failed in one batch with them, before it was tried alone.
	Others Tables
	// Began is when the try began. A success after that proves nothing: the fault may
	// have been corrected meanwhile. The zero time is before all successes.
	Began time.Time
	// OthersPending says that other deletions are about to be tried.
	OthersPending bool
}

// Attribution says whose fault a failure is.
type Attribution struct {
	// Fault is Command, Infrastructure, or Ambiguous: try it once more, when others have
	// been tried, before anything is counted.
	Fault Fault
	// Proven, for Command, says that the failure may end the deletion: others succeeded
	// meanwhile, or it isn't the first failure.
	Proven bool
	// TakeBack, for Infrastructure, is how many attempts had been counted against the
	// deletion before that was known.
	TakeBack int
}

// Evidence decides whose fault an ambiguous error is, by the results of other
// deletions. If one deletion fails while others succeed, the fault is its own. If
// different deletions fail one after the other, with no success in between, the fault
// is the infrastructure's. Until either is known a failure counts as an attempt, which
// is taken back if others turn out to fail as well.
//
// The success of a deletion proves something about another one only if it removed rows
// from all tables in which the other has some: a trigger on one table does not affect
// deletions without rows there.
//
// The zero value has no evidence. It reads no clock: the caller passes the time, which
// must not go back. Not safe for concurrent use.
type Evidence struct {
	tracked   map[Key]*tracked
	undecided int       // tracked deletions that are undecided
	healed    time.Time // when others last succeeded after the infrastructure had been at fault
}

// tracked is a deletion that has failed.
type tracked struct {
	needs     Tables
	others    Tables    // from which rows of others were deleted since it failed
	clearedAt time.Time // when those were all that it needs
	first     time.Time // failure since the infrastructure was last at fault
	last      time.Time // failure
	failures  int       // since the first
	counted   int       // attempts that may have to be taken back
	own       bool      // others succeeded while it failed
	undecided bool      // nothing has shown yet whose fault its failure is
}

// cleared reports whether the success of others since the failure shows that the
// infrastructure is not at fault.
func (d *tracked) cleared() bool { return d.others != 0 && d.others.Has(d.needs) }

// Failed notes tries that failed at one time, and returns whose fault they are, in
// their order. The failures of one round are noted together, so that each counts as
// evidence about the others.
func (e *Evidence) Failed(at time.Time, tries ...FailedTry) []Attribution {
	e.forget(at)
	was := e.Shared()
	for _, t := range tries {
		d := e.get(t.Key)
		if t.Began.Before(e.healed) {
			d.last = at
			continue
		}
		d.needs, d.others, d.last = t.Needs, d.others|t.Others, at
		if d.failures++; d.failures == 1 {
			d.first = at
		}
		d.own = d.own || d.cleared() && !d.clearedAt.After(t.Began)
		d.undecided = !d.own && !d.cleared() && (d.undecided || was || d.failures > 1 || !t.OthersPending)
	}
	e.count()
	attributions := make([]Attribution, len(tries))
	for i, t := range tries {
		if t.Began.Before(e.healed) { // by what has been corrected since, perhaps: another try shows
			attributions[i] = Attribution{Fault: Ambiguous}
			continue
		}
		attributions[i] = e.get(t.Key).attribution(e.Shared(), t.OthersPending)
	}
	if e.Shared() && !was { // what was decided before may have changed
		for _, d := range e.tracked {
			d.own, d.others, d.clearedAt, d.failures = false, 0, time.Time{}, 0
		}
	}
	return attributions
}

// Track tracks a deletion that has not been tried alone yet: from now on the success of
// others counts as evidence about it. others is as in [FailedTry].
func (e *Evidence) Track(at time.Time, k Key, others Tables) {
	e.forget(at)
	d := e.get(k)
	d.others, d.last = d.others|others, at
}

// attribution is that of the last failure.
func (d *tracked) attribution(shared, pending bool) Attribution {
	switch {
	case d.own:
		d.counted = 0
		return Attribution{Fault: Command, Proven: true}
	case shared:
		a := Attribution{Fault: Infrastructure, TakeBack: d.counted}
		d.counted = 0
		return a
	case d.cleared(), pending && d.last.Sub(d.first) < othersTimeout:
		return Attribution{Fault: Ambiguous}
	}
	d.counted++
	return Attribution{Fault: Command, Proven: d.failures > 1}
}

// Succeeded notes that rows were deleted from tables at one time, and that the
// deletions of keys are finished.
func (e *Evidence) Succeeded(at time.Time, tables Tables, keys ...Key) {
	was := e.Shared()
	for _, k := range keys {
		delete(e.tracked, k)
	}
	for _, d := range e.tracked {
		d.others |= tables
		if d.cleared() && d.clearedAt.IsZero() {
			d.clearedAt = at
		}
		d.undecided = d.undecided && !d.cleared()
	}
	e.count()
	if was && !e.Shared() { // the next fault needs new evidence
		e.healed = at
		for _, d := range e.tracked {
			d.others, d.clearedAt = 0, time.Time{}
		}
	}
}

// Shared reports whether the infrastructure is at fault: true until deletions succeed.
func (e *Evidence) Shared() bool { return e.undecided >= sharedAfter }

// FailedBefore reports whether a deletion has failed, so that it should run isolated.
func (e *Evidence) FailedBefore(k Key) bool { return e.tracked[k] != nil }

// Empty reports whether no deletion is tracked: then a success changes nothing.
func (e *Evidence) Empty() bool { return len(e.tracked) == 0 }

// ForgetUndecided drops the undecided deletions, where none is left to try.
func (e *Evidence) ForgetUndecided() {
	for k, d := range e.tracked {
		if d.undecided {
			delete(e.tracked, k)
		}
	}
	e.count()
}

// get returns the tracked deletion, a new one if there was none.
func (e *Evidence) get(k Key) *tracked {
	if e.tracked == nil {
		e.tracked = map[Key]*tracked{}
	}
	if e.tracked[k] == nil {
		e.tracked[k] = &tracked{}
	}
	return e.tracked[k]
}

// forget drops what is too old, and the oldest half if there is too much.
func (e *Evidence) forget(at time.Time) {
	for k, d := range e.tracked {
		if at.Sub(d.last) > evidenceTTL {
			delete(e.tracked, k)
		}
	}
	if len(e.tracked) < maxTracked {
		return
	}
	keys := make([]Key, 0, len(e.tracked))
	for k := range e.tracked {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b Key) int { return e.tracked[a].last.Compare(e.tracked[b].last) })
	for _, k := range keys[:len(keys)-maxTracked/2] {
		delete(e.tracked, k)
	}
}

func (e *Evidence) count() {
	e.undecided = 0
	for _, d := range e.tracked {
		if d.undecided {
			e.undecided++
		}
	}
}
