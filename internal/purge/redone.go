package purge

import "time"

// Redone is what one batch of a deletion did that is done again, after a
// database was restored from before it.
type Redone struct {
	// Low is the seq at and below which nothing is left of what the deletion had
	// removed, to go on from.
	Low int64
	// Messages is how many messages the batch deleted, Rows how many rows of all
	// tables, without the conversation's row.
	Messages, Rows int
	// Full says that the batch has not reached the boundary: another one has to
	// follow, and its duration measures the limit.
	Full bool
	// Done says that nothing is left, and that the ledger knows the deletion as
	// done; RowRemoved that this very batch removed the conversation's row.
	Done, RowRemoved bool
	// Waited is how long the batch waited for its turn; it held nothing meanwhile.
	Waited time.Duration
	// Held says that the batch was kept from changing anything.
	Held Held
}
