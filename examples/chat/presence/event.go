package presence

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lethe-im/lethe/conversation"
)

// event is a stored event as devices get it. All devices share the frame.
type event struct {
	seq  uint64 // the cursor of a device that has got it
	id   string // the same each time the same event is told
	user string
	audience
	deletion string // of a hidden deletion and of its end, erased; otherwise ""
	open     bool   // the audience is that of the deletion, and not known yet
	frame    []byte
}

// maxEvent bounds the frame of an event, in bytes: ids and a reason of which each
// byte is written as \u00XX. A larger one would close each device that catches up.
const maxEvent = 32 << 10

// maxEventID bounds an event's id, in bytes: each connection remembers some of them.
const maxEventID = 128

// newEvent makes the frame of a stored event.
func newEvent(e conversation.Event) (event, error) {
	ev := event{seq: e.Sequence, id: e.ID}
	switch {
	case e.Deleted != nil:
		d := e.Deleted
		ev.user, ev.audience = d.UserID, ofDeleted(d)
		if !d.Erased {
			ev.deletion = deletion(d.UserID, d.CommandID, d.ConversationID)
		}
	case e.Erased != nil:
		d := e.Erased
		ev.user, ev.deletion, ev.open = d.UserID, deletion(d.UserID, d.CommandID, d.ConversationID), true
	case e.AllDeleted != nil:
		d := e.AllDeleted
		ev.user, ev.audience = d.UserID, audience{d.OriginDeviceID, d.MultiClientSync}
	case e.Failed != nil:
		ev.user, ev.audience = e.Failed.UserID, audience{origin: e.Failed.OriginDeviceID}
	default:
		return event{}, errors.New("is not one that a stream keeps")
	}
	var err error
	ev.frame, err = encodeEvent(e)
	return ev, err
}

// encodeEvent checks an event, since all of it goes to devices, and makes its
// frame. That it is about its subject's app and user ParseEvent has seen to.
func encodeEvent(e conversation.Event) ([]byte, error) {
	f := frame{Type: e.Type}
	var command, id string
	var numbers []int64
	switch {
	case e.Deleted != nil:
		d := e.Deleted
		f.Cursor, f.ID, f.Data = &e.Sequence, e.ID, d
		command, id, numbers = d.CommandID, d.ConversationID, []int64{d.ThroughSeq, d.MessagesDeleted}
	case e.Erased != nil:
		d := e.Erased
		f.Cursor, f.ID, f.Data = &e.Sequence, e.ID, d
		command, id, numbers = d.CommandID, d.ConversationID, []int64{d.ThroughSeq}
	case e.AllDeleted != nil:
		d := e.AllDeleted
		f.Cursor, f.ID, f.Data = &e.Sequence, e.ID, d
		command, id, numbers = d.CommandID, "-", []int64{d.Conversations, d.Failed, d.MessagesDeleted}
	case e.Failed != nil:
		d := e.Failed
		f.Cursor, f.ID, f.Data = &e.Sequence, e.ID, d
		command, id = or(d.CommandID, "-"), or(d.ConversationID, "-") // both may be absent
	case e.Deleting != nil:
		d := e.Deleting
		f.Data = d
		command, id, numbers = d.CommandID, d.ConversationID, []int64{d.ThroughSeq, d.PurgedThroughSeq, d.MessagesDeleted}
	}
	switch {
	case !validID(e.ID, maxEventID):
		return nil, fmt.Errorf("%s: %s is malformed", e.Type, conversation.HeaderEventID)
	case !validID(command, conversation.MaxCommandID):
		return nil, fmt.Errorf("%s: command_id is malformed", e.Type)
	case !validID(id, conversation.MaxConversationID):
		return nil, fmt.Errorf("%s: conversation_id is malformed", e.Type)
	case e.Failed != nil && e.Failed.Reason == "":
		return nil, fmt.Errorf("%s: reason is missing", e.Type)
	case slices.ContainsFunc(numbers, func(n int64) bool { return n < 0 }):
		return nil, fmt.Errorf("%s: has a negative number", e.Type)
	}
	data, err := json.Marshal(f)
	if err == nil && len(data) > maxEvent {
		err = fmt.Errorf("%s: has %d bytes; expected at most %d", e.Type, len(data), maxEvent)
	}
	return data, err
}

// frame is what a device gets, as JSON.
type frame struct {
	Type   string  `json:"type"`
	Cursor *uint64 `json:"cursor,omitempty"`
	Epoch  string  `json:"epoch,omitempty"`
	ID     string  `json:"id,omitempty"`
	Lost   bool    `json:"lost,omitempty"`
	Data   any     `json:"data,omitempty"`
}

func (f frame) encode() []byte {
	data, err := json.Marshal(f)
	if err != nil {
		panic("BUG: a frame without foreign data: " + err.Error())
	}
	return data
}

func cursorFrame(cursor uint64) []byte { return frame{Type: "cursor", Cursor: &cursor}.encode() }

func helloFrame(cursor uint64, epoch string) []byte {
	return frame{Type: "hello", Cursor: &cursor, Epoch: epoch}.encode()
}

var (
	resyncFrame = frame{Type: "resync"}.encode()
	lostFrame   = frame{Type: "resync", Lost: true}.encode() // events may be among what was missed
	pongFrame   = frame{Type: "pong"}.encode()
)
