package purge

import "time"

// Facts are what is known about a deletion after a try. They decide its next move; see
// [Next]. A try is one batch: of several deletions, or of this one alone.
type Facts struct {
	// Long says that the deletion has entered the long lane; until then it is in the express lane.
	// Isolated says that it runs alone, with few rows and more time.
	Long, Isolated bool
	// Probing says that the infrastructure is at fault, and that this try isn't one that
	// finds out whether it still is.
	Probing bool
	// Stopping says that the worker stops.
	Stopping bool
	// Random is in [0, 1), for jitter.
	Random float64

	// Record is the ledger's row; zero where it has none, and before it was read.
	Record Record
	// Large says that the deletion has lost as many messages as the express lane takes
	// off one.
	Large bool
	// Refused says that the command as a whole can't be carried out.
	Refused bool
	// Progress says that the try removed rows, or that others used up its budget.
	Progress bool
	// Tries is how many tries in a row have made no progress.
	Tries int
	// Blocked is for how long the deletion has met locks of others.
	Blocked time.Duration
	// Inspected says that it is known whether a trigger or a rule keeps rows, and Kept
	// that one does.
	Inspected, Kept bool

	// Failed says that the try failed, with Fault and Cause; see [FaultOf].
	Failed bool
	Fault  Fault
	Cause  string
	// Shrinkable says that a batch of fewer rows is possible.
	Shrinkable bool
	// Incompatible says that an id can't be a key of the plan's tables.
	Incompatible bool
	// Attribution says whose a fault is that may be the deletion's own; nil until that has
	// been decided.
	Attribution *Attribution
	// Entered says that the ledger knows about the failure, Unentered that it could not be
	// entered; then the fault is that of the call which tried.
	Entered, Unentered bool

	// Throttle is what has kept the batch from running, for Left as far as that is known.
	Throttle ThrottleReason
	Left     time.Duration
	// NoPermits is how many tries in a row have got no permit, and Contended says that
	// other deletions are short of permits.
	NoPermits int
	Contended bool
	// NoRoom says that the wait queue of the long lane was full, or that the deletion has
	// waited there for too long.
	NoRoom bool
}

// MoveKind is what to do next with a deletion.
type MoveKind int

// The moves. After Inspect, Attribute and Fail more is known, and another move follows.
const (
	_         MoveKind = iota
	Publish            // the outcome is final: publish it, then settle
	Refuse             // give up the whole command
	Continue           // the next batch, of this deletion alone
	Wait               // for Delay, with the lease, then the next batch
	EnterLong          // go to the long lane
	Isolate            // run alone, with few rows and more time, after Delay
	Probe              // keep it until the infrastructure is no longer at fault
	Inspect            // find out whether a trigger or a rule keeps rows
	Attribute          // find out whose fault the failure is
	Fail               // enter the failure in the ledger
	Defer              // release the lease and return the command to the stream, for Delay
)

// Move is the next thing to do with a deletion.
type Move struct {
	Kind  MoveKind
	Delay time.Duration
	// Retry is the reason by which lethe_retries_total counts the move; "" for not.
	Retry string
	// Shrink says that the next batch shall be of fewer rows.
	Shrink bool
	// Unavailable says that the worker shall pull nothing until the database is probed.
	Unavailable bool
	// Rule is the name of the row of the table that decided.
	Rule string
}

// The reasons of lethe_retries_total that come from no error.
const (
	RetryBlocked      = "blocked"        // a small deletion made no progress
	RetryLeased       = "leased"         // another worker has the lease
	RetryLock         = "lock"           // a row or a table has been locked for too long
	RetryFailure      = "failure"        // an attempt was counted
	RetryShared       = "shared"         // different deletions fail, and no attempt was counted
	RetryLongLaneFull = "long_lane_full" // no room in the long lane
)

const (
	// MaxTries is how many tries of a small deletion may make no progress. A sender's
	// transaction takes milliseconds.
	MaxTries = 4
	// maxIdle is how many tries of a large deletion may make no progress before it is
	// found out why.
	maxIdle = 3
	// maxBlocked is how long a large deletion waits for locks before another one has the
	// chance.
	maxBlocked = 3 * time.Second
	// maxThrottled is how long a deletion waits at most until its lease, and
	// what throttles it, are checked again.
	maxThrottled = time.Second
	// isolateDelay is how long a deletion that failed waits for others to be tried.
	isolateDelay = 100 * time.Millisecond
)

