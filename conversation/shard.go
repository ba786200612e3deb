package conversation

import (
	"fmt"
	"strings"
)

// MaxShard is the maximum length of a shard's name; the minimum is 1.
const MaxShard = 32

// shardRoot begins the subjects of all shards' commands.
const shardRoot = "conversation.shard."

// Shard names one of several databases behind one NATS. Each has workers and a stream
// of commands; all share the streams of events and of dead letters. The zero value
// stands for a database without a name: the only one, or the one that takes what
// whoever doesn't know the shard publishes.
type Shard string

// ParseShard returns the shard of that name: 1 to MaxShard of a-z, 0-9 and hyphens, so
// that different shards have different streams.
func ParseShard(name string) (Shard, error) {
	if name == "" || len(name) > MaxShard {
		return "", fmt.Errorf("shard %.40q has %d bytes; expected 1 to %d", name, len(name), MaxShard)
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return "", fmt.Errorf("shard %q: byte %d is %q; expected a-z, 0-9 or a hyphen", name, i, c)
		}
	}
	return Shard(name), nil
}

// CommandsStream returns the work queue of the shard's commands.
func (s Shard) CommandsStream() string {
	if s == "" {
		return CommandsStream
	}
	return CommandsStream + "_" + strings.ReplaceAll(strings.ToUpper(string(s)), "-", "_")
}

// CommandSubject returns the subject that commands of app are published on, for this
// shard. For an empty app it is the subject without one, which only trusted producers
// may use.
func (s Shard) CommandSubject(app string) string {
	root := s.root(commandRoot)
	if app == "" {
		return root
	}
	return root + "." + EscapeToken(app)
}

// DeleteEveryoneSubject returns the subject that commands of app with ScopeEveryone, and
// no others, are published on, for this shard. It differs from CommandSubject so that NATS
// permissions can bind the right to it. There is none without an app.
func (s Shard) DeleteEveryoneSubject(app string) string {
	return s.root(everyoneRoot) + "." + EscapeToken(app)
}

// root is the shard's form of the fixed part of a command's subject.
func (s Shard) root(unsharded string) string {
	if s == "" {
		return unsharded
	}
	return shardRoot + string(s) + strings.TrimPrefix(unsharded, "conversation")
}

// IsCommandsStream reports whether a stream of that name may hold commands: it is
// CommandsStream or some shard's.
func IsCommandsStream(name string) bool {
	return name == CommandsStream || strings.HasPrefix(name, CommandsStream+"_")
}

// SubjectShard returns the shard that a command's subject names; the zero value where
// it names none.
func SubjectShard(subject string) Shard {
	rest, _ := strings.CutPrefix(subject, shardRoot)
	name, _, named := strings.Cut(rest, ".")
	shard, err := ParseShard(name)
	if len(rest) == len(subject) || !named || err != nil {
		return ""
	}
	return shard
}

// cutCommand takes a command's subject of any shard apart: the token that names the app,
// whether there is one, and whether the subject is that of commands for everyone.
func cutCommand(subject string) (appToken string, everyone, named bool) {
	if rest, sharded := strings.CutPrefix(subject, shardRoot); sharded {
		_, rest, _ = strings.Cut(rest, ".")
		subject = "conversation." + rest
	}
	if token, ok := strings.CutPrefix(subject, everyoneRoot+"."); ok {
		return token, true, true
	}
	token, ok := strings.CutPrefix(subject, commandRoot+".")
	if !ok {
		return "", false, false
	}
	return token, false, true
}
