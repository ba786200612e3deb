package presence

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/examples/chat/note"
)

// listen subscribes to what no stream keeps: the progress of long deletions and
// new messages. A device that misses some finds them in the history.
func (s *Service) listen() error {
	for subject, receive := range map[string]nats.MsgHandler{
		conversation.TypeDeleting + "." + conversation.EscapeToken(s.App) + ".*": s.progress,
		note.Subjects(s.App): s.message,
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
	data, err := encodeEvent(e)
	if err != nil {
		return
	}
	s.hub.note(e.Deleting.UserID, func(d *device) {
		if d.hasAsked(e.CommandID()) {
			d.pushIfIdle(data)
		}
	})
}

// message goes to all devices of the copy's owner, written anew from what was
// understood of it.
func (s *Service) message(m *nats.Msg) {
	msg, err := note.Parse(m.Subject, m.Data)
	if err != nil {
		s.Log.Debug("not a message", "subject", m.Subject, "error", err)
		return
	}
	data := frame{Type: "message", Data: msg}.encode()
	s.hub.note(msg.UserID, func(d *device) { d.push(data) })
}

// note does something with each of a user's devices that have joined.
func (h *hub) note(user string, do func(*device)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for d := range h.devices[user] {
		do(d)
	}
}
