package conversation

import (
	"errors"
	"fmt"
	"strings"
)

// The subjects' fixed parts.
const (
	firstToken     = "conversation" // the first token of all subjects
	commandRoot    = "conversation.delete"
	everyoneRoot   = "conversation.delete_everyone"
	deadLetterRoot = "conversation.dead_letter"
	unknownApp     = "_"
)

const upperHex = "0123456789ABCDEF"

// EscapeToken returns s as one token of a NATS subject: every byte outside
// A-Z a-z 0-9 _ - becomes %XX with upper-case digits. Different strings have
// different tokens. An empty s gives "", which is no valid token; no id is empty.
func EscapeToken(s string) string {
	unsafe := 0
	for i := range len(s) {
		if !tokenByte(s[i]) {
			unsafe++
		}
	}
	if unsafe == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2*unsafe)
	for i := range len(s) {
		c := s[i]
		if tokenByte(c) {
			b.WriteByte(c)
		} else {
			writePercent(&b, c)
		}
	}
	return b.String()
}

// UnescapeToken undoes EscapeToken. It takes only what EscapeToken writes: a
// lower-case digit, an escape that was not needed, a byte that needed one, or an
// empty token is an error, so that no two tokens mean the same string.
func UnescapeToken(tok string) (string, error) {
	if tok == "" {
		return "", errors.New("subject token: is empty")
	}
	var b strings.Builder
	b.Grow(len(tok))
	for i := 0; i < len(tok); i++ {
		c := tok[i]
		if c != '%' {
			if !tokenByte(c) {
				return "", fmt.Errorf("subject token: byte %d is %#02x, which must be escaped", i, c)
			}
			b.WriteByte(c)
			continue
		}
		if len(tok)-i < 3 {
			return "", fmt.Errorf("subject token: the escape at byte %d is cut short", i)
		}
		hi, lo := strings.IndexByte(upperHex, tok[i+1]), strings.IndexByte(upperHex, tok[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("subject token: the escape at byte %d is not %% and two upper-case hex digits", i)
		}
		c = byte(hi<<4 | lo)
		if tokenByte(c) {
			return "", fmt.Errorf("subject token: the escape at byte %d stands for %q, which needs none", i, c)
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String(), nil
}

// CommandSubject returns the subject that commands of app are published on where
// there is one database, or by whoever doesn't know the shard; see [Shard].
func CommandSubject(app string) string { return Shard("").CommandSubject(app) }

// DeleteEveryoneSubject returns the subject that commands of app with ScopeEveryone, and
// no others, are published on; see [Shard.DeleteEveryoneSubject].
func DeleteEveryoneSubject(app string) string { return Shard("").DeleteEveryoneSubject(app) }

// SubjectScope returns the scope that a command must have on a subject.
func SubjectScope(subject string) string {
	if _, everyone, _ := cutCommand(subject); everyone {
		return ScopeEveryone
	}
	return ScopeSelf
}

// DeletedSubject returns the subject of a user's TypeDeleted events.
func DeletedSubject(app, user string) string { return eventSubject(TypeDeleted, app, user) }

// DeleteFailedSubject returns the subject of a user's TypeDeleteFailed events.
func DeleteFailedSubject(app, user string) string { return eventSubject(TypeDeleteFailed, app, user) }

// ErasedSubject returns the subject of a user's TypeErased events.
func ErasedSubject(app, user string) string { return eventSubject(TypeErased, app, user) }

// AllDeletedSubject returns the subject of a user's TypeAllDeleted events.
func AllDeletedSubject(app, user string) string { return eventSubject(TypeAllDeleted, app, user) }

// DeletingSubject returns the subject of a user's TypeDeleting messages, which
// no stream keeps.
func DeletingSubject(app, user string) string { return eventSubject(TypeDeleting, app, user) }

// DeadLetterSubject returns the subject of an app's dead letters. An empty app,
// where neither subject nor body names it, is written "_".
func DeadLetterSubject(app string) string {
	if app == "" {
		return deadLetterRoot + "." + unknownApp
	}
	return deadLetterRoot + "." + EscapeToken(app)
}

// SubjectApp returns the app that a command's subject names, and whether it
// names one at all. A token that EscapeToken would not write is returned as it
// stands, so that the failure has an app; SubjectFits is the
// check that such a token never passes.
func SubjectApp(subject string) (app string, named bool) {
	tok, _, named := cutCommand(subject)
	if !named {
		return "", false
	}
	app, err := UnescapeToken(tok)
	if err != nil {
		return tok, true
	}
	return app, true
}

// SubjectFits reports whether a command of app may come on subject: either the
// subject names no app, or its token is exactly EscapeToken(app).
func SubjectFits(subject, app string) bool {
	tok, _, named := cutCommand(subject)
	return !named || tok == EscapeToken(app)
}

func eventSubject(root, app, user string) string {
	return root + "." + EscapeToken(app) + "." + EscapeToken(user)
}

func tokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func writePercent(b *strings.Builder, c byte) {
	b.WriteByte('%')
	b.WriteByte(upperHex[c>>4])
	b.WriteByte(upperHex[c&0xf])
}
