package purge

import (
	"fmt"
	"slices"
	"time"
)

// ThrottleReason says what throttles a lane, as it stands in logs, metrics, the ledger
// and the progress event's waiting_for.
type ThrottleReason string

// The reasons, the most important first: where several throttle the long lane, the first
// is what a deletion is reported to wait for.
const (
	Paused      ThrottleReason = "paused"       // by an operator
	ReplicaLag  ThrottleReason = "replica_lag"  // a standby falls behind
	WALRetained ThrottleReason = "wal_retained" // WAL piles up behind a slot or the archiver
	LockWaiters ThrottleReason = "lock_waiters" // others wait for our locks
	SlowBatch   ThrottleReason = "slow_batch"   // a batch took far longer than its target
	PermitsHeld ThrottleReason = "permits_held" // a session that runs no batch has permits of the long lane
)

// Lock says that a deletion waits for a row or a table that another transaction has
// locked. It is the deletion's own, and throttles nothing.
const Lock ThrottleReason = "lock"

// ThrottleReasons returns all reasons in their order.
func ThrottleReasons() []ThrottleReason {
	return []ThrottleReason{Paused, ReplicaLag, WALRetained, LockWaiters, SlowBatch, PermitsHeld}
}

// NoPermit says that a batch got none of the permits that all workers share.
// It is ordinary, and not reported.
const NoPermit ThrottleReason = "no_permit"

// ForegroundLoad says that the long lane of all workers backs off for a moment, because
// other clients use the database. It is ordinary, and not reported.
const ForegroundLoad ThrottleReason = "foreground_load"

// Limits are the thresholds of the throttles; 0 takes a throttle off.
type Limits struct {
	// ReplicaLag is how far the slowest standby may be behind.
	ReplicaLag time.Duration
	// IgnoreStandbys are the names (application_name) of standbys to ignore, such as one
	// that is delayed on purpose.
	IgnoreStandbys []string
	// LockWait is how long others may wait for a lock of ours. It must be longer
	// than a batch, or ordinary batches throttle.
	LockWait time.Duration
	// WALRetained is how much WAL may be retained, in bytes.
	WALRetained int64
}

// Figures are what one sample of the database has found.
type Figures struct {
	// Pauses are the operator's, whatever else was sampled.
	Pauses []Pause
	// ReplicaLag is how far the slowest standby, Standby, is behind. A [Monitor] works it
	// out from Position and Standbys.
	ReplicaLag time.Duration
	Standby    string
	// Position is the server's position in the WAL, and Standbys where its
	// standbys are.
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
	// Transactions grows by one with each transaction of other clients. What the long lane
	// of this worker does itself is not in it.
	Transactions int64
	// Unread says for each throttle whose figures can't be read why that is so.
	Unread map[ThrottleReason]string
}

// Lane is what a pause stops.
type Lane string

// The lanes that can be paused.
const (
	AllLanes Lane = "all"
	LongLane Lane = "long"
)

// Pause says that an operator has paused a lane.
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

// Throttle is one reason why the long lane slows or stops.
type Throttle struct {
	Reason ThrottleReason
	// Detail has the figures, for people.
	Detail string
	// calm is how many samples in a row have found the figure below its threshold.
	calm int
}

// Throttles are in the order of their reasons.
type Throttles []Throttle

// calmSamples is how many samples in a row must find a figure harmless before its
// throttle ends.
const calmSamples = 2

// Judge returns what stops the long lane, after was did and f was found. A
// throttle begins above its threshold, and ends when two samples in a row have
// found less than half of it, so that it doesn't flap; a pause begins and ends at
// once. It changes neither was nor f.
func (l Limits) Judge(was Throttles, f Figures) Throttles {
	var now Throttles
	for _, p := range f.Pauses {
		now = now.add(Throttle{Reason: Paused, Detail: fmt.Sprintf("lane %s, by an operator since %s", p.Lane, p.Since.UTC().Format(time.RFC3339))})
	}
	now = now.measured(was, ReplicaLag, ratio(f.ReplicaLag, l.ReplicaLag),
		fmt.Sprintf("standby %q is %v behind; --max-replica-lag is %v", f.Standby, f.ReplicaLag.Round(100*time.Millisecond), l.ReplicaLag))
	now = now.measured(was, WALRetained, ratio(f.WALRetained, l.WALRetained),
		fmt.Sprintf("%s holds %d MiB of WAL; --max-wal-retained is %d MiB", f.WALHolder, f.WALRetained>>20, l.WALRetained>>20))
	return now.measured(was, LockWaiters, ratio(f.LongestWait, l.LockWait),
		fmt.Sprintf("%s for our locks, one for %v; --max-lock-wait is %v", Count(f.LockWaiters, "session waits", "sessions wait"), f.LongestWait.Round(time.Millisecond), l.LockWait))
}

// Of returns the throttle of a reason; false if there is none.
func (ts Throttles) Of(reason ThrottleReason) (Throttle, bool) {
	i := slices.IndexFunc(ts, func(t Throttle) bool { return t.Reason == reason })
	if i < 0 {
		return Throttle{}, false
	}
	return ts[i], true
}

// add adds a throttle; several details of one reason are joined.
func (ts Throttles) add(more Throttle) Throttles {
	if i := slices.IndexFunc(ts, func(t Throttle) bool { return t.Reason == more.Reason }); i >= 0 {
		ts[i].Detail += "; " + more.Detail
		return ts
	}
	return append(ts, more)
}

// measured adds the throttle of a figure that is so many times its threshold, if it
// begins or goes on.
func (ts Throttles) measured(was Throttles, reason ThrottleReason, times float64, detail string) Throttles {
	before, throttled := was.Of(reason)
	now := Throttle{Reason: reason, Detail: detail}
	switch {
	case times > 1, throttled && times > 0.5:
		return append(ts, now)
	case throttled && times >= 0 && before.calm+1 < calmSamples:
		now.calm = before.calm + 1
		return append(ts, now)
	}
	return ts
}

// ratio is how many times the limit v is; less than 0 without a limit.
func ratio[T ~int64](v, limit T) float64 {
	if limit <= 0 {
		return -1
	}
	return max(0, float64(v)) / float64(limit)
}
