package purge

import (
	"slices"
	"time"
)

const (
	// shared is how many different deletions must fail one after the other, with
	// nothing succeeding in between, before the infrastructure is at fault. Two may
	// be a coincidence: a user deletes two conversations that are on legal hold, and
	// nobody else is at work. Of three it is unlikely, and a wrong guess costs little:
	// the next deletion that gets through takes it back.
	shared = 3
	// patience is how long the failures of a deletion wait for what becomes of others
	// that are about to be tried. That takes milliseconds on a database that is well.
	patience = time.Second
	// remembered is how long a failure counts as evidence. It is longer than the ten
	// attempts of a deletion take (half a minute), so that a fault is noticed where a
	// command comes every few minutes.
	remembered = 10 * time.Minute
	// mostSuspects bounds the memory; the one that failed longest ago is forgotten.
	mostSuspects = 1024
)

// Tables is a set of a plan's tables, a bit for each in the plan's order. The zero
// value is the empty set.
type Tables uint64

// The tables that every plan has.
const (
	MessagesTable      Tables = 1 << 0
	ConversationsTable Tables = 1 << 1
)

// Removed returns the tables of which a row went with the end of a deletion: the
// conversations', where it had messages. Without them there was no row, as a rule.
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

// FailedTry is a statement about one deletion alone that failed with an error
// which may be anybody's; see [Ambiguous].
type FailedTry struct {
	Key Key
	// Needs are the tables that hold rows of the deletion.
	Needs Tables
	// Others are the tables of which rows of other deletions went since the
	// deletion failed together with them, before it was tried alone.
	Others Tables
	// Began is when the statement began. What got through after that proves nothing: the
	// fault may have gone meanwhile.
	Began time.Time
	// Company says that other deletions are about to be tried.
	Company bool
}

// Verdict says whose a failure is.
type Verdict struct {
	// Fault is Own, Surroundings, or Ambiguous: try it once more, when others have
	// been tried, before anything is counted.
	Fault Fault
	// Proven, for Own, says that the failure may end the deletion: others got
	// through meanwhile, or it isn't the first one.
	Proven bool
	// TakeBack, for Surroundings, is how many attempts had been counted against the
	// deletion before that was clear.
	TakeBack int
}

// Evidence tells whose fault an error is that may be anybody's, by what became of
// other deletions. What fails for one deletion while others get through is its own.
// What fails for different deletions, one after the other, with none getting
// through in between, is the infrastructure's. Until either is clear a failure
// counts as an attempt, which is taken back if others turn out to fail as well.
//
// A deletion that gets through proves something for another one only if it removed
// rows of all tables in which the other has some: a trigger on one table says
// nothing to those who have no rows there.
//
// The zero value has seen nothing. It reads no clock: the caller passes the time,
// which must not go back. Not safe for concurrent use.
type Evidence struct {
	suspects map[Key]*suspect
	doubts   int // suspects in doubt
}

// suspect is a deletion that has failed.
type suspect struct {
	needs    Tables
	others   Tables    // of which rows of others went since it failed
	enough   time.Time // when those were all that it needs
	first    time.Time // failure since the infrastructure was last at fault
	last     time.Time // failure
	failures int       // since the first
	counted  int       // attempts that may have to be taken back
	own      bool      // others got through while it failed
	doubt    bool      // it has failed, and nothing has shown yet whose fault that is
}

// cleared says that others have got through since the suspect failed.
func (s *suspect) cleared() bool { return s.others != 0 && s.others.Has(s.needs) }

