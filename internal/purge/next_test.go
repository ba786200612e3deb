package purge

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

type nextCase struct {
	rule  string
	facts Facts
	want  Move
}

// nextCases has the row of the table that decides, and the move, for each situation.
var nextCases = []nextCase{
	{"the command is refused", Facts{Record: Record{Reused: true}, Stopping: true}, Move{Kind: Refuse}},
	{"the command is refused", Facts{Refused: true}, Move{Kind: Refuse}},
	{"final", Facts{Record: Record{State: Done}}, Move{Kind: Publish}},
	{"final", Facts{Record: Record{State: Failed}, Entered: true, Stopping: true}, Move{Kind: Publish}},
	{"the worker stops", Facts{Record: mine, Stopping: true, Progress: true}, Move{Kind: Defer}},
	{"the worker stops", Facts{Long: true, Record: mine, Failed: true, Fault: Stopping}, Move{Kind: Defer}},

	{"attempt that others shared", Facts{Failed: true, Entered: true, Attribution: &Attribution{Fault: Infrastructure}}, Move{Kind: Probe, Retry: "shared"}},
	{"attempt that may be shared", Facts{Failed: true, Entered: true, Attribution: &Attribution{Fault: Ambiguous}}, Move{Kind: Isolate, Delay: 100 * time.Millisecond}},
	{"attempt", Facts{Failed: true, Entered: true, Attribution: &Attribution{}, Record: Record{Attempts: 2}}, Move{Kind: Defer, Delay: 200 * time.Millisecond, Retry: "failure"}},
	{"attempt", Facts{Kept: true, Entered: true, Record: Record{Attempts: 1}}, Move{Kind: Defer, Delay: 100 * time.Millisecond, Retry: "failure"}},
	{"incompatible id", Facts{Incompatible: true}, Move{Kind: Fail}},
	{"the infrastructure fails", failed(Infrastructure, CauseConnection), Move{Kind: Defer, Delay: 2 * time.Second, Retry: "connection", Unavailable: true}},
	{"the infrastructure fails", Facts{Long: true, Failed: true, Fault: Infrastructure, Cause: "read_only", Unentered: true}, Move{Kind: Defer, Delay: 2 * time.Second, Retry: "read_only", Unavailable: true}},
	{"too slow, and can be smaller", Facts{Long: true, Failed: true, Fault: Ambiguous, Cause: StatementTimeout, Shrinkable: true}, Move{Kind: Continue, Shrink: true}},
	{"too slow for the express lane", failed(Ambiguous, StatementTimeout), Move{Kind: Isolate}},
	{"large and locked", Facts{Long: true, Failed: true, Fault: Contention, Cause: "lock_timeout", Blocked: 400 * time.Millisecond}, Move{Kind: Wait, Delay: 120 * time.Millisecond, Retry: "lock_timeout", Shrink: true}},
	{"large and locked", Facts{Long: true, Failed: true, Fault: Contention, Cause: "deadlock", Blocked: maxBlocked}, Move{Kind: Wait, Delay: 500 * time.Millisecond, Retry: "deadlock", Shrink: true}},
	{"locked for a moment", Facts{Failed: true, Fault: Contention, Tries: 1}, Move{Kind: Wait, Delay: 8 * time.Millisecond, Retry: "blocked"}},
	{"locked for too long", Facts{Failed: true, Fault: Contention, Tries: MaxTries + 1}, Move{Kind: Defer, Delay: time.Second, Retry: "lock"}},
	{"locked for too long", Facts{Failed: true, Fault: Contention, Tries: 2, Record: Record{Attempts: 1}}, Move{Kind: Defer, Delay: time.Second, Retry: "lock"}},
	{"locked for too long", Facts{Long: true, Failed: true, Fault: Contention, Blocked: maxBlocked + 1}, Move{Kind: Defer, Delay: time.Second, Retry: "lock"}},
	{"whose fault?", failed(Command, "unknown"), Move{Kind: Attribute}},
	{"whose fault?", Facts{Isolated: true, Failed: true, Fault: Ambiguous, Cause: StatementTimeout}, Move{Kind: Attribute}},
	{"whose fault?", Facts{Long: true, Failed: true, Fault: Ambiguous, Cause: "constraint"}, Move{Kind: Attribute}},
	{"not entered, and others fail as well", Facts{Failed: true, Fault: Ambiguous, Unentered: true, Attribution: &Attribution{Fault: Infrastructure}}, Move{Kind: Probe}},
	{"can't be entered", Facts{Failed: true, Fault: Ambiguous, Cause: "constraint", Unentered: true, Attribution: &Attribution{}}, Move{Kind: Defer, Delay: 5 * time.Second, Retry: "constraint"}},
	{"can't be entered", Facts{Failed: true, Fault: Ambiguous, Cause: "constraint", Unentered: true, Incompatible: true, Attribution: &Attribution{}}, Move{Kind: Defer, Delay: 5 * time.Second, Retry: "constraint"}},
	{"failed", Facts{Failed: true, Fault: Ambiguous, Attribution: &Attribution{Fault: Ambiguous}}, Move{Kind: Fail}},
	{"locked for too long", Facts{Long: true, Failed: true, Fault: Contention, Unentered: true}, Move{Kind: Defer, Delay: time.Second, Retry: "lock"}},
	{"whose fault?", Facts{Failed: true, Fault: Ambiguous, Cause: StatementTimeout, Shrinkable: true, Unentered: true}, Move{Kind: Attribute}},
	{"failed", Facts{Record: mine, Inspected: true, Kept: true}, Move{Kind: Fail}},

	{"another worker has the lease", Facts{Record: Record{State: Running, LeaseLeft: 3 * time.Second}}, Move{Kind: Defer, Delay: 3 * time.Second, Retry: "leased"}},
	{"another worker has the lease", Facts{Long: true, Record: Record{State: Pending}}, Move{Kind: Defer, Delay: 5 * time.Second, Retry: "leased"}},
	{"no room in the long lane", Facts{Record: mine, Large: true, NoRoom: true}, Move{Kind: Defer, Delay: 5 * time.Second, Retry: "long_lane_full"}},
	{"large", Facts{Record: mine, Large: true, Progress: true}, Move{Kind: EnterLong}},
	{"large", Facts{Record: Record{State: Pending}, Large: true}, Move{Kind: EnterLong}},
	{"others fail", Facts{Record: mine, Probing: true, Progress: true}, Move{Kind: Probe}},
	{"no permit", Facts{Long: true, Record: mine, Throttle: NoPermit, Random: 0.5}, Move{Kind: Wait, Delay: 6 * time.Millisecond, Retry: "no_permit"}},
	{"no permit", Facts{Long: true, Record: mine, Throttle: NoPermit, Random: 0.5, NoPermits: 9}, Move{Kind: Wait, Delay: 41 * time.Millisecond, Retry: "no_permit"}},
	{"others need its permit", Facts{Long: true, Record: mine, Progress: true, Contended: true, Random: 0.5}, Move{Kind: Wait, Delay: 6 * time.Millisecond}},
	{"throttled", Facts{Long: true, Record: mine, Throttle: ForegroundLoad, Left: 80 * time.Millisecond}, Move{Kind: Wait, Delay: 80 * time.Millisecond}},
	{"throttled", Facts{Long: true, Record: mine, Throttle: Paused}, Move{Kind: Wait, Delay: time.Second}},
	{"progress", Facts{Record: mine, Progress: true}, Move{Kind: Continue}},
	{"progress", Facts{Long: true, Large: true, Record: mine, Progress: true, Tries: 9}, Move{Kind: Continue}},
	{"the ledger doesn't take it up", Facts{Tries: MaxTries + 1}, Move{Kind: Attribute}},
	{"the ledger doesn't take it up", Facts{Record: Record{State: Pending}, Tries: MaxTries + 1}, Move{Kind: Attribute}},
	{"known, and nobody works on it", Facts{}, Move{Kind: Continue}},
	{"known, and nobody works on it", Facts{Record: Record{State: Pending}}, Move{Kind: Continue}},

	{"large and blocked", Facts{Long: true, Record: mine, Tries: 2}, Move{Kind: Wait, Delay: 20 * time.Millisecond}},
	{"large and blocked", Facts{Long: true, Record: mine, Tries: 20, Inspected: true}, Move{Kind: Wait, Delay: time.Second}},
	{"blocked", Facts{Record: mine, Tries: 3}, Move{Kind: Wait, Delay: 128 * time.Millisecond, Retry: "blocked"}},
	{"why is it blocked?", Facts{Record: mine, Tries: MaxTries + 1}, Move{Kind: Inspect}},
	{"why is it blocked?", Facts{Long: true, Record: mine, Tries: maxIdle}, Move{Kind: Inspect}},
	{"blocked by others", Facts{Record: mine, Tries: MaxTries + 1, Inspected: true}, Move{Kind: Defer, Delay: time.Second, Retry: "lock"}},
}

