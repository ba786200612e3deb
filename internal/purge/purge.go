// Package purge is the vocabulary of the worker and its pure decisions: what a
// deletion is, how many rows the next statement may touch, how long to wait
// before the next try, and what an error means. It does no I/O, reads no clock
// and imports nothing but the standard library.
package purge

import (
	"errors"
	"time"
)

// Key names one deletion: one conversation of one command, for one user. It is the
// primary key of the ledger. Comparable; the zero value names nothing.
type Key struct {
	App, Command, User, Conversation string
}

// Erasure reports whether the key names no deletion of a command, but the erasure of a
// shared log: what is at or below its floor.
func (k Key) Erasure() bool { return k.Command == "" }

// Scope is whose history a command deletes.
type Scope string

// ScopeEveryone is all members' history; the zero value is the user's own.
const ScopeEveryone Scope = "everyone"

// Token fences a deletion: only the holder of the token in the ledger's row may
// change it. Sixteen random bytes; the zero value is never issued.
type Token [16]byte

// Digest identifies a command's content; see [DigestOf].
type Digest [32]byte

// Deletion is one conversation's deletion as a delivery asks for it. It is a
// plain value; nothing in it changes once it is made.
type Deletion struct {
	Key
	Device string // the origin device; "" if the command named none

	// ThroughSeq is the boundary that the command asked for; nil asks for
	// "what had been sent when the stream stored the command".
	ThroughSeq *int64
	// StoredAt is the time of the boundary: when the stream first stored the
	// command, also for a command that came back from the dead letters.
	StoredAt time.Time
	// KeepHistory removes the conversation's row alone.
	KeepHistory bool
	// KeepConversation leaves the conversation's row, whatever remains.
	KeepConversation bool
	// Scope and RequestedBy, who asked for it, are those of a command for everyone.
	Scope       Scope
	RequestedBy string
	// Boundary is the one that such a command has pinned for all members of a shared
	// log; nil where the deletion decides it.
	Boundary *int64
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
	Pending State = "pending" // known, and nobody works on it
	Running State = "running" // a worker has its lease
	Done    State = "done"    // nothing at or below the boundary was left
	Failed  State = "failed"  // gave up, with a reason
)

// Record is the ledger's row of a deletion. The zero value (State "") means
// that the ledger has no row.
type Record struct {
	Key
	Device string
	State  State
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
	ConversationKept    bool
	Scope               Scope
	RequestedBy         string
	// Erased says that no message at or below the boundary was left for anybody when
	// the deletion finished. ErasedAt is when that was so later, zero if it isn't yet.
	Erased          bool
	ErasedAt        time.Time
	MultiClientSync bool
	RequestedAt     time.Time // zero if the command had none
	CompletedAt     time.Time // Done only
	FailedAt        time.Time // Failed only
	Reason          string    // Failed only: machine-readable
	Message         string    // Failed only: for people
	Attempts        int       // real failures so far
	LastError       string    // of the last real failure
	// Doubt is what the conversation's row said of messages, as column names and
	// figures, if this very call has finished the deletion, removed the row and
	// found no message; otherwise "". It may be right, or rows were not found.
	Doubt string
	// Unknown says that this very call has finished the deletion, and that there was
	// neither a message nor the conversation's row: the command may belong to another
	// database.
	Unknown bool
	// WaitingFor is what an unfinished deletion waits for, "" for nothing, and
	// WaitingDetail more about it for people. Only set where a caller asks for the
	// status.
	WaitingFor    ThrottleReason
	WaitingDetail string
	// LeaseLeft is how long the present holder's lease lasts; zero or less if
	// nobody has one.
	LeaseLeft time.Duration
}

// Final says that the deletion needs no more work.
func (r Record) Final() bool { return r.State == Done || r.State == Failed }

// ErrBoundaryRequired is why a deletion without through_seq can't be carried out: the plan doesn't
// say when messages were sent.
var ErrBoundaryRequired = errors.New("through_seq is required: the plan's messages have no sent_at, so that the time of the command decides nothing")

// ErrUnsupportedScope is why the plan can't do what a command asks for.
var ErrUnsupportedScope = errors.New("the plan can't do this")
