package conversation

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// Limits of the prefix of an installation.
const (
	// MaxPrefix is the maximum length of a prefix in bytes; the minimum is 1.
	MaxPrefix = 64
	// maxPrefixTokens is how many tokens it may have.
	maxPrefixTokens = 3
)

// Names are the names in NATS of one installation's subjects, streams and consumer. A prefix
// keeps them apart from another installation's in the same account, and from an
// application's own that begin with "conversation". The zero value has no prefix and no
// shard: its names are those of the constants and functions of this package.
//
// A prefix is part of names alone: bodies and headers of commands and events are the same,
// but for HeaderSubject of a dead letter, which has the whole subject.
type Names struct {
	prefix string // "" or with a dot at its end
	shard  Shard
}

// NewNames returns the names with a prefix, and of no shard. The prefix has 1 to 3 tokens
// of A-Z, a-z, 0-9, _ and - with dots between them, and at most MaxPrefix bytes; the first
// token isn't "conversation", with which names without a prefix begin. "" is no prefix.
func NewNames(prefix string) (Names, error) {
	if prefix == "" {
		return Names{}, nil
	}
	if err := checkPrefix(prefix); err != nil {
		return Names{}, fmt.Errorf("prefix %.80q %w", prefix, err)
	}
	return Names{prefix: prefix + "."}, nil
}

func checkPrefix(prefix string) error {
	if len(prefix) > MaxPrefix {
		return fmt.Errorf("has %d bytes; expected at most %d", len(prefix), MaxPrefix)
	}
	tokens := strings.Split(prefix, ".")
	if len(tokens) > maxPrefixTokens {
		return fmt.Errorf("has %d of the tokens between dots; expected at most %d", len(tokens), maxPrefixTokens)
	}
	for _, token := range tokens {
		if token == "" {
			return errors.New("has an empty token; expected tokens with one dot between them, such as acme.chat")
		}
		for i := range len(token) {
			if !tokenByte(token[i]) {
				return fmt.Errorf("has the byte %q; expected A-Z, a-z, 0-9, _, - and dots", token[i])
			}
		}
	}
	if tokens[0] == firstToken {
		return fmt.Errorf("begins with %q, as names without a prefix do; expected another word", firstToken)
	}
	return nil
}

// InShard returns the names of the same installation for a shard.
func (n Names) InShard(s Shard) Names { return Names{n.prefix, s} }

// Prefix returns the prefix, without a dot at its end; "" for none.
func (n Names) Prefix() string { return strings.TrimSuffix(n.prefix, ".") }

// Shard returns the shard whose commands have these names; the zero value for none.
func (n Names) Shard() Shard { return n.shard }

// Subject returns a subject of this package, or a part of one that begins alike, with the
// prefix.
func (n Names) Subject(unprefixed string) string { return n.prefix + unprefixed }

// Unprefixed returns a subject without the prefix, for the functions of this package that
// take one apart. One that doesn't begin with the prefix is returned as it is.
func (n Names) Unprefixed(subject string) string { return strings.TrimPrefix(subject, n.prefix) }

// Stream returns the name of a stream of this package with the prefix: in capitals, with _ for
// every byte that isn't of A-Z, 0-9 and _. So different prefixes can make the same name,
// such as acme.chat and acme-chat; `worker setup` refuses the second of them.
func (n Names) Stream(unprefixed string) string {
	return strings.Map(func(c rune) rune {
		if c == '-' || c == '.' {
			return '_'
		}
		return c
	}, strings.ToUpper(n.prefix)) + unprefixed
}

// CommandsStream returns the work queue of the commands, of the shard if there is one.
func (n Names) CommandsStream() string { return n.Stream(n.shard.CommandsStream()) }

// EventsStream returns the stream of events, which all shards share.
func (n Names) EventsStream() string { return n.Stream(EventsStream) }

// DeadLettersStream returns the stream of dead letters, which all shards share.
func (n Names) DeadLettersStream() string { return n.Stream(DeadLettersStream) }

// WorkerConsumer returns the durable pull consumer on the commands' stream.
func (n Names) WorkerConsumer() string {
	return strings.ReplaceAll(n.prefix, ".", "_") + WorkerConsumer
}

// CommandSubject is [Shard.CommandSubject] with the prefix.
func (n Names) CommandSubject(app string) string { return n.prefix + n.shard.CommandSubject(app) }

// DeleteEveryoneSubject is [Shard.DeleteEveryoneSubject] with the prefix.
func (n Names) DeleteEveryoneSubject(app string) string {
	return n.prefix + n.shard.DeleteEveryoneSubject(app)
}

// IsCommandsStream reports whether a stream of that name may hold commands of the
// installation, of whichever shard.
func (n Names) IsCommandsStream(name string) bool {
	unprefixed, ours := strings.CutPrefix(name, n.Stream(""))
	return ours && IsCommandsStream(unprefixed)
}

// ParseEvent is the function of that name for events of the installation: with a subject,
// that has to have the prefix.
func (n Names) ParseEvent(subject string, header nats.Header, data []byte) (Event, error) {
	return parseEvent(n, subject, header, data)
}
