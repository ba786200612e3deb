package conversation

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// crockford writes 5 bits a character in an alphabet that sorts as its values do.
var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// NewCommandID returns a new unique command id: a ULID, 26 characters, of which
// the first ten sort by the millisecond of their making. Safe for concurrent use.
func NewCommandID() string {
	return commandIDAt(time.Now())
}

// commandIDAt lays out a ULID: 48 bits of Unix milliseconds and 80 random bits,
// behind two zero bits so that the 128 make 26 whole characters. 4 bytes of
// zeros in front give base32 whole groups of 5 bytes to read.
func commandIDAt(t time.Time) string {
	var b [20]byte
	binary.BigEndian.PutUint64(b[2:10], uint64(t.UnixMilli())&(1<<48-1))
	_, _ = rand.Read(b[10:]) // never an error: it ends the program instead
	return crockford.EncodeToString(b[:])[6:]
}

// DeletedID returns the ce-id of a TypeDeleted event: the same each time the event of
// one deletion is published, another for any other. With ScopeEveryone each member's event
// has another id, see Deleted.ID.
func DeletedID(app, command, conversation string) string {
	return eventID(0, TypeDeleted, app, command, conversation)
}

// ID returns the event's ce-id: DeletedID, and with ScopeEveryone one that depends on the
// user, too.
func (e Deleted) ID() string {
	if e.Scope == ScopeEveryone {
		return everyoneDeletedID(e.AppID, e.CommandID, e.ConversationID, e.UserID)
	}
	return DeletedID(e.AppID, e.CommandID, e.ConversationID)
}

func everyoneDeletedID(app, command, conversation, user string) string {
	return eventID(0, TypeDeleted, app, command, conversation, user)
}

// ID returns the event's ce-id. It depends on the user, who is the same for all events of a
// command with ScopeSelf.
func (e Erased) ID() string {
	return eventID(0, TypeErased, e.AppID, e.CommandID, e.ConversationID, e.UserID)
}

// ID returns the event's ce-id.
func (e AllDeleted) ID() string { return eventID(0, TypeAllDeleted, e.AppID, e.CommandID) }

// DeleteFailedID returns the ce-id of a TypeDeleteFailed event. streamSeq is
// the command's sequence in CommandsStream, so that each retry of a command can
// tell its own failure. conversation is empty where the whole command failed.
func DeleteFailedID(app, command, conversation string, streamSeq uint64) string {
	return eventID(streamSeq, TypeDeleteFailed, app, command, conversation)
}

// eventID hashes a number and each part behind its length, so that no two lists
// of parts run into one. 128 bits are plenty, and half the memory in the
// stream's list of ids.
func eventID(n uint64, parts ...string) string {
	buf := binary.BigEndian.AppendUint64(make([]byte, 0, 512), n)
	for _, p := range parts {
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(p)))
		buf = append(buf, p...)
	}
	sum := sha256.Sum256(buf)
	return hex.EncodeToString(sum[:16])
}