// Failed notes tries that failed at a moment, each for a deletion alone, and says
// whose the failures are, in their order. What was tried together is noted
// together, so that each counts as evidence for the others.
func (e *Evidence) Failed(at time.Time, tries ...FailedTry) []Verdict {
	e.forget(at)
	was := e.Shared()
	for _, t := range tries {
		s := e.suspect(t.Key)
		s.needs, s.others, s.last = t.Needs, s.others|t.Others, at
		if s.failures++; s.failures == 1 {
			s.first = at
		}
		s.own = s.own || s.cleared() && !s.enough.After(t.Began)
		s.doubt = !s.own && !s.cleared() && (s.doubt || was || s.failures > 1 || !t.Company)
	}
	e.count()
	verdicts := make([]Verdict, len(tries))
	for i, t := range tries {
		verdicts[i] = e.suspect(t.Key).verdict(e.Shared(), t.Company)
	}
	if e.Shared() && !was { // what was clear before it began need not be so any more
		for _, s := range e.suspects {
			s.own, s.others, s.enough, s.failures = false, 0, time.Time{}, 0
		}
	}
	return verdicts
}

// Watch makes a deletion a suspect that has not been tried alone yet: from now on
// others that get through count as evidence. others is as in [FailedTry].
func (e *Evidence) Watch(at time.Time, k Key, others Tables) {
	e.forget(at)
	s := e.suspect(k)
	s.others, s.last = s.others|others, at
}

// verdict is that on the suspect's last failure.
func (s *suspect) verdict(shared, company bool) Verdict {
	switch {
	case s.own:
		s.counted = 0
		return Verdict{Fault: Own, Proven: true}
	case shared:
		v := Verdict{Fault: Surroundings, TakeBack: s.counted}
		s.counted = 0
		return v
	case s.cleared(), company && s.last.Sub(s.first) < patience:
		return Verdict{Fault: Ambiguous}
	}
	s.counted++
	return Verdict{Fault: Own, Proven: s.failures > 1}
}

// Succeeded notes that rows of tables went at a moment, and that these deletions, of
// which they were, got through.
func (e *Evidence) Succeeded(at time.Time, tables Tables, keys ...Key) {
	was := e.Shared()
	for _, k := range keys {
		delete(e.suspects, k)
	}
	for _, s := range e.suspects {
		s.others |= tables
		if s.cleared() && s.enough.IsZero() {
			s.enough = at
		}
		s.doubt = s.doubt && !s.cleared()
	}
	e.count()
	if was && !e.Shared() { // what one more failure proves begins anew
		for _, s := range e.suspects {
			s.others, s.enough = 0, time.Time{}
		}
	}
}

// Shared reports whether the infrastructure is at fault, until deletions get
// through.
func (e *Evidence) Shared() bool { return e.doubts >= shared }

// Suspect reports whether a deletion has failed, so that it should be tried apart
// from others.
func (e *Evidence) Suspect(k Key) bool { return e.suspects[k] != nil }

// Empty reports whether there is no suspect: then a success is no news.
func (e *Evidence) Empty() bool { return len(e.suspects) == 0 }

// Acquit forgets those in doubt, where nobody is left to try.
func (e *Evidence) Acquit() {
	for k, s := range e.suspects {
		if s.doubt {
			delete(e.suspects, k)
		}
	}
	e.count()
}

// suspect returns the suspect, a new one if there was none.
func (e *Evidence) suspect(k Key) *suspect {
	if e.suspects == nil {
		e.suspects = map[Key]*suspect{}
	}
	if e.suspects[k] == nil {
		e.suspects[k] = &suspect{}
	}
	return e.suspects[k]
}

// forget drops what is old, and the oldest of what is too much.
func (e *Evidence) forget(at time.Time) {
	for k, s := range e.suspects {
		if at.Sub(s.last) > remembered {
			delete(e.suspects, k)
		}
	}
	if len(e.suspects) < mostSuspects {
		return
	}
	keys := make([]Key, 0, len(e.suspects))
	for k := range e.suspects {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b Key) int { return e.suspects[a].last.Compare(e.suspects[b].last) })
	for _, k := range keys[:len(keys)-mostSuspects/2] {
		delete(e.suspects, k)
	}
}

func (e *Evidence) count() {
	e.doubts = 0
	for _, s := range e.suspects {
		if s.doubt {
			e.doubts++
		}
	}
}
