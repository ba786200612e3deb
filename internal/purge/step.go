package purge

import "time"

// Part says what one step of a deletion is to do: one batch, in one transaction.
type Part struct {
	// Claim enters the deletion if the ledger lacks it, takes its lease if that is free,
	// decides its boundary if that has not been done, and goes on from the cursor;
	// Low doesn't count then. Without it the lease must be held.
	Claim bool
	// Low: nothing is left at and below it; the batch begins above.
	Low int64
	// Limit is how many messages the batch deletes at most, and how many rows of each
	// child table.
	Limit int
	// Sparse is the last step's: positions without messages are many.
	Sparse bool
	// Finish proves that nothing is left, if the batch reaches the boundary, and
	// finishes the deletion in the same transaction. The commit waits for the disk.
	Finish bool
	// Long makes the step one of the long lane: it needs a permit, which all workers of the
	// database share, and obeys what throttles that lane.
	Long bool
	// ForegroundBackoff is for how many times as long as the step took the long lane
	// of all workers is throttled after it, a second at most; 0 for not at all.
	ForegroundBackoff float64
	// MarkFrom and MarkTo bound the positions, above the one and up to the other, whose
	// dead index entries are marked before the batch; none if they are equal.
	MarkFrom, MarkTo int64
	// Timeout bounds each statement, and LockTimeout each wait for a lock; 0 for the store's
	// own limits.
	Timeout, LockTimeout time.Duration
}

// Step is what one step has done.
type Step struct {
	// Record is the ledger's row after the step. It is not Mine if another worker has the
	// lease, or the deletion is final; then the step has deleted nothing, unless it
	// has finished. A replay's is zero but for the State of what it has finished.
	Record Record
	// Finished says that this very step has finished the deletion.
	Finished bool
	// Low is the position at and below which nothing is left, to go on from.
	Low int64
	// Messages is how many messages the step has deleted, Rows how many rows of all
	// tables but the conversations'.
	Messages, Rows int
	// RowRemoved says that this very step has removed the conversation's row. Of a replay
	// alone.
	RowRemoved bool
	// Tables are those from which rows were deleted.
	Tables Tables
	// Full says that the step has used up its limit or its time: its duration measures
	// that. A step that isn't full says nothing about a larger one.
	Full bool
	// Late says that its time was over before its limit was used up: what it deleted
	// is as much as there is time for.
	Late bool
	// Reached says that the batch reached the boundary: nothing is known to be left.
	Reached bool
	// Empty says that there was no message above Low, and no child row.
	Empty bool
	// Passed says that the batch had no message, and has passed only rows that others keep; the boundary is not reached.
	Passed bool
	// Sparse is for the next step; see [Part].
	Sparse bool
	// Throttled says that the step was kept from changing anything. Then nothing else
	// in it counts, not even the record.
	Throttled Throttled
}

// Progress reports whether the step has brought the deletion nearer to its end.
func (s Step) Progress() bool { return s.Rows > 0 || s.Passed }

// Measured returns the limit that the step's duration measures, where it had this one: as
// many messages as it had time for.
func (s Step) Measured(limit int) int {
	if s.Late {
		return max(1, min(limit, s.Messages))
	}
	return limit
}

// Throttled says what kept a step from running. The zero value is one that ran.
type Throttled struct {
	Reason ThrottleReason // Paused, SlowBatch, ForegroundLoad or NoPermit; "" for nothing
	Detail string
	// Left is how long it will last, as far as that is known.
	Left time.Duration
}
