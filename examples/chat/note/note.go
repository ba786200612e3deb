// Package note is the gateway's notice of a new message to the presence service:
// the two agree on what stands here, and on nothing else.
package note

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// MaxText is the longest text of a message, in bytes.
const MaxText = 8 << 10

// maxData bounds a note before it is read: a text and ids of which each byte is
// written as \u00XX.
const maxData = 64 << 10

// Message is a new message in one owner's copy of a conversation.
type Message struct {
	// AppID and UserID name the copy's owner, as the subject does.
	AppID  string `json:"app_id"`
	UserID string `json:"user_id"`
	// ConversationID is the owner's name for the conversation.
	ConversationID string    `json:"conversation_id"`
	Seq            int64     `json:"seq"`
	SenderID       string    `json:"sender_id"`
	SentAt         time.Time `json:"sent_at"`
	Text           string    `json:"text"`
}

// Subject is where a user's notes are published. No stream keeps them.
func Subject(app, user string) string { return root(app) + conversation.EscapeToken(user) }

// Subjects is the subject of the notes of all of an app's users, to subscribe to.
func Subjects(app string) string { return root(app) + "*" }

func root(app string) string { return "chat.message." + conversation.EscapeToken(app) + "." }

// Parse reads a note and checks all of it, since it goes to devices: it is about
// the subject's app and user, and within the contract's limits. Whatever else may
// be published on the subject, an acknowledgement of the server for one, is an error.
func Parse(subject string, data []byte) (Message, error) {
	if len(data) > maxData {
		return Message{}, fmt.Errorf("note: has %d bytes; expected at most %d", len(data), maxData)
	}
	var m Message
	if err := json.Unmarshal(data, &m); err != nil {
		return Message{}, fmt.Errorf("note: %w", err)
	}
	if err := m.check(); err != nil {
		return Message{}, fmt.Errorf("note: %w", err)
	}
	if subject != Subject(m.AppID, m.UserID) {
		return Message{}, errors.New("note: names another user than its subject")
	}
	return m, nil
}

func (m Message) check() error {
	// The rules for ids are the command's.
	ids := conversation.Command{CommandID: "-", AppID: m.AppID, UserID: m.UserID, Conversations: []conversation.Target{{ID: m.ConversationID}}}
	sender := ids
	sender.UserID = m.SenderID
	if err := errors.Join(ids.Validate(), sender.Validate()); err != nil {
		return err
	}
	switch {
	case m.Seq < 1:
		return fmt.Errorf("seq: is %d; expected 1 or more", m.Seq)
	case m.SentAt.IsZero():
		return errors.New("sent_at: is missing")
	case m.Text == "" || len(m.Text) > MaxText:
		return fmt.Errorf("text: has %d bytes; expected 1 to %d", len(m.Text), MaxText)
	}
	return nil
}
