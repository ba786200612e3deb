package e2e

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// names are the sorted keys of a map, in one line.
func names[V any](m map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), " ")
}

// parseTime reads an RFC 3339 time.
func parseTime(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Errorf("%q is not RFC 3339: %v", s, err)
	}
	return at
}

// recent asserts that a time is that of this test.
func recent(t testing.TB, what, s string) {
	t.Helper()
	if age := time.Since(parseTime(t, s)); age < -time.Second || age > 5*time.Minute {
		t.Errorf("%s is %s, %v ago", what, s, age)
	}
}

// wantEnvelope asserts the headers of an event about app and conversation, "" for
// the whole command.
func wantEnvelope(t testing.TB, e event, typ, source, id string) {
	t.Helper()
	for name, want := range map[string]string{
		"ce-specversion": "1.0", "ce-type": typ, "ce-source": source, "content-type": "application/json", "Nats-Msg-Id": e.id(),
	} {
		if got := e.header[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	if e.id() == "" {
		t.Error("ce-id is missing")
	}
	recent(t, "ce-time", e.header.Get("ce-time"))
	subject, err := url.PathUnescape(e.header.Get("ce-subject"))
	if _, found := e.header["ce-subject"]; err != nil || subject != id || found != (id != "") {
		t.Errorf("ce-subject = %q (%v); want %q, percent-encoded", e.header["ce-subject"], err, id)
	}
}

func TestADeletedEventHasTheseHeadersAndFields(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	const headers = "Nats-Msg-Id ce-id ce-source ce-specversion ce-subject ce-time ce-type content-type"
	const fields = "app_id command_id completed_at conversation_id conversation_removed erased history_kept messages_deleted multi_client_sync through_seq user_id"
	t.Run("with_all_that_a_command_may_have", func(t *testing.T) {
		t.Parallel()
		c := chat{"de mo.*>", "al.ice/ü😀%", "c2c_ \"%bob\" ü"}
		r.fill(t, c, 40)
		id := conversation.NewCommandID() + ".*> %"
		r.publish(t, "conversation.delete.de%20mo%2E%2A%3E", encode(t, map[string]any{
			"command_id": id, "app_id": c.app, "user_id": c.user, "device_id": "téléphone 1", "conversations": []any{map[string]any{"id": c.id, "through_seq": 30}},
			"requested_at": "2026-11-23T10:00:00.123456+01:00",
		}), "traceparent", traceparent)
		e := r.deleted(t, id, c.id)
		if want := "conversation.deleted.de%20mo%2E%2A%3E.al%2Eice%2F%C3%BC%F0%9F%98%80%25"; e.subject != want {
			t.Errorf("subject %s; want %s", e.subject, want)
		}
		wantEnvelope(t, e, "conversation.deleted", "lethe/de%20mo%2E%2A%3E", c.id)
		if got := names(visible(e.header)); got != headers+" traceparent" {
			t.Errorf("headers: %s; want %s traceparent", got, headers)
		}
		if got := e.header.Get("traceparent"); got != traceparent {
			t.Errorf("traceparent = %q; want the command's", got)
		}
		if got, want := names(e.body), names(map[string]int{"origin_device_id": 1, "requested_at": 1}); !sameWords(got, fields+" "+want) {
			t.Errorf("fields: %s; want %s %s", got, fields, want)
		}
		wantFields(t, e, "command_id", id, "app_id", c.app, "user_id", c.user, "conversation_id", c.id, "through_seq", 30, "messages_deleted", 30,
			"history_kept", false, "conversation_removed", false, "erased", true, "multi_client_sync", false, "origin_device_id", "téléphone 1")
		if got := parseTime(t, e.text("requested_at")); !got.Equal(time.Date(2026, 11, 23, 9, 0, 0, 123456000, time.UTC)) {
			t.Errorf("requested_at = %v; want the command's", got)
		}
		recent(t, "completed_at", e.text("completed_at"))
	})
	for name, more := range map[string]string{"with_the_least": "", "with_nulls": `,"device_id":null,"requested_at":null,"keep_history":null`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := conversation.NewCommandID()
			r.publish(t, "conversation.delete", []byte(`{"command_id":"`+id+`","app_id":"demo","user_id":"bob","conversations":[{"id":"`+name+`"}]`+more+`}`))
			e := r.deleted(t, id, name)
			wantEnvelope(t, e, "conversation.deleted", "lethe/demo", name)
			if got := names(visible(e.header)); got != headers {
				t.Errorf("headers: %s; want %s", got, headers)
			}
			if got := names(e.body); !sameWords(got, fields) {
				t.Errorf("fields: %s; want %s", got, fields)
			}
		})
	}
}

func sameWords(a, b string) bool {
	return slices.Equal(slices.Sorted(slices.Values(strings.Fields(a))), slices.Sorted(slices.Values(strings.Fields(b))))
}

