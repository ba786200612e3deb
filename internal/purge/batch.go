package purge

// Batch is one call of the express lane.
type Batch struct {
	// Deletions, at least one. Several may be of one command; a key may stand in
	// it twice, with different tokens, and then only one of the two is worked on.
	Deletions []Deletion
	// Budget bounds the rows.
	Budget Budget
	// Again says that some of them were taken up by an earlier batch.
	Again bool
	// Reclaim says that some of them may have been taken up by somebody who has
	// let go of them; those that have not been in the long lane are worked on.
	Reclaim bool
	// SkipLocked passes over messages that somebody else has locked, instead of
	// waiting for them. Slower; for a batch that met such a lock.
	SkipLocked bool
}

// Result is what became of a batch. Its slices are in the order of the batch's
// deletions.
type Result struct {
	// Records are the ledger's rows.
	Records []Record
	// Finished says which deletions this very batch finished.
	Finished []bool
	// Deleted is how many messages of each deletion this batch removed.
	Deleted []int
	// Rows is how many rows went in all, of all tables.
	Rows int
	// BudgetSpent says that the row budget cut the batch short.
	BudgetSpent bool
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
}
