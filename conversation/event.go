package conversation

import (
	"encoding/json"
	"time"
)

// Deleted says that one conversation of one command is gone as asked. The same
// deletion re-emitted is the same event, with the same id.
type Deleted struct {
	CommandID      string `json:"command_id"`
	AppID          string `json:"app_id"`
	UserID         string `json:"user_id"`
	ConversationID string `json:"conversation_id"`
	// ThroughSeq is the boundary: what has a greater seq survives and stays on
	// the devices. 0 where the conversation had no message.
	ThroughSeq int64 `json:"through_seq"`
	// MessagesDeleted counts messages, not their child rows, over all tries. In a shared log
	// it counts what became hidden for this user.
	MessagesDeleted int64 `json:"messages_deleted"`
	// HistoryKept repeats the command's KeepHistory.
	HistoryKept bool `json:"history_kept"`
	// ConversationRemoved reports that the conversation has no row any more,
	// whoever removed it. False where newer messages keep it.
	ConversationRemoved bool `json:"conversation_removed"`
	// Erased reports that the messages are physically deleted. False in a shared log as
	// long as other members read them; then an Erased event follows.
	Erased bool `json:"erased"`
	// Scope is ScopeEveryone, or empty for the user's own deletion.
	Scope string `json:"scope,omitempty"`
	// RequestedBy is the user who asked with ScopeEveryone, otherwise empty.
	RequestedBy string `json:"requested_by,omitempty"`
	// MultiClientSync says whom to notify: all of the user's devices, or
	// OriginDeviceID alone.
	MultiClientSync bool `json:"multi_client_sync"`
	// OriginDeviceID is the device that asked, empty if the command named none.
	OriginDeviceID string `json:"origin_device_id,omitempty"`
	// RequestedAt repeats the command's, zero if it had none.
	RequestedAt time.Time `json:"requested_at,omitzero"`
	// CompletedAt is when the deletion finished.
	CompletedAt time.Time `json:"completed_at"`
}

// Erased says that what a deletion in a shared log had hidden for the user is physically
// deleted now. It is for whoever was told Deleted.
type Erased struct {
	CommandID      string `json:"command_id"`
	AppID          string `json:"app_id"`
	UserID         string `json:"user_id"`
	ConversationID string `json:"conversation_id"`
	// ThroughSeq repeats that of Deleted.
	ThroughSeq int64 `json:"through_seq"`
	// ErasedAt is when the last of the messages was deleted.
	ErasedAt time.Time `json:"erased_at"`
}

// AllDeleted says that a command with AllConversations has finished: each conversation's
// Deleted or DeleteFailed came before.
type AllDeleted struct {
	CommandID string `json:"command_id"`
	AppID     string `json:"app_id"`
	UserID    string `json:"user_id"`
	// Conversations counts the deletions that have finished, Failed those that failed.
	Conversations int64 `json:"conversations"`
	Failed        int64 `json:"failed"`
	// MessagesDeleted is the sum over the deletions.
	MessagesDeleted int64 `json:"messages_deleted"`
	// MultiClientSync, OriginDeviceID and RequestedAt are as in Deleted.
	MultiClientSync bool      `json:"multi_client_sync"`
	OriginDeviceID  string    `json:"origin_device_id,omitempty"`
	RequestedAt     time.Time `json:"requested_at,omitzero"`
	// CompletedAt is when the last deletion was final.
	CompletedAt time.Time `json:"completed_at"`
}

// DeleteFailed says that one conversation of a command, or the whole command,
// will not be deleted. It is for the origin device alone.
type DeleteFailed struct {
	// CommandID is empty where the command was too broken to read it.
	CommandID string `json:"command_id,omitempty"`
	AppID     string `json:"app_id"`
	UserID    string `json:"user_id"`
	// ConversationID is empty where the whole command failed.
	ConversationID string `json:"conversation_id,omitempty"`
	// Reason is for programs.
	Reason Reason `json:"reason"`
	// Message is for people.
	Message string `json:"message"`
	// OriginDeviceID is the device that asked, empty if it isn't known.
	OriginDeviceID string `json:"origin_device_id,omitempty"`
	// FailedAt is when the deletion was given up.
	FailedAt time.Time `json:"failed_at"`
}