func TestAFailedEventHasTheseHeadersAndFields(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	id := conversation.NewCommandID()
	r.publish(t, "conversation.delete.demo", []byte(`{"command_id":"`+id+`","app_id":"demo","user_id":"al.ice","device_id":"phone","conversations":[]}`),
		"traceparent", traceparent)
	e := r.failed(t, id, "")
	if want := "conversation.delete_failed.demo.al%2Eice"; e.subject != want {
		t.Errorf("subject %s; want %s", e.subject, want)
	}
	wantEnvelope(t, e, "conversation.delete_failed", "lethe/demo", "")
	if got := e.header.Get("traceparent"); got != traceparent {
		t.Errorf("traceparent = %q; want the command's", got)
	}
	if got, want := names(e.body), "app_id command_id failed_at message origin_device_id reason user_id"; got != want {
		t.Errorf("fields: %s; want %s", got, want)
	}
	wantFields(t, e, "app_id", "demo", "user_id", "al.ice", "origin_device_id", "phone", "reason", "invalid_command")
	recent(t, "failed_at", e.text("failed_at"))
	if !strings.Contains(e.text("message"), "conversations") {
		t.Errorf("message %q doesn't name the field", e.text("message"))
	}
}

// An id depends on the type, app, command and conversation, and on nothing else,
// such as the database or the user.
func TestEventIDsAreStableAndDistinct(t *testing.T) {
	t.Parallel()
	deletions := []struct{ app, command, id string }{
		{"a", "b", "c"},
		{"a", "bc", "d"},
		{"ab", "c", "d"},
		{"a", "b", "cd"},
		{"a", "b.c", "d"},
		{"a.b", "c", "d"},
		{"a", "b", "c.d"},
		{"a", "b", "C"},
		{"a", "b/c", "d"},
		{"a", "b", "c/d"},
		{"a|b", "c", "d"},
		{"a", "b|c", "d"},
		{"a", "b%7Cc", "d"},
		{"c", "b", "a"},
	}
	byID := map[string]int{}
	for _, user := range []string{"alice", "bob"} {
		r := newRig(t)
		r.start(t)
		for i, d := range deletions {
			cmd := chat{d.app, user, d.id}.ask()
			if cmd.CommandID = d.command; d.app == "a" && d.command == "b" {
				cmd.Conversations = []conversation.Target{{ID: "c"}, {ID: "cd"}, {ID: "c.d"}, {ID: "C"}, {ID: "c/d"}}
			}
			r.again(t, cmd)
			var e event
			for _, found := range r.awaitStored(t, len(cmd.Conversations), of(d.command), func(e event) bool { return e.text("app_id") == d.app }) {
				if found.conversation() == d.id {
					e = found
				}
			}
			if other, known := byID[e.id()]; known && other != i {
				t.Errorf("%v and %v have the id %s", d, deletions[other], e.id())
			} else if !known && user == "bob" {
				t.Errorf("%v has another id in another place", d)
			}
			byID[e.id()] = i
		}
	}
}

func TestAFailureHasAnIDOfItsOwnForEachCommandInTheStream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	bad := []byte(`{"command_id":"c","app_id":"demo","user_id":"alice","conversations":[{"id":"g"},{"id":"g"}]}`)
	for range 3 {
		r.publish(t, "conversation.delete.demo", bad)
	}
	distinct := map[string]bool{}
	for _, e := range r.awaitStored(t, 3, of("c")) {
		distinct[e.id()] = true
	}
	if len(distinct) != 3 {
		t.Errorf("3 failures have %d distinct ids", len(distinct))
	}
}

func TestMultiClientSyncIsTheAppsSwitch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	sync := func(app string) string {
		cmd := chat{app, "alice", "g"}.ask()
		r.send(t, cmd)
		return r.deleted(t, cmd.CommandID, "g").text("multi_client_sync")
	}
	first := chat{"demo", "alice", "g"}.ask()
	r.send(t, first)
	wantFields(t, r.deleted(t, first.CommandID, "g"), "multi_client_sync", false)

	r.must(t, "settings", "set", "--app", "demo", "--multi-client-sync=true")
	if got := sync("demo") + sync("other"); got != "truefalse" {
		t.Errorf("switched on for demo alone: demo and other say %s", got)
	}
	// A deletion that has finished keeps what it has said.
	r.again(t, first)
	again := r.awaitHeard(t, 2, of(first.CommandID))
	sameEvent(t, again[0], again[1])

	// One that is under way says what holds when it finishes.
	held := chat{"demo", "held", "g"}
	r.fill(t, held, 10)
	release := r.hold(t, `select from chat.messages where user_id = 'held' for update`)
	cmd := held.ask()
	r.send(t, cmd)
	eventually(t, timeout, "the deletion is under way", func() bool { return r.state(t, cmd.CommandID, "g")["state"] != "" })
	r.must(t, "settings", "set", "--app", "demo", "--multi-client-sync=false")
	release()
	wantFields(t, r.deleted(t, cmd.CommandID, "g"), "multi_client_sync", false)
	if got := sync("demo"); got != "false" {
		t.Errorf("switched off: %s", got)
	}
	r.exec(t, `update lethe.apps set multi_client_sync = true where app_id = 'demo'`)
	if got := sync("demo"); got != "true" {
		t.Errorf("switched on in the table: %s", got)
	}
}

