package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// listener is a device's connection to presence.
type listener struct {
	conn   *websocket.Conn
	cursor uint64 // of the last frame that had one
}

type heard struct {
	Type   string          `json:"type"`
	Cursor *uint64         `json:"cursor"`
	ID     string          `json:"id"`
	Data   json.RawMessage `json:"data"`
}

func (c *caller) listen(t *testing.T, query string) *listener {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), c.url+"/v1/connect"+query, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + c.token}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &listener{conn: conn}
}

// any returns the next frame of any type.
func (l *listener) any(t *testing.T) heard {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	_, data, err := l.conn.Read(ctx)
	if err != nil {
		t.Fatalf("waiting for a frame: %v", err)
	}
	var h heard
	if err := json.Unmarshal(data, &h); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if h.Cursor != nil {
		l.cursor = *h.Cursor
	}
	return h
}

// next returns the next frame of a type, and fails for any other but cursors.
func (l *listener) next(t *testing.T, want string) heard {
	t.Helper()
	for {
		switch h := l.any(t); h.Type {
		case want:
			return h
		case "cursor":
		default:
			t.Fatalf("got %s %s; want %s", h.Type, h.Data, want)
		}
	}
}

func TestADeletionGoesAllTheWay(t *testing.T) {
	t.Parallel()
	r := startChat(t)
	phone, bob := r.as(t, "alice", "phone"), r.as(t, "bob", "phone")
	bobs := bob.listen(t, "")
	bobs.next(t, "hello")
	alices := phone.listen(t, "")
	alices.next(t, "hello")

	var sent struct {
		Seq int64 `json:"seq"`
	}
	phone.do(t, "POST", "/v1/conversations/c2c_bob/messages", map[string]string{"text": "hello"}, http.StatusCreated, &sent)
	bobs.next(t, "message")
	alices.next(t, "message")
	phone.do(t, "POST", "/v1/conversations/c2c_bob:delete", nil, http.StatusAccepted, nil)
	gone := alices.next(t, "conversation.deleted")
	if !strings.Contains(string(gone.Data), `"messages_deleted":1`) {
		t.Errorf("event %s; want 1 message deleted", gone.Data)
	}
}
