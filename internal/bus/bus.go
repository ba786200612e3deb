// Package bus is the vocabulary between the broker, which speaks to the message
// bus, and the handler, which never sees a message of it: deliveries come in,
// outcomes and announcements go out. It holds plain types only.
package bus

import (
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// Delivery is one command as the stream handed it over. Nothing in it may be
// changed.
type Delivery struct {
	Subject string
	Data    []byte
	Header  map[string][]string
	// Sequence is the command's in the commands' stream.
	Sequence uint64
	// StoredAt is when a stream first stored it: the commands' stream, or the one that
	// it is sourced from.
	StoredAt time.Time
	// Undated: it is sourced from a stream that has it no longer, so that StoredAt is
	// when it arrived, which may be too late for a boundary.
	Undated bool
	// Deliveries is how often it has been handed over, this time included.
	Deliveries uint64
}

// Slot is room in the worker for one command in flight. Its methods are safe for
// concurrent use.
type Slot interface {
	// Leave frees the slot for the next delivery, while this one stays in flight
	// without it: a long deletion must not block the small ones. A second call
	// does nothing.
	Leave()
	// Settle ends the delivery and frees its slot. Called exactly once.
	Settle(Outcome)
}

// Verdict is what becomes of a delivery.
type Verdict int

// The verdicts. The zero value is invalid: a forgotten assignment must not
// acknowledge anything.
const (
	_      Verdict = iota
	Done           // every event is stored: acknowledge
	Retry          // defer it, for redelivery after Outcome.Delay
	Reject         // no redelivery can help, and its dead letter, if it has one, is stored: take it off the stream
)

// String returns the verdict's name as it stands in logs and metrics.
func (v Verdict) String() string {
	switch v {
	case Done:
		return "done"
	case Retry:
		return "retry"
	case Reject:
		return "reject"
	}
	return "invalid"
}

// Outcome is the handler's decision on a delivery; see [Verdict].
type Outcome struct {
	Verdict Verdict
	// Delay is how long a Retry is deferred; zero for at once.
	Delay time.Duration
	// Reason is Reject's machine-readable reason.
	Reason conversation.Reason
	// TraceID is that of the command's trace, for the log; "" for none.
	TraceID string
}

// Announcement is one message to be stored: exactly one of Deleted, Erased, AllDeleted,
// Failed and Letter is set.
type Announcement struct {
	Deleted    *conversation.Deleted
	Erased     *conversation.Erased
	AllDeleted *conversation.AllDeleted
	Failed     *conversation.DeleteFailed
	Letter     *Letter
	// Sequence is that of the command which caused it; part of a failure's id.
	Sequence uint64
	// Trace is what the event's headers name; a letter has the command's own.
	Trace conversation.Trace
}

// Letter is a dead letter: the command as it came, with the reason.
type Letter struct {
	Delivery Delivery
	App      string // whose letter it is; "" where it isn't known
	Reason   conversation.Reason
	Error    string // for people; longer than 1 KiB is cut
	StoredAt time.Time
	FailedAt time.Time
}

// Stored is a message as the events' stream keeps it, whatever it holds.
type Stored struct {
	// Subject and Header are empty where the headers can't be read.
	Subject string
	Data    []byte
	Header  map[string][]string
	// Sequence is the message's in the stream.
	Sequence uint64
	// StoredAt is when the stream stored it.
	StoredAt time.Time
}

// StreamState is the state of a stream, as the server reports it.
type StreamState struct {
	Name string
	// Created is when the stream was made: one that was deleted and made again is
	// another stream.
	Created time.Time
	// Messages is how many there are, Bytes how large they are together, and MaxBytes
	// the size at which the stream takes no more; 0 or less for no limit.
	Messages, Bytes uint64
	MaxBytes        int64
	// First and Last are the sequences of the first message that is there and of
	// the last that was ever stored; First is Last+1 where none is there.
	First, Last uint64
	// FirstAt and LastAt are when those two were stored; zero if there is none.
	FirstAt, LastAt time.Time
}

// Backlog is how much work there is over all workers, and how full the streams are.
type Backlog struct {
	// Waiting commands have not been handed to any worker yet.
	Waiting uint64
	// InFlight are handed over and not acknowledged, those that are deferred
	// included.
	InFlight uint64
	// Pulls are the workers' requests for commands that the server has no command for. 0 where
	// nobody pulls, and where all workers that do are full.
	Pulls uint64
	// Stuck commands are in the stream, but neither waiting nor in flight: no worker
	// will ever see them. It is a lower bound: what arrives at this moment may hide
	// some. Always 0 with the consumer as setup makes it.
	Stuck uint64
	// Oldest is the age of the oldest command that isn't finished; 0 for none.
	Oldest time.Duration
	// Streams are those of commands, events and dead letters.
	Streams []StreamState
}

// AppBacklog is how many unfinished commands an app has in the commands' stream.
type AppBacklog struct {
	// App is "" for those on the subject that names no app.
	App      string
	Commands uint64
}