var mine = Record{State: Running, Mine: true, LeaseLeft: time.Minute}

func failed(fault Fault, cause string) Facts { return Facts{Failed: true, Fault: fault, Cause: cause} }

func TestNext(t *testing.T) {
	t.Parallel()
	for _, c := range nextCases {
		c.want.Rule = c.rule
		if got := Next(c.facts); got != c.want {
			t.Errorf("Next(%+v) = %+v; want %+v", c.facts, got, c.want)
		}
	}
}

// Each row of the table decides in a situation that a case above has, and stands once.
func TestEveryRowOfTheTableIsReached(t *testing.T) {
	t.Parallel()
	var names []string
	for _, r := range table {
		if slices.Contains(names, r.name) {
			t.Errorf("the row %q stands twice", r.name)
		}
		names = append(names, r.name)
		if !slices.ContainsFunc(nextCases, func(c nextCase) bool { return Next(c.facts).Rule == r.name }) {
			t.Errorf("no case reaches the row %q", r.name)
		}
	}
}

// Whatever the facts: there is a move, its delay is bounded, a stop waits for nothing, and
// what is final is never worked on.
func TestNextForAnyFacts(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secret
	maybe := func() bool { return rng.IntN(3) == 0 }
	pick := func(n int) time.Duration { return []time.Duration{-1, 0, 1, time.Second, time.Hour}[rng.IntN(n)] }
	for range 100_000 {
		f := Facts{
			Long: maybe(), Isolated: maybe(), Probing: maybe(), Stopping: maybe(), Random: rng.Float64(), Large: maybe(), Progress: maybe(), Tries: rng.IntN(8),
			Blocked: pick(5), Inspected: maybe(), Kept: maybe(), Failed: maybe(), Fault: Fault(rng.IntN(5)), Cause: []string{"unknown", StatementTimeout}[rng.IntN(2)],
			Shrinkable: maybe(), Refused: maybe(), Incompatible: maybe(), Entered: maybe(), Unentered: maybe(), Left: pick(5), NoRoom: maybe(),
			Throttle: []ThrottleReason{"", NoPermit, Paused}[rng.IntN(3)],
			Record: Record{
				State: []State{"", Pending, Running, Done, Failed}[rng.IntN(5)], Mine: maybe(), Reused: maybe(), LeaseLeft: pick(5), Attempts: rng.IntN(3),
			},
		}
		if maybe() {
			f.Attribution = &Attribution{Fault: []Fault{Command, Infrastructure, Ambiguous}[rng.IntN(3)]}
		}
		m := Next(f)
		switch {
		case m.Kind == 0 || m.Rule == "" || m.Delay < 0 || m.Delay > 10*time.Second:
			t.Fatalf("Next(%+v) = %+v", f, m)
		case f.Record.Final() && m.Kind != Publish && m.Kind != Refuse:
			t.Fatalf("Next(%+v) = %+v; want what is final published", f, m)
		case f.Stopping && (m.Delay != 0 || m.Kind != Publish && m.Kind != Refuse && m.Kind != Defer):
			t.Fatalf("Next(%+v) = %+v; want it back at once", f, m)
		case m.Kind == Defer && m.Delay == 0 && !f.Stopping && f.Fault != Stopping:
			t.Fatalf("Next(%+v) = %+v; want a delay", f, m)
		}
	}
}
