package purge

import (
	"fmt"
	"slices"
	"time"
)

// ThrottleReason says what holds a lane back, as it stands in logs, metrics, the ledger
// and the progress event's waiting_for.
type ThrottleReason string

// The causes, the weightiest first: where several hold the long lane, the first
// of them is what a deletion is said to wait for.
const (
	Paused      ThrottleReason = "paused"       // an operator's hand
	ReplicaLag  ThrottleReason = "replica_lag"  // a standby falls behind
	WALRetained ThrottleReason = "wal_retained" // WAL piles up behind a slot or the archiver
	LockWaiters ThrottleReason = "lock_waiters" // others wait for our locks
	SlowBatch   ThrottleReason = "slow_batch"   // a batch took far longer than its target
	PermitsHeld ThrottleReason = "permits_held" // a session that runs no batch has permits of the long lane
)

// Lock says that a deletion waits for a row or a table that another transaction has
// locked. It is the deletion's own, and throttles nothing.
const Lock ThrottleReason = "lock"

// ThrottleReasons returns all causes in their order.
func ThrottleReasons() []ThrottleReason {
	return []ThrottleReason{Paused, ReplicaLag, WALRetained, LockWaiters, SlowBatch, PermitsHeld}
}

// NoPermit says that a batch got no place in the budget that all replicas share.
// It is ordinary, and no cause to be told.
const NoPermit ThrottleReason = "no_permit"

// ForegroundLoad says that the long lane of all workers rests for a moment, because others
// are at work in the database. It is ordinary, and no cause to be told.
const ForegroundLoad ThrottleReason = "foreground_load"

// Limits are the thresholds of the throttles; 0 takes a throttle off.
type Limits struct {
	// ReplicaLag is how far the slowest standby may be behind.
	ReplicaLag time.Duration
	// IgnoreStandbys are the names (application_name) of standbys whose lag is
	// no matter, such as one that is delayed on purpose.
	IgnoreStandbys []string
	// LockWait is how long others may wait for a lock of ours. It must be longer
	// than a batch, or ordinary batches throttle.
	LockWait time.Duration
	// WALRetained is how much WAL may be held back, in bytes.
	WALRetained int64
}

// Figures are what a look at the database has found.
type Figures struct {
	// Pauses are the operator's, whatever else was looked at.
	Pauses []Pause
	// ReplicaLag is how far the slowest standby, Standby, is behind; see [Trail].
	ReplicaLag time.Duration
	Standby    string
	// Position is the server's position in the WAL, and Standbys where its
	// standbys are, for the Trail.
	Position int64
	Standbys []Standby
	// LockWaiters is how many sessions of others have waited for our locks for
	// longer than the limit, and LongestWait for how long.
	LockWaiters int
	LongestWait time.Duration
	// WALRetained is how many bytes of WAL WALHolder keeps from being recycled.
	WALRetained int64
	WALHolder   string
	// PermitHolders are sessions, for people, that have held permits of the long
	// lane for longer than a batch takes.
	PermitHolders []string
	// Transactions grows by one with each transaction that others make; see
	// [Traffic]. What the long lane of this worker does itself is not in it.
	Transactions int64
	// Unread says for each throttle whose figures can't be read why that is so.
	Unread map[ThrottleReason]string
}

// Lane is what a pause holds.
type Lane string

// The lanes that can be paused.
const (
	AllLanes Lane = "all"
	LongLane Lane = "long"
)

// Pause is an operator's word that a lane is to be held.
type Pause struct {
	Lane  Lane
	Since time.Time
}

// Standby is a server that follows ours, and how far it has replayed, as a
// position in the WAL.
type Standby struct {
	Name     string
	Replayed int64
}

// Throttle is one thing that holds the long lane back.
type Throttle struct {
	Cause ThrottleReason
	// Detail says it with figures, for people.
	Detail string
	// calm is how many looks in a row have found it below its threshold.
	calm int
}

// Throttles are what holds the long lane back, in the order of the causes. The zero
// value holds nothing.
type Throttles []Throttle

// calmLooks is how many looks in a row must find a figure harmless before its
// throttle lets go.
const calmLooks = 2

// Judge returns what holds the long lane back, after was did and f was found. A
// throttle takes hold above its threshold, and lets go when two looks in a row have
// found less than half of it, so that it doesn't flap; a pause comes and goes at
// once. It changes neither was nor f.
func (l Limits) Judge(was Throttles, f Figures) Throttles {
	var now Throttles
	for _, p := range f.Pauses {
		now = now.add(Throttle{Cause: Paused, Detail: fmt.Sprintf("lane %s, by an operator since %s", p.Lane, p.Since.UTC().Format(time.RFC3339))})
	}
	now = now.measured(was, ReplicaLag, ratio(f.ReplicaLag, l.ReplicaLag),
		fmt.Sprintf("standby %q is %v behind; --max-replica-lag is %v", f.Standby, f.ReplicaLag.Round(100*time.Millisecond), l.ReplicaLag))
	now = now.measured(was, WALRetained, ratio(f.WALRetained, l.WALRetained),
		fmt.Sprintf("%s holds %d MiB of WAL; --max-wal-retained is %d MiB", f.WALHolder, f.WALRetained>>20, l.WALRetained>>20))
	return now.measured(was, LockWaiters, ratio(f.LongestWait, l.LockWait),
		fmt.Sprintf("%s for our locks, one for %v; --max-lock-wait is %v", Count(f.LockWaiters, "session waits", "sessions wait"), f.LongestWait.Round(time.Millisecond), l.LockWait))
}

// Of returns the throttle of a cause; false if that doesn't hold anything.
func (b Throttles) Of(cause ThrottleReason) (Throttle, bool) {
	i := slices.IndexFunc(b, func(b Throttle) bool { return b.Cause == cause })
	if i < 0 {
		return Throttle{}, false
	}
	return b[i], true
}

// add adds a throttle; what several say of one cause is put together.
func (b Throttles) add(more Throttle) Throttles {
	if i := slices.IndexFunc(b, func(b Throttle) bool { return b.Cause == more.Cause }); i >= 0 {
		b[i].Detail += "; " + more.Detail
		return b
	}
	return append(b, more)
}

// measured adds the throttle of a figure that is so many times its threshold, if it
// takes hold or holds on.
func (b Throttles) measured(was Throttles, cause ThrottleReason, times float64, detail string) Throttles {
	before, held := was.Of(cause)
	now := Throttle{Cause: cause, Detail: detail}
	switch {
	case times > 1, held && times > 0.5:
		return append(b, now)
	case held && times >= 0 && before.calm+1 < calmLooks:
		now.calm = before.calm + 1
		return append(b, now)
	}
	return b
}

// ratio is how many times the limit v is; less than 0 without a limit.
func ratio[T ~int64](v, limit T) float64 {
	if limit <= 0 {
		return -1
	}
	return max(0, float64(v)) / float64(limit)
}
