package purge

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// event is the result of deletions at one time: tries that fail, or one that succeeds.
type event struct {
	fail    string // names of deletions, with spaces between them
	needs   Tables // of those that fail
	others  Tables // from which rows of others were deleted between their batch's failure and theirs
	pending bool   // others wait to be tried
	track   string // a deletion that is tracked from now on
	ok      string
	tables  Tables        // from which rows were deleted
	after   time.Duration // since the event before it
	// want is what is said of each failure: "own" may end the deletion, "count" is an
	// attempt that may not, "again" is none yet, "shared-N" is none and takes N back.
	want   string
	took   time.Duration // since the tries that fail began
	shared bool          // whether the infrastructure is at fault then
}

func (v Attribution) String() string {
	switch {
	case v.Fault == Ambiguous:
		return "again"
	case v.Fault == Infrastructure:
		return fmt.Sprintf("shared-%d", v.TakeBack)
	case v.Proven:
		return "own"
	}
	return "count"
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	const messages, reactions = Tables(1), Tables(2)
	fail := func(names, want string) event { return event{fail: names, needs: messages, want: want} }
	ok := func(name string) event { return event{ok: name, tables: messages} }
	shared := func(e event) event { e.shared = true; return e }
	for name, events := range map[string][]event{
		"alone, it is its own, but the first failure never ends it": {
			fail("a", "count"), fail("a", "own"), fail("a", "own"), ok("a"), fail("a", "count"),
		},
		"what fails while others succeed is its own": {
			fail("a", "count"), ok("x"), fail("a", "own"), fail("a", "own"),
		},
		"what fails alone after it failed with others that succeeded is its own at once": {
			{fail: "a", needs: messages, others: messages, want: "own"},
		},
		"where others are about to be tried, the first failure says nothing yet": {
			{fail: "a b c", needs: messages, pending: true, want: "again again again"},
			{fail: "a b", needs: messages, pending: true, want: "again again"},
			{fail: "a", needs: messages, pending: true, after: othersTimeout, want: "own"},
			{fail: "c", needs: messages, pending: true, want: "shared-0", shared: true},
		},
		"while it is the infrastructure's, nobody who fails again ends that": {
			shared(fail("a b c", "shared-0 shared-0 shared-0")),
			{fail: "a b c d", needs: messages, pending: true, want: "shared-0 shared-0 shared-0 shared-0", shared: true},
			{ok: "x", tables: reactions, shared: true},
		},
		"what succeeded after a try began says nothing of it, and of the next one it does": {
			fail("a", "count"), ok("x"), {fail: "a", needs: messages, took: time.Second, want: "again"}, fail("a", "own"),
		},
		"what is tracked needs no failure of its own before others succeed": {
			{track: "a"}, ok("x"), fail("a", "own"), {track: "b"}, fail("b", "count"),
		},
		"several that fail while others succeed are each its own, also when nobody else is left": {
			{fail: "a b c d", needs: messages, others: messages, want: "own own own own"},
			fail("a b c d", "own own own own"), fail("a", "own"), fail("b", "own"), fail("c", "own"), fail("d", "own"),
		},
		"two alone are no pattern": {
			fail("a", "count"), fail("b", "count"), fail("a b", "own own"), fail("a b", "own own"),
		},
		"three one after the other are, and what was counted is taken back": {
			fail("a", "count"), fail("a", "own"), fail("b", "count"), shared(fail("c", "shared-0")),
			shared(fail("a", "shared-2")), shared(fail("a", "shared-0")), shared(fail("b", "shared-1")),
		},
		"three in one round are": {
			shared(fail("a b c", "shared-0 shared-0 shared-0")),
		},
		"it goes on when one succeeds, and what fails again then has to fail with others first": {
			shared(fail("a b c", "shared-0 shared-0 shared-0")), ok("a"), fail("b", "count"), fail("c", "count"), shared(fail("a", "shared-0")),
		},
		"a try that began before the fault was mended says nothing, the next one does": {
			shared(fail("a b c", "shared-0 shared-0 shared-0")), ok("a"), {fail: "b c d e", needs: messages, took: time.Second, want: "again again again again"}, fail("b", "count"), fail("b", "own"),
		},
		"one that succeeds ends a streak": {
			fail("a b", "count count"), ok("x"), fail("c d", "count count"), fail("a", "own"),
		},
		"what was clear before an outage isn't in it": {
			{fail: "a", needs: messages, others: messages, want: "own"}, shared(fail("b c d", "shared-0 shared-0 shared-0")), shared(fail("a", "shared-0")),
		},
		"who has no rows in a table proves nothing about it": {
			{fail: "a b", needs: messages | reactions, want: "count count"},
			ok("x"),
			ok("y"),
			{fail: "a", needs: messages | reactions, want: "own"},
			{fail: "c", needs: messages | reactions, want: "shared-0", shared: true},
			{ok: "z", tables: messages, shared: true},
			{ok: "r", tables: reactions}, // by now all of it went
			{fail: "b", needs: messages | reactions, want: "count"},
		},
		"an empty deletion proves nothing": {
			fail("a b", "count count"), {ok: "x"}, shared(fail("c", "shared-0")), shared(event{ok: "y"}), ok("z"),
		},
		"a deletion without rows fails for what any other one shows": {
			{fail: "a", want: "count"}, ok("x"), {fail: "a", want: "own"},
		},
		"what is long ago is forgotten": {
			fail("a b", "count count"), {fail: "c", needs: messages, after: evidenceTTL + 1, want: "count"}, fail("d", "count"), shared(fail("e", "shared-0")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var e Evidence
			at := time.Unix(0, 0)
			key := func(name string) Key { return Key{Conversation: name} }
			for i, ev := range events {
				at = at.Add(ev.after + time.Millisecond)
				if ev.track != "" {
					e.Track(at, key(ev.track), ev.others)
				}
				if ev.ok != "" {
					e.Succeeded(at, ev.tables, key(ev.ok))
				}
				var tries []FailedTry
				for n := range strings.FieldsSeq(ev.fail) {
					tries = append(tries, FailedTry{Key: key(n), Needs: ev.needs, Others: ev.others, OthersPending: ev.pending, Began: at.Add(-ev.took)})
				}
				got := strings.Trim(fmt.Sprint(e.Failed(at, tries...)), "[]")
				if got != ev.want || e.Shared() != ev.shared {
					t.Errorf("event %d, %+v: %q, shared %v; want %q, %v", i+1, ev, got, e.Shared(), ev.want, ev.shared)
				}
			}
		})
	}
}