func TestALongDeletionTellsItsProgress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	c := chat{"de mo", "al.ice", "group 1"}
	r.fill(t, c, 5000)
	release := r.hold(t, `select from chat.messages where user_id = 'al.ice' and seq = 4000 for update`)
	cmd := c.ask()
	cmd.DeviceID = "phone"
	r.send(t, cmd)
	es := r.awaitHeard(t, 2, typed("conversation.deleting"))
	e := es[0]
	if want := "conversation.deleting.de%20mo.al%2Eice"; e.subject != want {
		t.Errorf("subject %s; want %s", e.subject, want)
	}
	wantEnvelope(t, e, "conversation.deleting", "lethe/de%20mo", c.id)
	const always = "app_id command_id conversation_id messages_deleted purged_through_seq through_seq user_id"
	if got := names(e.body); got != always && got != always+" waiting_for" {
		t.Errorf("fields: %s; want %s, and waiting_for while it waits", got, always)
	}
	r.awaitHeard(t, 1, func(e event) bool { return e.subject == es[0].subject && e.body["waiting_for"] == "lock" })
	wantFields(t, e, "command_id", cmd.CommandID, "app_id", c.app, "user_id", c.user, "conversation_id", c.id, "through_seq", 5000)
	if gap := es[1].at.Sub(es[0].at); gap < 900*time.Millisecond {
		t.Errorf("progress after %v; want at most one a second", gap)
	}
	release()
	wantFields(t, r.deleted(t, cmd.CommandID, c.id), "messages_deleted", 5000)
	if stored, _, _ := r.seen(typed("conversation.deleting")); len(stored) > 0 {
		t.Error("progress is stored in the stream of events")
	}
}

func TestEveryTimeOfRFC3339IsRepeated(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	for text, want := range map[string]string{
		"2026-11-23T09:00:00Z": "2026-11-23T09:00:00Z", "2026-11-23t09:00:00.5z": "2026-11-23T09:00:00.5Z", "2026-11-23T09:00:00.123456Z": "2026-11-23T09:00:00.123456Z",
		"2026-11-23T14:30:00.000001+05:30": "2026-11-23T09:00:00.000001Z", "2026-11-23T09:00:00-00:00": "2026-11-23T09:00:00Z", "1969-07-20T20:17:40Z": "1969-07-20T20:17:40Z",
		"9999-12-31T23:59:59Z": "9999-12-31T23:59:59Z", "1500-02-28T00:00:00Z": "1500-02-28T00:00:00Z", "2016-12-31T23:59:60Z": "2017-01-01T00:00:00Z",
	} {
		id := conversation.NewCommandID()
		data := []byte(body("command_id", `"`+id+`"`, "requested_at", `"`+text+`"`))
		r.publish(t, "conversation.delete.demo", data)
		e := r.deleted(t, id, "g")
		if got := e.text("requested_at"); !parseTime(t, got).Equal(parseTime(t, want)) {
			t.Errorf("requested_at %s is repeated as %s", text, got)
		}
		r.publish(t, "conversation.delete.demo", data)
		again := r.awaitHeard(t, 2, of(id))
		sameEvent(t, again[0], again[1])
	}
}

// The stream keeps so many events a user: the oldest go, and nobody waits.
func TestAUserMayHaveMoreEventsThanAreKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stream, err := r.js.Stream(t.Context(), conversation.EventsStream)
	must(t, err)
	c := stream.CachedInfo().Config
	c.MaxMsgsPerSubject = 1000
	_, err = r.js.UpdateStream(t.Context(), c)
	must(t, err)
	r.start(t)
	last := ""
	for range 12 {
		cmd := conversation.Command{CommandID: conversation.NewCommandID(), AppID: "demo", UserID: "alice"}
		for i := range 100 {
			cmd.Conversations = append(cmd.Conversations, conversation.Target{ID: strings.Repeat("g", i+1)})
		}
		r.send(t, cmd)
		last = cmd.CommandID
	}
	r.settled(t)
	r.awaitHeard(t, 1200, typed(conversation.TypeDeleted))
	r.onlyDeletedAmong(t, last, "g", "gg")
	info, err := stream.Info(t.Context())
	must(t, err)
	if n := info.State.Msgs; n != 1000 {
		t.Errorf("%d events are kept; want 1,000", n)
	}
}
