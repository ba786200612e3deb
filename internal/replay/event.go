package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
)

// reportedBy reads what a stored message reports. ok is false for what a replay doesn't need: a
// failure, a command of which some deletions failed (a retry of its dead letter goes through all of them), and what can't
// be read, which is the error. Where a field is missing on which it depends what goes, nothing goes.
func reportedBy(n conversation.Names, m bus.Stored) (d purge.Reported, ok bool, err error) {
	if strings.HasPrefix(m.Subject, n.Subject(conversation.TypeDeleteFailed+".")) {
		return purge.Reported{}, false, nil
	}
	if m.Subject == "" {
		return purge.Reported{}, false, errors.New("its headers can't be read")
	}
	e, err := n.ParseEvent(m.Subject, m.Header, m.Data)
	if err != nil {
		return purge.Reported{}, false, err
	}
	id, ok := "", true
	switch {
	case e.Deleted != nil:
		d, id, err = deleted(e.Deleted), e.Deleted.ID(), complete(m.Data, "conversation_id", "through_seq", "history_kept", "completed_at")
		if v := e.Deleted; err == nil && v.Scope != "" && (v.Scope != conversation.ScopeEveryone || v.RequestedBy == "") {
			err = fmt.Errorf("scope: is %.60q, requested_by %.60q; expected no scope, or %q and who asked", v.Scope, v.RequestedBy, conversation.ScopeEveryone)
		}
	case e.Erased != nil:
		d, id, err = erased(e.Erased), e.Erased.ID(), complete(m.Data, "conversation_id", "through_seq", "erased_at")
	case e.AllDeleted != nil:
		d, id, err = allDeleted(e.AllDeleted), e.AllDeleted.ID(), complete(m.Data, "failed", "multi_client_sync", "completed_at")
		ok = e.AllDeleted.Failed == 0
	default:
		err = fmt.Errorf("%s: is %.60q; expected %s, %s or %s", conversation.HeaderEventType, e.Type, conversation.TypeDeleted, conversation.TypeErased, conversation.TypeAllDeleted)
	}
	if err == nil && e.ID != id {
		err = fmt.Errorf("%s: is %.60q, which is not that of its deletion", conversation.HeaderEventID, e.ID)
	}
	if err != nil {
		return purge.Reported{}, false, err
	}
	return d, ok, nil
}

func deleted(v *conversation.Deleted) purge.Reported {
	return purge.Reported{Kind: purge.ReportedDeleted, Record: purge.Record{
		Key: purge.Key{App: v.AppID, Command: v.CommandID, User: v.UserID, Conversation: v.ConversationID}, Device: v.OriginDeviceID,
		State: purge.Done, ThroughSeq: v.ThroughSeq, MessagesDeleted: v.MessagesDeleted, HistoryKept: v.HistoryKept,
		ConversationRemoved: v.ConversationRemoved, Erased: v.Erased, Scope: purge.Scope(v.Scope), RequestedBy: v.RequestedBy,
		MultiClientSync: v.MultiClientSync, RequestedAt: v.RequestedAt, CompletedAt: v.CompletedAt,
	}}
}

func erased(v *conversation.Erased) purge.Reported {
	return purge.Reported{Kind: purge.ReportedErased, Record: purge.Record{
		Key: purge.Key{App: v.AppID, Command: v.CommandID, User: v.UserID, Conversation: v.ConversationID}, ThroughSeq: v.ThroughSeq, ErasedAt: v.ErasedAt,
	}}
}

func allDeleted(v *conversation.AllDeleted) purge.Reported {
	return purge.Reported{Kind: purge.ReportedAllDeleted, Record: purge.Record{
		Key: purge.Key{App: v.AppID, Command: v.CommandID, User: v.UserID}, MultiClientSync: v.MultiClientSync, CompletedAt: v.CompletedAt,
	}}
}

// everyones is the erasure that a deletion for everyone in a shared log leads to, whether the stream tells of its end or
// not; false for another deletion.
func everyones(d purge.Reported) (purge.Reported, bool) {
	if d.Kind != purge.ReportedDeleted || d.Scope != purge.ScopeEveryone || d.Erased {
		return purge.Reported{}, false
	}
	return purge.Reported{Kind: purge.ReportedErased, Record: purge.Record{
		Key: purge.Key{App: d.App, Conversation: d.Conversation}, ThroughSeq: d.ThroughSeq, ErasedAt: d.CompletedAt,
	}}, true
}

// complete says which of the fields that decide what goes is missing; the command's id is one in any case.
func complete(data []byte, fields ...string) error {
	var v map[string]json.RawMessage
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	for _, name := range append([]string{"command_id"}, fields...) {
		switch string(v[name]) {
		case "", "null", `""`, zeroTime:
			return fmt.Errorf("%s: is missing", name)
		}
	}
	return nil
}

// zeroTime is what the zero time is in an event.
const zeroTime = `"0001-01-01T00:00:00Z"`
