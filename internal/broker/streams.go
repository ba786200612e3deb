package broker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// sizeReserve is what a command leaves of the server's max_payload, so that
	// its dead letter, with the reason in headers, still fits.
	sizeReserve = 64 << 10
	// minCommand is the size that every command may have, in bytes.
	minCommand = 900_000

	defaultCommandsBytes = 1 << 30
	// defaultCommandsPerApp is how many unfinished commands one app may have.
	defaultCommandsPerApp = 50_000
	defaultEventsAge      = 30 * 24 * time.Hour
	eventsPerSubject      = 100_000
	// eventsConsumers lifts the server's own bound of 1,000: each relay has one.
	eventsConsumers     = 10_000
	defaultLettersBytes = 1 << 30
	// minLettersBytes has room for some letters of the largest size.
	minLettersBytes = 8 << 20

	// commandsWindow is the server's minimum: all apps share the window.
	commandsWindow = 100 * time.Millisecond
	eventsWindow   = time.Hour

	// maxAckPending bounds all workers together. What is deferred counts, such as
	// commands that wait for room for their dead letter: so it is several times
	// what one app may have unfinished.
	maxAckPending = 4 * defaultCommandsPerApp
	// minAckWait leaves room for three heartbeats.
	minAckWait = time.Second
	// defaultWaiting is nats-server's own.
	defaultWaiting = 512
	// minWaiting is how many workers may ask for commands at once.
	minWaiting = 100
)

// SetupOptions describe the streams. What is zero is left as it is where a
// stream exists, and gets its default where it doesn't.
type SetupOptions struct {
	// Replicas of each stream, 1 to 5. Default 1; in a cluster, use 3.
	Replicas int
	// CommandsMaxBytes bounds the waiting commands. Default 1 GiB.
	CommandsMaxBytes int64
	// CommandsMaxPerApp bounds the unfinished commands on one app's subject; 0 is
	// no limit. Nil is the default: 50,000 in a new stream.
	CommandsMaxPerApp *int64
	// EventsMaxBytes bounds the events. Default: as much as the server has room for.
	EventsMaxBytes int64
	// DeadLettersMaxBytes bounds the dead letters: 8 MiB or more. Default 1 GiB.
	DeadLettersMaxBytes int64
	// EventsMaxAge is how long events are kept for devices that are offline.
	// Default 30 days.
	EventsMaxAge time.Duration
	// Ledger is the id of the database's ledger, for which the commands' stream is set up. "" leaves what
	// the stream has.
	Ledger string
	// TakeOver allows to take the commands' stream over from another database, if nobody pulls commands.
	TakeOver bool
}

func (o SetupOptions) validate() error {
	if o.Replicas < 0 || o.CommandsMaxBytes < 0 || o.CommandsMaxPerApp != nil && *o.CommandsMaxPerApp < 0 ||
		o.EventsMaxBytes < 0 || o.DeadLettersMaxBytes < 0 || o.EventsMaxAge < 0 {
		return fmt.Errorf("setup: negative option in %+v", o)
	}
	if o.DeadLettersMaxBytes != 0 && o.DeadLettersMaxBytes < minLettersBytes {
		return fmt.Errorf("setup: %d bytes are too few for the dead letters: expected at least %d", o.DeadLettersMaxBytes, minLettersBytes)
	}
	return nil
}

// maxCommand is the largest command that fits the server with its dead letter.
func maxCommand(maxPayload int64) (int32, error) {
	size := maxPayload - sizeReserve
	if size < minCommand {
		return 0, fmt.Errorf("the NATS server takes messages of %d bytes; expected at least %d: raise its max_payload (the default is 1MB)",
			maxPayload, minCommand+sizeReserve)
	}
	return int32(min(size, 1<<30)), nil
}

// subjectsOf are the contract's of a stream.
func subjectsOf(n conversation.Names, stream string) []string {
	switch stream {
	case n.CommandsStream():
		return []string{n.CommandSubject(""), n.CommandSubject("") + ".*", n.DeleteEveryoneSubject("") + "*"}
	case n.EventsStream():
		return []string{
			n.Subject(conversation.TypeDeleted) + ".*.*", n.Subject(conversation.TypeDeleteFailed) + ".*.*",
			n.Subject(conversation.TypeErased) + ".*.*", n.Subject(conversation.TypeAllDeleted) + ".*.*",
		}
	}
	return []string{n.Subject(strings.TrimSuffix(conversation.DeadLetterSubject(""), "_")) + "*"}
}

// newStreams are the three streams as they are created. The table of properties
// makes the rest right.
func newStreams(g goal) []streamConfig {
	perApp := int64(defaultCommandsPerApp)
	if g.CommandsMaxPerApp != nil {
		perApp = or(*g.CommandsMaxPerApp, -1)
	}
	return []streamConfig{
		{
			Name: g.names.CommandsStream(), Description: "Commands to delete conversations, until a worker has done them",
			Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Replicas: 1,
			MaxBytes: defaultCommandsBytes, MaxMsgsPerSubject: perApp,
		},
		{
			Name: g.names.EventsStream(), Description: "What became of deletions, for the devices of each user",
			Discard: jetstream.DiscardNew, Replicas: 1, MaxBytes: -1, MaxAge: defaultEventsAge,
		},
		{
			Name: g.names.DeadLettersStream(), Description: "Refused commands, byte for byte, for the operators",
			Discard: jetstream.DiscardNew, Replicas: 1, MaxBytes: defaultLettersBytes,
		},
	}
}

// mergeSubjects adds those wanted that have doesn't cover, in place of those that
// they cover.
func mergeSubjects(have, wanted []string) []string {
	merged := slices.Clone(have)
	for _, w := range wanted {
		if slices.ContainsFunc(merged, func(s string) bool { return covers(s, w) }) {
			continue
		}
		merged = slices.DeleteFunc(merged, func(s string) bool { return covers(w, s) })
		merged = append(merged, w)
	}
	return merged
}

// covers reports whether every subject that narrow matches is matched by wide.
func covers(wide, narrow string) bool {
	w, n := strings.Split(wide, "."), strings.Split(narrow, ".")
	for i, token := range w {
		if token == ">" {
			return len(n) > i
		}
		if i >= len(n) || n[i] == ">" || token != "*" && token != n[i] {
			return false
		}
	}
	return len(w) == len(n)
}

func or[T int | int64 | time.Duration](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}
