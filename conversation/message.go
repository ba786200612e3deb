package conversation

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Msg returns the event as a message ready to publish: subject, CloudEvents
// headers, Nats-Msg-Id equal to ce-id, JSON body. The subject has no prefix: see
// Names.Subject. It fails for an empty app or user and for a time outside of the years 0 to
// 9999.
func (e Deleted) Msg(trace Trace) (*nats.Msg, error) {
	return envelope{
		typ: TypeDeleted, app: e.AppID, user: e.UserID, conversation: e.ConversationID,
		id: e.ID(), at: e.CompletedAt,
	}.msg(e.wire(), trace)
}

// Msg returns the event as a message ready to publish; it fails like that of Deleted.
func (e Erased) Msg(trace Trace) (*nats.Msg, error) {
	return envelope{
		typ: TypeErased, app: e.AppID, user: e.UserID, conversation: e.ConversationID, id: e.ID(), at: e.ErasedAt,
	}.msg(e.wire(), trace)
}

// Msg returns the event as a message ready to publish; it fails like that of Deleted.
func (e AllDeleted) Msg(trace Trace) (*nats.Msg, error) {
	return envelope{
		typ: TypeAllDeleted, app: e.AppID, user: e.UserID, id: e.ID(), at: e.CompletedAt,
	}.msg(e.wire(), trace)
}

// Msg returns the event as a message ready to publish. streamSeq is the
// command's sequence in CommandsStream and becomes part of the id. It fails for
// an empty app or user and for a time outside of the years 0 to 9999.
func (e DeleteFailed) Msg(streamSeq uint64, trace Trace) (*nats.Msg, error) {
	return envelope{
		typ: TypeDeleteFailed, app: e.AppID, user: e.UserID, conversation: e.ConversationID,
		id: DeleteFailedID(e.AppID, e.CommandID, e.ConversationID, streamSeq), at: e.FailedAt,
	}.msg(e.wire(), trace)
}

// Msg returns the progress as a message for core NATS. Each has an id of its
// own, made from what it says and the current time.
func (e Deleting) Msg(trace Trace) (*nats.Msg, error) {
	now := time.Now()
	return envelope{
		typ: TypeDeleting, app: e.AppID, user: e.UserID, conversation: e.ConversationID,
		id: eventID(uint64(now.UnixNano()), TypeDeleting, e.AppID, e.CommandID, e.ConversationID,
			fmt.Sprint(e.PurgedThroughSeq, e.MessagesDeleted), e.WaitingFor),
		at: now,
	}.msg(e, trace)
}

// envelope is what the headers of an event are made from.
type envelope struct {
	typ, app, user, conversation, id string
	at                               time.Time
}

func (v envelope) msg(body any, trace Trace) (*nats.Msg, error) {
	if v.app == "" || v.user == "" {
		return nil, errors.New(v.typ + ": an event needs an app and a user, which its subject names")
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.typ, err)
	}
	h := make(nats.Header, 10)
	values := make([]string, 0, 8) // one allocation for all values
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set(HeaderSpecVersion, "1.0")
	set(HeaderEventType, v.typ)
	set(HeaderEventSource, eventSource(v.app))
	set(HeaderEventID, v.id)
	set(HeaderEventTime, wireTime(v.at).Format(time.RFC3339Nano))
	if v.conversation != "" {
		set(HeaderEventSubject, percentEncode(v.conversation))
	}
	set(HeaderContentType, "application/json")
	set(nats.MsgIdHdr, v.id)
	trace.Set(h)
	return &nats.Msg{Subject: eventSubject(v.typ, v.app, v.user), Header: h, Data: data}, nil
}

func eventSource(app string) string { return "lethe/" + EscapeToken(app) }

// percentEncode writes a header value as CloudEvents asks: the UTF-8 bytes of
// everything outside U+0021 to U+007E, and of '"' and '%', as %XX.
func percentEncode(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			writePercent(&b, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