// Deleting is the progress of a long deletion, at most once a second. It is
// for the origin device alone, isn't stored, and may be missed.
type Deleting struct {
	CommandID      string `json:"command_id"`
	AppID          string `json:"app_id"`
	UserID         string `json:"user_id"`
	ConversationID string `json:"conversation_id"`
	// ThroughSeq is the boundary that the deletion goes to.
	ThroughSeq int64 `json:"through_seq"`
	// PurgedThroughSeq is the seq up to which nothing is left, 0 at the start.
	PurgedThroughSeq int64 `json:"purged_through_seq"`
	// MessagesDeleted counts the messages deleted so far, over all tries.
	MessagesDeleted int64 `json:"messages_deleted"`
	// WaitingFor is what the deletion waits for, empty if nothing: "lock" (a row
	// that somebody else holds), "replica_lag", "wal_retained", "lock_waiters",
	// "slow_batch", "permits_held" or "paused". Others may follow.
	WaitingFor string `json:"waiting_for,omitempty"`
}

// MarshalJSON writes times in UTC, CompletedAt cut to the microsecond that the ledger
// keeps, so that a repeated event is the same to the byte. A year that RFC 3339
// can't write is an error.
func (e Deleted) MarshalJSON() ([]byte, error) { return json.Marshal(e.wire()) }

// MarshalJSON writes ErasedAt in UTC, cut to the microsecond.
func (e Erased) MarshalJSON() ([]byte, error) { return json.Marshal(e.wire()) }

// MarshalJSON writes times in UTC, CompletedAt cut to the microsecond.
func (e AllDeleted) MarshalJSON() ([]byte, error) { return json.Marshal(e.wire()) }

// MarshalJSON writes FailedAt in UTC, cut to the microsecond.
func (e DeleteFailed) MarshalJSON() ([]byte, error) { return json.Marshal(e.wire()) }

// The same structs without their MarshalJSON.
type (
	deletedWire      Deleted
	erasedWire       Erased
	allDeletedWire   AllDeleted
	deleteFailedWire DeleteFailed
)

func (e Deleted) wire() *deletedWire {
	e.RequestedAt, e.CompletedAt = e.RequestedAt.UTC(), wireTime(e.CompletedAt)
	return (*deletedWire)(&e)
}

func (e Erased) wire() *erasedWire {
	e.ErasedAt = wireTime(e.ErasedAt)
	return (*erasedWire)(&e)
}

func (e AllDeleted) wire() *allDeletedWire {
	e.RequestedAt, e.CompletedAt = e.RequestedAt.UTC(), wireTime(e.CompletedAt)
	return (*allDeletedWire)(&e)
}

func (e DeleteFailed) wire() *deleteFailedWire {
	e.FailedAt = wireTime(e.FailedAt)
	return (*deleteFailedWire)(&e)
}

func wireTime(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Event is one message about a deletion: exactly one of Deleted, Erased, AllDeleted,
// Failed and Deleting is set, and Type says which.
type Event struct {
	// ID is the same each time the event is published. Drop those you have seen.
	ID string
	// Type is TypeDeleted, TypeErased, TypeAllDeleted, TypeDeleteFailed or TypeDeleting.
	Type string
	// Source is "lethe/" and the escaped app.
	Source string
	// Time is when the event happened.
	Time time.Time
	// Sequence is the event's place in EventsStream, the cursor to go on from
	// later. 0 where it isn't known: for progress, and for an event that Feed
	// received again but the stream did not store again.
	Sequence uint64
	// Trace is the trace context of the command, or names the span in its trace
	// that published the event.
	Trace Trace

	Deleted    *Deleted
	Erased     *Erased
	AllDeleted *AllDeleted
	Failed     *DeleteFailed
	Deleting   *Deleting
}

// CommandID returns the id of the command that the event belongs to, empty
// where a failed command's couldn't be read.
func (e Event) CommandID() string {
	switch {
	case e.Deleted != nil:
		return e.Deleted.CommandID
	case e.Erased != nil:
		return e.Erased.CommandID
	case e.AllDeleted != nil:
		return e.AllDeleted.CommandID
	case e.Failed != nil:
		return e.Failed.CommandID
	case e.Deleting != nil:
		return e.Deleting.CommandID
	}
	return ""
}

// ConversationID returns the conversation that the event is about, empty where
// it is about a whole command.
func (e Event) ConversationID() string {
	switch {
	case e.Deleted != nil:
		return e.Deleted.ConversationID
	case e.Erased != nil:
		return e.Erased.ConversationID
	case e.Failed != nil:
		return e.Failed.ConversationID
	case e.Deleting != nil:
		return e.Deleting.ConversationID
	}
	return ""
}
