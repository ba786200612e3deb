package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

const trip = "shared_trip"

// startChatWithGroups is startChat with a second database and a worker for shared groups.
func startChatWithGroups(t *testing.T) *rig {
	t.Helper()
	return startChatOn(t, &rig{nats: localtest.NATS(t), db: localtest.Database(t), groups: localtest.Database(t)})
}

// stored is what the database of groups has, as in "3 rows, alice 0, bob 3".
func (r *rig) stored(t *testing.T) string {
	t.Helper()
	var got struct {
		Rows    int64
		Members []struct {
			User  string
			Reads int64
		}
	}
	r.as(t, "alice", "alice-other").do(t, "GET", "/v1/demo/rows?group="+trip, nil, http.StatusOK, &got)
	text := fmt.Sprintf("%d rows", got.Rows)
	for _, m := range got.Members {
		text += fmt.Sprintf(", %s %d", m.User, m.Reads)
	}
	return text
}

// In a shared group each hides the messages for themselves, and the last one's deletion
// erases them. Its owner deletes it for everyone at once.
func TestASharedGroupGoesAllTheWay(t *testing.T) {
	t.Parallel()
	r := startChatWithGroups(t)
	phone, bob, carol := r.as(t, "alice", "phone"), r.as(t, "bob", "tablet"), r.as(t, "carol", "phone")
	send := func() {
		t.Helper()
		for _, c := range []*caller{phone, bob, phone} {
			c.do(t, "POST", "/v1/conversations/"+trip+"/messages", map[string]string{"text": "hello"}, http.StatusCreated, nil)
		}
	}
	check := func(want string) {
		t.Helper()
		if got := r.stored(t); got != want {
			t.Errorf("the database has %s; want %s", got, want)
		}
	}
	expect := func(l *listener, kind string, parts ...string) {
		t.Helper()
		got := string(l.next(t, kind).Data)
		for _, part := range parts {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %s; want %s", kind, got, part)
			}
		}
	}
	remove := "/v1/conversations/" + trip + ":delete"
	everyone := map[string]any{"scope": "everyone"}

	send()
	check("3 rows, alice 3, bob 3")
	carol.do(t, "POST", "/v1/conversations/"+trip+"/messages", map[string]string{"text": "hello"}, http.StatusForbidden, nil)
	for c, want := range map[*caller]int{phone: 3, bob: 3, carol: 0} {
		if got := c.texts(t, trip); len(got) != want {
			t.Errorf("one reads %q; want %d messages", got, want)
		}
	}
	alices, bobs := phone.listen(t, ""), bob.listen(t, "")
	alices.next(t, "hello")
	bobs.next(t, "hello")

	phone.do(t, "POST", remove, nil, http.StatusAccepted, nil)
	expect(alices, "conversation.deleted", `"erased":false`, `"messages_deleted":3`)
	check("3 rows, alice 0, bob 3")
	if got := phone.texts(t, trip); len(got) > 0 {
		t.Errorf("alice reads %q", got)
	}
	bob.do(t, "POST", remove, nil, http.StatusAccepted, nil)
	expect(bobs, "conversation.deleted", `"messages_deleted":3`)
	expect(bobs, "conversation.erased", trip)
	expect(alices, "conversation.erased", trip)
	check("0 rows, alice 0, bob 0")

	send()
	for range 3 {
		alices.next(t, "message")
		bobs.next(t, "message")
	}
	if got := phone.texts(t, trip); len(got) != 3 {
		t.Errorf("alice reads %q; want what came after her deletion", got)
	}
	bob.do(t, "POST", remove, everyone, http.StatusForbidden, nil)
	phone.do(t, "POST", "/v1/conversations/group_book_club:delete", everyone, http.StatusForbidden, nil)
	phone.do(t, "POST", remove, everyone, http.StatusAccepted, nil)
	for _, l := range []*listener{alices, bobs} {
		expect(l, "conversation.deleted", `"scope":"everyone"`, `"requested_by":"alice"`, `"through_seq":6`)
		expect(l, "conversation.erased", trip)
	}
	check("0 rows, alice 0, bob 0")

	// All of a user's chats are two commands: each database has one.
	send()
	phone.do(t, "POST", "/v1/conversations/c2c_carol/messages", map[string]string{"text": "hello"}, http.StatusCreated, nil)
	for range 4 {
		alices.next(t, "message")
	}
	var ids struct {
		Chats  string `json:"command_id"`
		Groups string `json:"groups_command_id"`
	}
	phone.do(t, "POST", "/v1/conversations:delete", map[string]any{"all_conversations": true}, http.StatusAccepted, &ids)
	ended := map[string]bool{}
	for len(ended) < 2 {
		h := alices.any(t)
		for _, id := range []string{ids.Chats, ids.Groups} {
			if h.Type == "conversation.all_deleted" && strings.Contains(string(h.Data), `"command_id":"`+id+`"`) {
				ended[id] = true
			}
		}
	}
	check("3 rows, alice 0, bob 3")
	if got := phone.texts(t, "c2c_carol"); len(got) > 0 {
		t.Errorf("alice reads %q", got)
	}
}
