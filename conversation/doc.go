// Package conversation is the contract between those who ask for a
// conversation to be deleted, the workers that delete it, and those who tell the
// user's devices. It needs nothing but nats.go.
//
// A gateway builds a Command and sends it with Client.Delete. A presence service
// follows a user's events with Client.Follow; one with many devices reads
// EventsStream with a consumer of its own and ParseEvent, and what a device missed
// with Client.Missed. Both parts also work alone: Decode reads a
// command as strictly as the workers do, EscapeToken and the subject functions
// name the subjects, and Deleted, Erased, AllDeleted, DeleteFailed and Deleting are the
// bodies of the events.
//
// # Delivery
//
// Commands and events are delivered at least once. A command sent again with
// its CommandID is the same deletion: the same boundary, the same event, the same
// Event.ID. Drop an id that you have seen; Feed does.
//
// # Ids
//
// Ids are valid UTF-8 without control characters (Unicode class Cc), and
// otherwise anything: spaces, dots, '*' and '>' too. Lengths are in bytes.
// Nothing is normalized, so two spellings are two ids. In a subject, ids are
// tokens, written by EscapeToken.
//
// # Names
//
// Constants and functions name the subjects and streams of an installation without a
// prefix. Names has those of one with a prefix, and WithPrefix makes a Client its own.
//
// # Whom to tell
//
// Deleted.MultiClientSync says whether all of the user's devices are told or
// OriginDeviceID alone. DeleteFailed and Deleting are for the origin device. A
// device that deletes its copy keeps what is newer than Deleted.ThroughSeq.
package conversation
