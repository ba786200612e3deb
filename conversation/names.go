package conversation

// Streams and the consumer that the workers share. `worker setup` creates them.
const (
	// CommandsStream is the work queue of commands; a [Shard] has its own.
	CommandsStream = "CONVERSATION_COMMANDS"
	// EventsStream keeps the events of each user: 30 days, 100,000 a subject.
	EventsStream = "CONVERSATION_EVENTS"
	// DeadLettersStream keeps refused commands, byte for byte.
	DeadLettersStream = "CONVERSATION_DEAD_LETTERS"
	// WorkerConsumer is the durable pull consumer on the commands' stream.
	WorkerConsumer = "deletion-worker"
)

// Types of event, as they stand in the ce-type header.
const (
	// TypeDeleted: one conversation's deletion has finished.
	TypeDeleted = "conversation.deleted"
	// TypeDeleteFailed: a deletion will not finish, with the reason.
	TypeDeleteFailed = "conversation.delete_failed"
	// TypeErased: in a shared log, what a deletion had hidden is physically deleted.
	TypeErased = "conversation.erased"
	// TypeAllDeleted: a command with AllConversations has finished.
	TypeAllDeleted = "conversation.all_deleted"
	// TypeDeleting: the progress of a long deletion.
	TypeDeleting = "conversation.deleting"
)

// Limits of a command. Lengths are in bytes of UTF-8, not in characters.
const (
	// MaxAppID is the maximum length of an app's id; the minimum is 1.
	MaxAppID = 64
	// MaxUserID is the maximum length of a user's id; the minimum is 1.
	MaxUserID = 128
	// MaxDeviceID is the maximum length of a device's id; empty means none.
	MaxDeviceID = 128
	// MaxCommandID is the maximum length of a command's id; the minimum is 1.
	MaxCommandID = 128
	// MaxConversationID is the maximum length of a conversation's id; the minimum is 1.
	MaxConversationID = 256
	// MaxConversations is how many conversations one command may name; the minimum is 1.
	MaxConversations = 100
)

// Headers of a dead letter, next to the producer's own. HeaderStoredAt and
// HeaderRetry also stand on a command that was retried from a dead letter.
const (
	// HeaderReason holds a Reason.
	HeaderReason = "Lethe-Reason"
	// HeaderError says for people what was wrong, in at most 1 KiB.
	HeaderError = "Lethe-Error"
	// HeaderSubject is the subject that the command came on.
	HeaderSubject = "Lethe-Subject"
	// HeaderShard is the shard whose worker gave the command up; absent without shards.
	HeaderShard = "Lethe-Shard"
	// HeaderStreamSequence is the command's sequence in its stream.
	HeaderStreamSequence = "Lethe-Stream-Sequence"
	// HeaderStoredAt is when a commands' stream first stored the command (RFC 3339).
	HeaderStoredAt = "Lethe-Stored-At"
	// HeaderDeliveries is how often the command had been delivered.
	HeaderDeliveries = "Lethe-Deliveries"
	// HeaderFailedAt is when the command was given up (RFC 3339).
	HeaderFailedAt = "Lethe-Failed-At"
	// HeaderRetry is the sequence of the dead letter that a command was retried from.
	HeaderRetry = "Lethe-Retry"
)

// Headers of an event: CloudEvents 1.0, NATS binding, binary mode. NATS compares
// header names with regard to case, so these are exact.
const (
	// HeaderSpecVersion is the version of CloudEvents, "1.0".
	HeaderSpecVersion = "ce-specversion"
	// HeaderEventType is one of the types above.
	HeaderEventType = "ce-type"
	// HeaderEventSource is "lethe/" and the escaped app.
	HeaderEventSource = "ce-source"
	// HeaderEventID identifies the event: a repeated event has the same id.
	HeaderEventID = "ce-id"
	// HeaderEventTime is when the event happened (RFC 3339).
	HeaderEventTime = "ce-time"
	// HeaderEventSubject is the conversation's id, percent-encoded; absent
	// where the event is about a whole command.
	HeaderEventSubject = "ce-subject"
	// HeaderContentType is "application/json".
	HeaderContentType = "content-type"
	// HeaderTraceparent is the W3C trace context, carried from command to event. An
	// event of workers that record traces names their span in the command's trace.
	HeaderTraceparent = "traceparent"
	// HeaderTracestate accompanies HeaderTraceparent.
	HeaderTracestate = "tracestate"
)

// Reason says, for programs, why a deletion or a whole command failed.
type Reason string

const (
	// ReasonInvalidCommand: the command breaks a rule of Decode.
	ReasonInvalidCommand Reason = "invalid_command"
	// ReasonAppMismatch: subject and body name different apps.
	ReasonAppMismatch Reason = "app_mismatch"
	// ReasonScopeMismatch: the subject is for another scope than the body's.
	ReasonScopeMismatch Reason = "scope_mismatch"
	// ReasonCommandIDReused: the app has used this command id for other content.
	ReasonCommandIDReused Reason = "command_id_reused"
	// ReasonIncompatibleID: an id can't be a key of the tables in use, such as
	// a word where the key is a number.
	ReasonIncompatibleID Reason = "incompatible_id"
	// ReasonBoundaryRequired: through_seq is missing, and nothing else says up to where to delete: the tables in use don't keep
	// when a message was sent, or no stream knows when the command was.
	ReasonBoundaryRequired Reason = "boundary_required"
	// ReasonUnsupportedScope: the tables in use can't do what is asked, such as a deletion
	// for everyone where each owner has other ids.
	ReasonUnsupportedScope Reason = "unsupported_scope"
	// ReasonAttemptsExhausted: the deletion failed too many times.
	ReasonAttemptsExhausted Reason = "attempts_exhausted"
)
