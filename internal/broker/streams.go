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
	// leastCommand is the size that every command may have.
	leastCommand = 900_000

	defaultCommandsBytes = 1 << 30
	defaultEventsAge     = 30 * 24 * time.Hour
	eventsPerSubject     = 1000
	// eventsConsumers lifts the server's own bound of 1,000: each relay has one.
	eventsConsumers = 10_000

	commandsWindow = 2 * time.Minute
	eventsWindow   = time.Hour

	// maxAckPending bounds all workers together. Deletions that wait for a place
	// in the long lane count, so it is far more than the workers hold.
	maxAckPending = 50_000
)

// SetupOptions says how streams are to be. What is zero is left as it is where a
// stream exists, and gets its default where it doesn't.
type SetupOptions struct {
	// Replicas of each stream, 1 to 5. Default 1; in a cluster, use 3.
	Replicas int
	// CommandsMaxBytes bounds the waiting commands. Default 1 GiB.
	CommandsMaxBytes int64
	// EventsMaxBytes bounds the events. Default: as much as the server has room for.
	EventsMaxBytes int64
	// DeadLettersMaxBytes bounds the dead letters. Default: as much as the server
	// has room for.
	DeadLettersMaxBytes int64
	// EventsMaxAge is how long events are kept for devices that are offline.
	// Default 30 days.
	EventsMaxAge time.Duration
}

func (o SetupOptions) validate() error {
	if o.Replicas < 0 || o.CommandsMaxBytes < 0 || o.EventsMaxBytes < 0 || o.DeadLettersMaxBytes < 0 || o.EventsMaxAge < 0 {
		return fmt.Errorf("setup: negative option in %+v", o)
	}
	return nil
}

// plannedStream is a stream as the contract and the options want it.
type plannedStream struct {
	config jetstream.StreamConfig // to create it
	// enforce changes an existing stream's configuration where the contract
	// requires it or an option is given, and nowhere else.
	enforce func(*changes)
}

// changes is an existing configuration and what is changed about it.
type changes struct {
	config jetstream.StreamConfig
	made   []string
}

// set changes a field unless it is as wanted.
func set[T comparable](c *changes, name string, field *T, want T) {
	if *field != want {
		c.made = append(c.made, fmt.Sprintf("%s: %v, was %v", name, want, *field))
		*field = want
	}
}

// plan returns the three streams. maxPayload is the server's.
func plan(o SetupOptions, maxPayload int64) ([]plannedStream, error) {
	most := maxPayload - sizeReserve
	if most < leastCommand {
		return nil, fmt.Errorf("the NATS server takes messages of %d bytes; expected at least %d: raise its max_payload (the default is 1MB)",
			maxPayload, leastCommand+sizeReserve)
	}
	return []plannedStream{commandsStream(o, int32(min(most, 1<<30))), eventsStream(o), lettersStream(o)}, nil
}

func commandsStream(o SetupOptions, most int32) plannedStream {
	return plannedStream{
		config: jetstream.StreamConfig{
			Name:        conversation.CommandsStream,
			Description: "Commands to delete conversations, until a worker has done them",
			Subjects:    []string{conversation.CommandSubject(""), conversation.CommandSubject("") + ".*"},
			Retention:   jetstream.WorkQueuePolicy,
			Storage:     jetstream.FileStorage,
			Discard:     jetstream.DiscardNew,
			Replicas:    max(o.Replicas, 1),
			MaxBytes:    or(o.CommandsMaxBytes, defaultCommandsBytes),
			MaxMsgSize:  most,
			Duplicates:  commandsWindow,
		},
		enforce: func(c *changes) {
			set(c, "max age", &c.config.MaxAge, 0) // a command must not vanish
			set(c, "max messages per subject", &c.config.MaxMsgsPerSubject, -1)
			if size := c.config.MaxMsgSize; size < leastCommand || size > most {
				set(c, "max message size", &c.config.MaxMsgSize, most)
			}
			raise(c, "duplicate window", &c.config.Duplicates, commandsWindow)
			option(c, "max bytes", &c.config.MaxBytes, o.CommandsMaxBytes)
		},
	}
}