// Next returns the next move of a deletion: that of the first row of the table whose
// condition holds.
func Next(f Facts) Move {
	for _, r := range table {
		if r.when(f) {
			m := r.move(f)
			m.Rule = r.name
			return m
		}
	}
	panic("BUG: the last row holds for all facts")
}

// row is one row of the table that [Next] reads.
type row struct {
	name string
	when func(Facts) bool
	move func(Facts) Move
}

// table has a row for each situation, the first that holds decides.
var table = []row{
	{"the command is refused", func(f Facts) bool { return f.Refused || f.Record.Reused }, always(Move{Kind: Refuse})},
	{"final", func(f Facts) bool { return f.Record.Final() }, always(Move{Kind: Publish})},
	{"the worker stops", func(f Facts) bool { return f.Stopping || f.Failed && f.Fault == Stopping }, always(Move{Kind: Defer})},

	// The failures. Where the ledger knows about one, that is decided.
	{"attempt that others shared", func(f Facts) bool { return f.Entered && f.attributed(Infrastructure) }, always(Move{Kind: Probe, Retry: RetryShared})},
	{"attempt that may be shared", func(f Facts) bool { return f.Entered && f.attributed(Ambiguous) }, always(Move{Kind: Isolate, Delay: isolateDelay})},
	{"attempt", func(f Facts) bool { return f.Entered }, func(f Facts) Move {
		return Move{Kind: Defer, Delay: retryDelay(f.Record.Attempts, f.Random), Retry: RetryFailure}
	}},
	{"incompatible id", func(f Facts) bool { return f.Incompatible && !f.Unentered }, always(Move{Kind: Fail})},
	{"the infrastructure fails", func(f Facts) bool { return f.Failed && f.Fault == Infrastructure }, func(f Facts) Move {
		return Move{Kind: Defer, Delay: deferDelay(2*time.Second, f.Random), Retry: f.Cause, Unavailable: true}
	}},
	{"too slow, and can be smaller", func(f Facts) bool { return f.timedOut() && f.Shrinkable }, always(Move{Kind: Continue, Shrink: true})},
	{"too slow for the express lane", func(f Facts) bool { return f.timedOut() && !f.Long && !f.Isolated }, always(Move{Kind: Isolate})},
	{"large and locked", func(f Facts) bool { return f.contended() && f.Long && !f.Unentered && f.Blocked <= maxBlocked }, func(f Facts) Move {
		return Move{Kind: Wait, Delay: min(500*time.Millisecond, 20*time.Millisecond+f.Blocked/4), Retry: f.Cause, Shrink: true}
	}},
	{"locked for a moment", func(f Facts) bool { return f.contended() && !f.Unentered && f.mayTry() }, waitBlocked},
	{"locked for too long", Facts.contended, deferLocked},
	{"whose fault?", func(f Facts) bool { return f.Failed && f.Attribution == nil }, always(Move{Kind: Attribute})},
	{"not entered, and others fail as well", func(f Facts) bool { return f.Unentered && f.attributed(Infrastructure) }, always(Move{Kind: Probe})},
	{"can't be entered", func(f Facts) bool { return f.Unentered }, func(f Facts) Move {
		return Move{Kind: Defer, Delay: deferDelay(0, f.Random), Retry: f.Cause}
	}},
	{"failed", func(f Facts) bool { return f.Failed || f.Kept }, always(Move{Kind: Fail})},

	// What the ledger says.
	{"another worker has the lease", func(f Facts) bool { return !f.Record.Mine && (f.Record.LeaseLeft > 0 || f.Long) }, func(f Facts) Move {
		return Move{Kind: Defer, Delay: deferDelay(f.Record.LeaseLeft, f.Random), Retry: RetryLeased}
	}},
	{"no room in the long lane", func(f Facts) bool { return f.NoRoom }, func(f Facts) Move {
		return Move{Kind: Defer, Delay: deferDelay(0, f.Random), Retry: RetryLongLaneFull}
	}},
	{"large", func(f Facts) bool { return f.Large && !f.Long }, always(Move{Kind: EnterLong})},
	{"others fail", func(f Facts) bool { return f.Probing && !f.Long }, always(Move{Kind: Probe})},
	{"no permit", func(f Facts) bool { return f.Throttle == NoPermit }, func(f Facts) Move {
		return Move{Kind: Wait, Delay: permitDelay(f), Retry: string(NoPermit)}
	}},
	{"throttled", func(f Facts) bool { return f.Throttle != "" }, func(f Facts) Move {
		if f.Left <= 0 || f.Left > maxThrottled {
			f.Left = maxThrottled
		}
		return Move{Kind: Wait, Delay: f.Left}
	}},
	{"others need its permit", func(f Facts) bool { return f.Progress && f.Contended }, func(f Facts) Move {
		return Move{Kind: Wait, Delay: permitDelay(f)}
	}},
	{"progress", func(f Facts) bool { return f.Progress }, always(Move{Kind: Continue})},
	{"the ledger doesn't take it up", func(f Facts) bool { return !f.Record.Mine && f.Tries > MaxTries }, always(Move{Kind: Attribute})},
	{"known, and nobody works on it", func(f Facts) bool { return !f.Record.Mine }, always(Move{Kind: Continue})},

	// It is ours, rows are left, and the try removed none.
	{"large and blocked", func(f Facts) bool { return f.Long && (f.Tries < maxIdle || f.Inspected) }, func(f Facts) Move {
		return Move{Kind: Wait, Delay: min(time.Second, 5*time.Millisecond<<min(f.Tries, 10))}
	}},
	{"blocked", func(f Facts) bool { return !f.Inspected && f.mayTry() }, waitBlocked},
	{"why is it blocked?", func(f Facts) bool { return !f.Inspected }, always(Move{Kind: Inspect})},
	{"blocked by others", func(Facts) bool { return true }, deferLocked},
}

