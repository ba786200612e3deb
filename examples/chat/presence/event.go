package presence

import (
	"encoding/json"

	"github.com/lethe-im/lethe/conversation"
)

// event is a stored event as devices get it. All devices share the frame.
type event struct {
	seq    uint64 // the cursor of a device that has got it
	id     string // the same each time the same event is told
	user   string
	origin string // the device that asked, "" if it isn't known
	toAll  bool   // of the user's devices; otherwise to the origin alone
	frame  []byte
}

// newEvent makes the frame of a stored event.
func newEvent(e conversation.Event) (event, error) {
	ev := event{seq: e.Sequence, id: e.ID}
	var data any
	switch {
	case e.Deleted != nil:
		ev.user, ev.origin, ev.toAll = e.Deleted.UserID, e.Deleted.OriginDeviceID, e.Deleted.MultiClientSync
		data = e.Deleted
	case e.Failed != nil:
		ev.user, ev.origin = e.Failed.UserID, e.Failed.OriginDeviceID
		data = e.Failed
	}
	var err error
	ev.frame, err = json.Marshal(frame{Type: e.Type, Cursor: &e.Sequence, ID: e.ID, Data: data})
	return ev, err
}

// isFor is the rule of multi-client sync: all of the user's devices are told if
// the event says so, and otherwise the one that asked.
func (ev event) isFor(device string) bool {
	return ev.toAll || ev.origin != "" && ev.origin == device
}

// frame is what a device gets, as JSON.
type frame struct {
	Type   string  `json:"type"`
	Cursor *uint64 `json:"cursor,omitempty"`
	Epoch  string  `json:"epoch,omitempty"`
	ID     string  `json:"id,omitempty"`
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
	pongFrame   = frame{Type: "pong"}.encode()
)