func eventsStream(o SetupOptions) plannedStream {
	age := or(o.EventsMaxAge, defaultEventsAge)
	return plannedStream{
		config: jetstream.StreamConfig{
			Name:              conversation.EventsStream,
			Description:       "What became of deletions, for the devices of each user",
			Subjects:          []string{conversation.TypeDeleted + ".*.*", conversation.TypeDeleteFailed + ".*.*"},
			Retention:         jetstream.LimitsPolicy,
			Storage:           jetstream.FileStorage,
			Discard:           jetstream.DiscardNew,
			Replicas:          max(o.Replicas, 1),
			MaxBytes:          or(o.EventsMaxBytes, -1),
			MaxAge:            age,
			MaxMsgsPerSubject: eventsPerSubject,
			Duplicates:        min(eventsWindow, age),
			AllowDirect:       true,
			MaxConsumers:      eventsConsumers,
		},
		enforce: func(c *changes) {
			// Otherwise a user's 1,001st event would be refused and stop the worker.
			set(c, "discard new per subject", &c.config.DiscardNewPerSubject, false)
			if c.config.MaxMsgsPerSubject < eventsPerSubject {
				set(c, "max messages per subject", &c.config.MaxMsgsPerSubject, eventsPerSubject)
			}
			option(c, "max age", &c.config.MaxAge, o.EventsMaxAge)
			window := eventsWindow
			if c.config.MaxAge > 0 {
				window = min(window, c.config.MaxAge)
				if c.config.Duplicates > c.config.MaxAge { // the server wouldn't take it
					set(c, "duplicate window", &c.config.Duplicates, window)
				}
			}
			raise(c, "duplicate window", &c.config.Duplicates, window)
			set(c, "allow direct", &c.config.AllowDirect, true)
			if c.config.MaxConsumers <= 0 {
				set(c, "max consumers", &c.config.MaxConsumers, eventsConsumers)
			}
			option(c, "max bytes", &c.config.MaxBytes, o.EventsMaxBytes)
		},
	}
}

func lettersStream(o SetupOptions) plannedStream {
	return plannedStream{
		config: jetstream.StreamConfig{
			Name:        conversation.DeadLettersStream,
			Description: "Refused commands, byte for byte, for the operators",
			Subjects:    []string{strings.TrimSuffix(conversation.DeadLetterSubject(""), "_") + "*"},
			Retention:   jetstream.LimitsPolicy,
			Storage:     jetstream.FileStorage,
			Discard:     jetstream.DiscardNew,
			Replicas:    max(o.Replicas, 1),
			MaxBytes:    or(o.DeadLettersMaxBytes, -1),
			Duplicates:  eventsWindow,
			AllowDirect: true,
		},
		enforce: func(c *changes) {
			set(c, "allow direct", &c.config.AllowDirect, true)
			option(c, "max bytes", &c.config.MaxBytes, o.DeadLettersMaxBytes)
		},
	}
}

// upgrade returns the existing stream's configuration as p wants it, and what
// had to be changed. The error says what can't be changed.
func (p plannedStream) upgrade(have jetstream.StreamConfig, o SetupOptions) (changes, error) {
	fixed := func(what string) error {
		return fmt.Errorf("stream %s has %s, which can't be changed: drain it, delete it and run `worker setup` again", have.Name, what)
	}
	switch {
	case have.Retention != p.config.Retention:
		return changes{}, fixed(fmt.Sprintf("the retention %v in place of %v", have.Retention, p.config.Retention))
	case have.Storage != jetstream.FileStorage:
		return changes{}, fixed("its messages in memory in place of files")
	case have.Mirror != nil:
		return changes{}, fixed("another stream that it mirrors")
	case have.Sealed:
		return changes{}, fixed("been sealed")
	}
	c := changes{config: have}
	subjects := mergeSubjects(have.Subjects, p.config.Subjects)
	if !slices.Equal(subjects, have.Subjects) {
		c.made = append(c.made, fmt.Sprintf("subjects: %v, was %v", subjects, have.Subjects))
		c.config.Subjects = subjects
	}
	set(&c, "discard", &c.config.Discard, jetstream.DiscardNew)
	set(&c, "no ack", &c.config.NoAck, false)
	option(&c, "replicas", &c.config.Replicas, o.Replicas)
	p.enforce(&c)
	return c, nil
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

// option changes a field to an option that is given.
func option[T int | int64 | time.Duration](c *changes, name string, field *T, want T) {
	if want != 0 {
		set(c, name, field, want)
	}
}

// raise changes a field that is less than wanted.
func raise(c *changes, name string, field *time.Duration, least time.Duration) {
	if *field < least {
		set(c, name, field, least)
	}
}

func or[T int | int64 | time.Duration](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}
