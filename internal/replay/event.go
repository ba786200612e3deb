package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
)

// deletionOf reads the outcome of a finished deletion from a stored message. ok is
// false for what reports none: a failure, and what can't be read, which is the
// error. Where a field is missing on which it depends what goes, nothing goes.
func deletionOf(m bus.Stored) (d purge.Record, ok bool, err error) {
	if strings.HasPrefix(m.Subject, conversation.TypeDeleteFailed+".") {
		return purge.Record{}, false, nil
	}
	if m.Subject == "" {
		return purge.Record{}, false, errors.New("its headers can't be read")
	}
	e, err := conversation.ParseEvent(m.Subject, m.Header, m.Data)
	if err != nil {
		return purge.Record{}, false, err
	}
	if e.Deleted == nil {
		return purge.Record{}, false, fmt.Errorf("%s: is %.60q; expected %s", conversation.HeaderEventType, e.Type, conversation.TypeDeleted)
	}
	if err := complete(m.Data); err != nil {
		return purge.Record{}, false, err
	}
	v := e.Deleted
	if e.ID != v.ID() {
		return purge.Record{}, false, fmt.Errorf("%s: is %.60q, which is not that of its deletion", conversation.HeaderEventID, e.ID)
	}
	return purge.Record{
		Key: purge.Key{App: v.AppID, Command: v.CommandID, User: v.UserID, Conversation: v.ConversationID}, Device: v.OriginDeviceID,
		State: purge.Done, ThroughSeq: v.ThroughSeq, MessagesDeleted: v.MessagesDeleted, HistoryKept: v.HistoryKept,
		ConversationRemoved: v.ConversationRemoved, MultiClientSync: v.MultiClientSync,
		Scope: purge.Scope(v.Scope), RequestedBy: v.RequestedBy,
		RequestedAt: v.RequestedAt, CompletedAt: v.CompletedAt,
	}, true, nil
}

// complete says which field is missing of those that decide what goes.
func complete(data []byte) error {
	var v struct {
		CommandID      string     `json:"command_id"`
		ConversationID string     `json:"conversation_id"`
		ThroughSeq     *int64     `json:"through_seq"`
		HistoryKept    *bool      `json:"history_kept"`
		CompletedAt    *time.Time `json:"completed_at"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	for _, f := range []struct {
		name  string
		there bool
	}{
		{"command_id", v.CommandID != ""},
		{"conversation_id", v.ConversationID != ""},
		{"through_seq", v.ThroughSeq != nil},
		{"history_kept", v.HistoryKept != nil},
		{"completed_at", v.CompletedAt != nil && !v.CompletedAt.IsZero()},
	} {
		if !f.there {
			return fmt.Errorf("%s: is missing", f.name)
		}
	}
	return nil
}