func always(m Move) func(Facts) Move { return func(Facts) Move { return m } }

// waitBlocked waits a little longer each time.
func waitBlocked(f Facts) Move {
	return Move{Kind: Wait, Delay: 2 * time.Millisecond << (2 * min(f.Tries, MaxTries)), Retry: RetryBlocked}
}

// permitDelay is at random up to 10 ms, and longer after each try that got no permit. Whoever
// has just had one waits like the others, or it would take it again before they ask.
func permitDelay(f Facts) time.Duration {
	return time.Millisecond + time.Duration(clampUnit(f.Random)*float64(10*time.Millisecond<<min(f.NoPermits, 3)))
}

func deferLocked(f Facts) Move {
	return Move{Kind: Defer, Delay: deferDelay(time.Second, f.Random), Retry: RetryLock}
}

func (f Facts) contended() bool { return f.Failed && f.Fault == Contention }

func (f Facts) timedOut() bool {
	return f.Failed && !f.Unentered && f.Fault.MayBeCommand() && f.Cause == StatementTimeout
}

// After returns the facts after a call about the deletion has failed with err.
func (f Facts) After(err error) Facts {
	f.Failed, f.Attribution = true, nil
	f.Fault, f.Cause = FaultOf(err)
	return f
}

func (f Facts) attributed(to Fault) bool { return f.Attribution != nil && f.Attribution.Fault == to }

// mayTry says that a small deletion that made no progress may have met a sender, who is
// done in a moment. What was blocked by something else before gets one try.
func (f Facts) mayTry() bool {
	if f.Record.Attempts > 0 {
		return !f.Long && f.Tries <= 1
	}
	return !f.Long && f.Tries <= MaxTries
}

const (
	retryFirst = 100 * time.Millisecond
	retryMax   = 10 * time.Second
)

// retryDelay returns how long a deletion waits after its attempts-th real
// failure: 100 ms, doubling, at most 10 s, so that ten failures take about half
// a minute. random, in [0, 1), takes up to a fifth off, so that deletions which
// failed together don't come back together; values outside count as its ends.
// The result is always positive.
func retryDelay(attempts int, random float64) time.Duration {
	d := retryFirst
	for i := 1; i < attempts && d < retryMax; i++ {
		d *= 2
	}
	return jitter(min(d, retryMax), random)
}

// DeferDelay returns how long a command is deferred where nothing says how long it has to wait.
func DeferDelay(random float64) time.Duration { return deferDelay(0, random) }

// deferDelay returns how long a command is deferred whose deletion waits for room in the
// long lane, a lock or another worker's lease: at most five seconds and at most what is
// known to be left, with up to half taken off by random.
func deferDelay(left time.Duration, random float64) time.Duration {
	const minDelay, maxDelay = 100 * time.Millisecond, 5 * time.Second
	d := maxDelay
	if left > 0 {
		d = min(max(left, minDelay), maxDelay)
	}
	return d - time.Duration(clampUnit(random)*float64(d)/2)
}

func jitter(d time.Duration, random float64) time.Duration {
	return d - time.Duration(clampUnit(random)*float64(d)/5)
}

func clampUnit(f float64) float64 {
	if !(f > 0) { // also NaN
		return 0
	}
	return min(f, 1)
}
