package purge

import (
	"fmt"
	"time"
)

// Batch is one bulk call: deletions that are taken up and finished together.
type Batch struct {
	// Deletions, at least one. Several may be of one command.
	Deletions []Deletion
	// Budget bounds the rows.
	Budget Budget
	// Listed says that all of them are of commands that name their deletions by a rule:
	// the ledger knows the command, and not the deletion.
	Listed bool
	// SkipLocked passes over rows that somebody else has locked, instead of
	// waiting for them. Slower; for a batch that met such a lock.
	SkipLocked bool
	// Timeout bounds each statement; 0 for the store's own limit.
	Timeout time.Duration
}

// Result is what has become of a batch. Its slices are in the order of the batch's
// deletions.
type Result struct {
	// Records are the ledger's rows. Of those that the batch has not written, a known
	// one is as the ledger has it, and an unknown one is zero: both are for steps.
	Records []Record
	// Finished says which deletions this very batch finished.
	Finished []bool
	// Deleted is how many messages of each deletion this batch removed.
	Deleted []int
	// Rows is how many rows went in all, of all tables.
	Rows int
	// BudgetSpent says that the row budget cut the batch short.
	BudgetSpent bool
	// Tables are those from which rows were deleted.
	Tables Tables
}

// Budget bounds a bulk call. Rows, not bytes.
type Budget struct {
	// PerDeletion is the most messages that one deletion may lose in it; one
	// that has more is for the long lane.
	PerDeletion int
	// Rows is the most messages that the call may delete over all its
	// deletions (and the most rows of each child table).
	Rows int
}

// Unencodable says that an id of a deletion can't be stored in the database's encoding.
type Unencodable struct {
	// Whole says that it is the command's fault, and not this one conversation's.
	Whole bool
	// Err says which id, for people.
	Err error
}

// Failure is what the ledger keeps of a failed attempt.
type Failure struct {
	// Reason and Message are the deletion's when this attempt is its last:
	// machine-readable, and for people.
	Reason, Message string
	// Err is this attempt's own error.
	Err string
	// MaxAttempts is how many real failures end the deletion; 1 ends it now.
	MaxAttempts int
	// Unproven counts the attempt, but doesn't let it be the last one.
	Unproven bool
	// Uncounted says that the failure is no attempt, and that TakeBack earlier ones
	// weren't either.
	Uncounted bool
	TakeBack  int
}

// Counts returns how many attempts the failure adds to those in the ledger.
func (f Failure) Counts() int {
	if f.Uncounted {
		return -f.TakeBack
	}
	return 1
}

// Kept says that rows are still there although a delete of them, in the
// transaction that had locked them, raised no error: a trigger or a rule keeps
// them, or a trigger writes them back. The zero value says that there are none.
type Kept struct {
	// Table is the first of the plan's tables with such rows, quoted.
	Table string
	// Column is what a row of it, which is a member's in a shared log, keeps instead of what a deletion sets, quoted; "" where
	// rows keep from being deleted.
	Column string
	// Rows is how many were found, of at most a hundred that were checked.
	Rows int
	// Seq is the smallest seq among them; 0 in the conversations' table.
	Seq int64
	// AtZero says that the newest message to be hidden has position 0, which as a watermark means that nothing is; Table has the messages.
	AtZero bool
	// Missing is what the plan looks up for the deletion and isn't there any more, for people, "" for nothing. Then what
	// an older worker, or another plan, has begun can't be found, and there is no Table.
	Missing string
}

// Any reports whether anything keeps the deletion from finishing.
func (k Kept) Any() bool { return k.Rows > 0 || k.Missing != "" }

// Error says what was found and what to check.
func (k Kept) Error() string {
	if k.Missing != "" {
		return fmt.Sprintf("%s is there any more for this deletion, which had messages when it began: what is left of them can't be found; "+
			"restore the row, or delete the messages yourself, and retry the dead letter", k.Missing)
	}
	if k.AtZero {
		return fmt.Sprintf("the newest message of table %s to be hidden has position 0, which as a watermark means that nothing is hidden: "+
			"let positions of a shared log begin at 1", k.Table)
	}
	if k.Column != "" {
		return fmt.Sprintf("table %s keeps column %s of the member's row as it was, so that the member would still see what they have deleted: an update trigger returns null, "+
			"puts the value back, or makes it another's row; let it return new for this table, with this column as it is, or drop it", k.Table, k.Column)
	}
	where := ""
	if k.Seq != 0 {
		where = fmt.Sprintf(", the first at seq %d", k.Seq)
	}
	return fmt.Sprintf("table %s keeps %s from being deleted%s: a before delete trigger returns null, a rule replaces the delete, or a trigger, perhaps "+
		"of another table or deferred to the commit, writes the rows back; let it return old for this table, and write none of its rows, or drop it", k.Table, Count(k.Rows, "row"), where)
}
