package purge

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"strings"
)

// Content is what makes two commands of one id the same command. White space,
// order, requested_at and unknown fields are not part of it.
type Content struct {
	User, Device string
	KeepHistory  bool
	Targets      []Target
	// What follows came with the second version of the command.
	Scope                              Scope
	AllConversations, KeepConversation bool
}

// second reports whether only the second version of the command can say this.
func (c Content) second() bool { return c.Scope != "" || c.AllConversations || c.KeepConversation }

// Target is one conversation of a command; ThroughSeq nil where the command
// left the boundary to the worker.
type Target struct {
	Conversation string
	ThroughSeq   *int64
}

// DigestOf returns a digest of c that is the same for any order of the targets
// and different for any other content (SHA-256 over length-prefixed fields).
// It does not change c. A different encoding would refuse every command that
// is redelivered across an upgrade, so a test pins it: what the first version of the
// command can say has the digest that workers gave it then.
func DigestOf(c Content) Digest {
	targets := slices.Clone(c.Targets)
	slices.SortFunc(targets, func(a, b Target) int { return strings.Compare(a.Conversation, b.Conversation) })
	h := sha256.New()
	version := "lethe.command.1"
	if c.second() {
		version = "lethe.command.2"
	}
	writeString(h, version)
	writeString(h, c.User)
	writeString(h, c.Device)
	writeBool(h, c.KeepHistory)
	for _, t := range targets {
		writeString(h, t.Conversation)
		writeBool(h, t.ThroughSeq != nil)
		if t.ThroughSeq != nil {
			writeUint(h, uint64(*t.ThroughSeq)) //nolint:gosec // a bit pattern, not a quantity
		}
	}
	if c.second() {
		writeString(h, string(c.Scope))
		writeBool(h, c.AllConversations)
		writeBool(h, c.KeepConversation)
	}
	return Digest(h.Sum(nil))
}

func writeString(h hash.Hash, s string) {
	writeUint(h, uint64(len(s)))
	_, _ = h.Write([]byte(s)) // a hash never fails to write
}

func writeUint(h hash.Hash, n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	_, _ = h.Write(b[:])
}

func writeBool(h hash.Hash, b bool) {
	v := byte(0)
	if b {
		v = 1
	}
	_, _ = h.Write([]byte{v})
}
