// Package purge is the vocabulary of the worker and its pure decisions: what a
// deletion is, how many rows the next statement may touch, how long to wait
// before the next try, and what an error means. It does no I/O, reads no clock
// and imports nothing but the standard library.
package purge

import "time"

// Key names one deletion: one conversation of one command. It is the primary
// key of the ledger. Comparable; the zero value names nothing.
type Key struct {
	App, Command, Conversation string
}

// Token fences a deletion: only the holder of the token in the ledger's row may
// change it. Sixteen random bytes; the zero value is never issued.
type Token [16]byte

// Digest identifies a command's content; see [DigestOf].
type Digest [32]byte

// Deletion is one conversation's deletion as a delivery asks for it. It is a
// plain value; nothing in it changes once it is made.
type Deletion struct {
	Key
	User   string // whose copy goes
	Device string // the origin device; "" if the command named none

	// ThroughSeq is the boundary that the command asked for; nil asks for
	// "what had been sent when the stream stored the command".
	ThroughSeq *int64
	// StoredAt is the time of the boundary: when the stream first stored the
	// command, also for a command that came back from the dead letters.
	StoredAt time.Time
	// KeepHistory removes the conversation's row alone.
	KeepHistory bool
	// RequestedAt is the producer's time, zero if it gave none. Only repeated
	// in the event; no decision depends on it.
	RequestedAt time.Time
	// Digest is that of the whole command, the same for all its deletions.
	Digest Digest
	// Retry is the sequence of the dead letter that this delivery retries; 0
	// for a delivery that retries none.
	Retry uint64
	// Token fences this delivery's work on the deletion.
	Token Token
}

// State is a deletion's state in the ledger. Done and Failed are final, but
// for a failed deletion that an operator retries.
type State string

// The states, as the ledger stores them.
const (
	Pending State = "pending" // known, and nobody is at work on it
	Running State = "running" // a worker holds its lease
	Done    State = "done"    // nothing at or below the boundary was left
	Failed  State = "failed"  // gave up, with a reason
)

// Record is the ledger's row of a deletion. The zero value (State "") means
// that the ledger has no row.
type Record struct {
	Key
	User, Device string
	State        State
	// Reused says that the ledger knows the command's id with other content;
	// then nothing else in the record but Key is set.
	Reused bool
	// Mine says that the row holds the token of the deletion that was asked for.
	Mine bool
	// Pinned says that ThroughSeq, the boundary, has been decided.
	Pinned     bool
	ThroughSeq int64
	// CursorSeq is a seq at and below which nothing is left.
	CursorSeq           int64
	MessagesDeleted     int64
	HistoryKept         bool
	ConversationRemoved bool
	MultiClientSync     bool
	RequestedAt         time.Time // zero if the command had none
	CompletedAt         time.Time // Done only
	FailedAt            time.Time // Failed only
	Reason              string    // Failed only: machine-readable
	Message             string    // Failed only: for people
	Attempts            int       // real failures so far
	LastError           string    // of the last real failure
	// Doubt is what the conversation's row said of messages, as column names and
	// figures, where this very call has finished the deletion, removed the row and
	// found not one message; "" else. It may be right, or rows were not found.
	Doubt string
	// WaitingFor is what an unfinished deletion waits for, "" for nothing, and
	// WaitingDetail more about it for people. Only set where a caller asks for the
	// status.
	WaitingFor    ThrottleReason
	WaitingDetail string
	// LeaseLeft is how long the present holder's lease lasts; zero or less if
	// nobody holds one.
	LeaseLeft time.Duration
}

// Final says that the deletion needs no more work.
func (r Record) Final() bool { return r.State == Done || r.State == Failed }

// Budget bounds one express statement. Rows, not bytes.
type Budget struct {
	// PerDeletion is the most messages that one deletion may lose in it; one
	// that has more is for the long lane.
	PerDeletion int
	// Rows is the most messages that the statement may delete over all its
	// deletions (and the most rows of each table that hangs on them).
	Rows int
}

// Part is what one batch of the long lane shall do.
type Part struct {
	// Low: nothing is left at and below it; the batch begins above.
	Low int64
	// Limit is how many messages it removes at most.
	Limit int
	// ForegroundBackoff is how many times as long as the batch took the long lane of all workers
	// rests after it, a second at most; 0 for not at all.
	ForegroundBackoff float64
	// SweepFrom and SweepTo bound what earlier batches have left in the index and this
	// one walks over first, above the one and up to the other; nothing if they are
	// equal.
	SweepFrom, SweepTo int64
}

// Step is what one batch of the long lane did.
type Step struct {
	// Record is the ledger's row after the batch; Mine is false when the lease
	// was lost, and then the batch changed nothing.
	Record Record
	// Low is the seq at and below which nothing is left, to go on from.
	Low int64
	// Rows is how many rows the batch deleted, of all tables.
	Rows int
	// Tables are those from which rows were deleted.
	Tables Tables
	// Full says that the batch used up its limit: its duration measures the
	// limit. A batch that is not full says nothing about a larger one.
	Full bool
	// Empty says that nothing was left above Low: time to finish.
	Empty bool
	// Waited is how long the batch waited for its turn; it held nothing meanwhile.
	Waited time.Duration
	// Held says that the batch was kept from changing anything. Then nothing else
	// in the step counts, and without a turn not even the record.
	Held Held
}

// Held says what kept a batch from running. The zero value is one that ran.
type Held struct {
	Cause  ThrottleReason // Paused, SlowBatch or NoPermit; "" for nothing
	Detail string
	// Left is how long it will last, as far as that is known.
	Left time.Duration
}
