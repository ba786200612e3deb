package presence

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

// messageRoot begins the subjects on which the gateway tells new messages.
const messageRoot = "chat.message."

// listen subscribes to what no stream keeps: the progress of long deletions and
// new messages. A device that misses some finds them in the history.
func (s *Service) listen() error {
	app := conversation.EscapeToken(s.App)
	for subject, receive := range map[string]nats.MsgHandler{
		conversation.TypeDeleting + "." + app + ".*": s.progress,
		messageRoot + app + ".*":                     s.message,
	} {
		sub, err := s.NATS.Subscribe(subject, receive)
		if err != nil {
			return fmt.Errorf("presence: subscribe to %s: %w", subject, err)
		}
		s.subs = append(s.subs, sub)
	}
	return nil
}

// progress goes to the devices that asked. The event doesn't name them: they
// have told us which commands are theirs.
func (s *Service) progress(m *nats.Msg) {
	e, err := conversation.ParseEvent(m.Subject, m.Header, m.Data)
	if err != nil || e.Deleting == nil {
		return // a later one will do
	}
	data, err := json.Marshal(frame{Type: e.Type, Data: e.Deleting})
	if err != nil {
		return
	}
	s.hub.note(e.Deleting.UserID, func(d *device) {
		if d.hasAsked(e.CommandID()) {
			d.pushIfIdle(data)
		}
	})
}

// message goes to all devices of the copy's owner, whom the subject names.
func (s *Service) message(m *nats.Msg) {
	tok := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	user, err := conversation.UnescapeToken(tok)
	if err != nil || !json.Valid(m.Data) || !utf8.Valid(m.Data) {
		return
	}
	data := frame{Type: "message", Data: json.RawMessage(m.Data)}.encode()
	s.hub.note(user, func(d *device) { d.push(data) })
}

// note does something with each of a user's devices that have joined.
func (h *hub) note(user string, do func(*device)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for d := range h.devices[user] {
		do(d)
	}
}
