package broker

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// maxLetterError bounds Lethe-Error, in bytes.
	maxLetterError = 1024
	// maxLetterNote bounds the part of it that names the headers left out.
	maxLetterNote = 256
	// headerFrame is what the block of headers takes besides its lines.
	headerFrame = len("NATS/1.0\r\n\r\n")
	// maxAppSubject is the longest app that a letter's subject names; no valid
	// one, escaped, comes near. A longer one could only come from the subject.
	maxAppSubject = 1024
)

// letterHeaders are those that a letter sets itself, in lower case: a producer's
// must not stand beside them, in whatever case.
var letterHeaders = lowerSet(
	conversation.HeaderReason, conversation.HeaderError, conversation.HeaderSubject, conversation.HeaderShard, conversation.HeaderStreamSequence,
	conversation.HeaderStoredAt, conversation.HeaderDeliveries, conversation.HeaderFailedAt)

// retryHeaders are those that a retried command gets.
var retryHeaders = lowerSet(conversation.HeaderStoredAt, conversation.HeaderRetry)

func lowerSet(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[strings.ToLower(n)] = true
	}
	return set
}

// letterMsg writes a dead letter: the command's bytes as they are, the
// producer's headers as far as they can be written and there is room in
// maxPayload bytes, and the reason. Its subject is without the prefix.
func letterMsg(n conversation.Names, l *bus.Letter, maxPayload int64) (*nats.Msg, error) {
	d := &l.Delivery
	own := nats.Header{
		conversation.HeaderReason:         {headerText(string(l.Reason), maxLetterError)},
		conversation.HeaderSubject:        {d.Subject},
		conversation.HeaderStreamSequence: {strconv.FormatUint(d.Sequence, 10)},
		conversation.HeaderStoredAt:       {letterTime(l.StoredAt)},
		conversation.HeaderDeliveries:     {strconv.FormatUint(d.Deliveries, 10)},
		conversation.HeaderFailedAt:       {letterTime(l.FailedAt)},
		nats.MsgIdHdr:                     {letterID(n, d)},
	}
	if shard := n.Shard(); shard != "" {
		own[conversation.HeaderShard] = []string{string(shard)}
	}
	// The longest Lethe-Error is counted, whatever it will be.
	room := int(maxPayload) - len(d.Data) - headerFrame - headersSize(own) -
		headerSize(conversation.HeaderError, strings.Repeat("x", maxLetterError))
	kept, omitted := fitHeaders(d.Header, room)
	for name, values := range kept {
		own[name] = values
	}
	own[conversation.HeaderError] = []string{letterError(l.Error, omitted)}
	if size := len(d.Data) + headerFrame + headersSize(own); size > int(maxPayload) {
		return nil, &purge.FaultError{Fault: purge.Infrastructure, Cause: causeTooLarge, Err: fmt.Errorf(
			"dead letter of command %d has %d bytes, of %d that the NATS server takes: raise its max_payload", d.Sequence, size, maxPayload)}
	}
	subject := conversation.DeadLetterSubject(l.App)
	if len(subject) > maxAppSubject {
		subject = conversation.DeadLetterSubject("")
	}
	return &nats.Msg{Subject: subject, Header: own, Data: d.Data}, nil
}

// letterID makes the letter of a command that is handled twice one letter. The
// stream's name keeps shards apart, and the time a command from that of the same number
// in a stream that was deleted and made again.
func letterID(n conversation.Names, d *bus.Delivery) string {
	return fmt.Sprintf("%s.%d.%d", n.CommandsStream(), d.Sequence, d.StoredAt.UnixNano())
}

func letterTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// fitHeaders returns the producer's headers that a letter carries on, in at most
// room bytes: the largest go first, then by name. omitted are the names of those
// left out, except of Nats-* and the letter's own.
func fitHeaders(h map[string][]string, room int) (kept nats.Header, omitted []string) {
	kept = make(nats.Header, len(h))
	total := 0
	for name, values := range h {
		lower := strings.ToLower(name)
		switch {
		case strings.HasPrefix(lower, "nats-"), letterHeaders[lower], len(values) == 0:
		case !validHeader(name):
			omitted = append(omitted, name)
		default:
			kept[name] = values
			total += headerSize(name, values...)
		}
	}
	if total <= room {
		sort.Strings(omitted)
		return kept, omitted
	}
	names := make([]string, 0, len(kept))
	for name := range kept {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := headerSize(names[i], kept[names[i]]...), headerSize(names[j], kept[names[j]]...)
		return a > b || a == b && names[i] < names[j]
	})
	for _, name := range names {
		if total <= room {
			break
		}
		total -= headerSize(name, kept[name]...)
		delete(kept, name)
		omitted = append(omitted, name)
	}
	sort.Strings(omitted)
	return kept, omitted
}

// validHeader reports whether the client package writes a header of that name.
// Other clients, and the server, take more.
func validHeader(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || strings.IndexByte("\"()/,:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return name != ""
}

func headerSize(name string, values ...string) int {
	n := 0
	for _, v := range values {
		n += len(name) + len(": ") + len(v) + len("\r\n")
	}
	return n
}

func headersSize(h nats.Header) int {
	n := 0
	for name, values := range h {
		n += headerSize(name, values...)
	}
	return n
}

// letterError is the text for people, with the headers that were left out.
func letterError(text string, omitted []string) string {
	if len(omitted) == 0 {
		return headerText(text, maxLetterError)
	}
	note := headerText(fmt.Sprintf("; %s left out: %q", purge.Count(len(omitted), "header"), omitted), maxLetterNote)
	return headerText(text, maxLetterError-len(note)) + note
}

// headerText makes text fit for a header: valid UTF-8 without control characters,
// at most the given number of bytes, cut between characters.
func headerText(text string, limit int) string {
	text = strings.ToValidUTF8(text[:min(len(text), 4*limit)], "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
