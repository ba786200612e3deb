package purge

import "time"

// Raised is what has become of the floor of a shared log. The zero value says that there is
// nothing to erase, and nothing to report.
type Raised struct {
	// Open says that something is to be done: rows at or below the floor are to be erased, or
	// hidden deletions are to be reported as erased. The erasure is in the ledger then, under
	// the key without command and user.
	Open bool
	// Floor is the pinned floor, if Open.
	Floor int64
	// Risen says that this very call has moved the floor on.
	Risen bool
	// Empty says that nothing was left at or below the floor: hidden deletions are to be reported, and
	// nothing is to be erased.
	Empty bool
	// Failed says that the erasure has used up its attempts: it waits for an operator.
	Failed bool
}

// ErasureOf is the erasure of a shared log as a deletion, for the holder of token. Its command has
// the zero digest; its boundary is the ledger's.
func ErasureOf(k Key, token Token) Deletion {
	return Deletion{Key: Key{App: k.App, Conversation: k.Conversation}, Token: token}
}

// Erasure is an erasure of a shared log as the ledger has it.
type Erasure struct {
	Key
	State State
	// Floor is the position at and below which rows go, or have gone.
	Floor int64
	// MessagesDeleted is how many it has removed since it was last opened.
	MessagesDeleted int64
	CompletedAt     time.Time // Done only
	LastError       string
	// Waiting is how many hidden deletions the stream has no event conversation.erased of, up to a thousand.
	Waiting int
}