func TestEvidenceIsBounded(t *testing.T) {
	t.Parallel()
	var e Evidence
	at := time.Unix(0, 0)
	for i := range 10 * maxTracked {
		at = at.Add(time.Millisecond)
		e.Failed(at, FailedTry{Key: Key{Conversation: fmt.Sprint(i)}, Needs: 1, Others: 1})
		if n := len(e.tracked); n > maxTracked {
			t.Fatalf("%d deletions are tracked; want at most %d", n, maxTracked)
		}
	}
	if last := (Key{Conversation: fmt.Sprint(10*maxTracked - 1)}); !e.FailedBefore(last) || e.FailedBefore(Key{Conversation: "0"}) {
		t.Error("the newest is forgotten, or the oldest isn't")
	}
	e.Failed(at, FailedTry{Key: Key{Conversation: "undecided"}, Needs: 1})
	e.ForgetUndecided()
	if e.Empty() || e.FailedBefore(Key{Conversation: "undecided"}) {
		t.Error("ForgetUndecided forgot all deletions, or kept an undecided one")
	}
}

func TestTablesBeyondTheSetShareABit(t *testing.T) {
	t.Parallel()
	if Table(63) != Table(64) || Table(1).Has(Table(0)) {
		t.Errorf("tables %x %x %x", Table(0), Table(63), Table(64))
	}
}
