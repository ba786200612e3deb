package presence

import (
	"slices"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

func TestOnlyTheOriginHearsWithoutSync(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone, laptop, bob := i.device(t, "alice", "phone"), i.device(t, "alice", "laptop"), i.device(t, "bob", "phone")
	seq := r.publish(t, deleted(t, "alice", "phone", "c2c_bob", false))
	g := phone.expect(t, conversation.TypeDeleted)
	if g.conversation(t) != "c2c_bob" || *g.Cursor != seq || g.ID != conversation.DeletedID(app, "alice-c2c_bob", "c2c_bob") {
		t.Errorf("frame %+v %s; want c2c_bob with cursor %d and the event's id", g, g.Data, seq)
	}
	laptop.silent(t)
	bob.silent(t)
}

func TestAllOfTheUsersDevicesHearWithSync(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone, laptop, bob := i.device(t, "alice", "phone"), i.device(t, "alice", "laptop"), i.device(t, "bob", "phone")
	r.publish(t, deleted(t, "alice", "phone", "c2c_bob", true))
	for _, c := range []*client{phone, laptop} {
		if got := c.events(t, 1); got[0] != "deleted c2c_bob" {
			t.Errorf("%s got %v; want the deletion", c.device, got)
		}
	}
	bob.silent(t)
}

func TestAnEventWithoutOriginIsForNobodyWithoutSync(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone, nameless := i.device(t, "alice", "phone"), i.device(t, "alice", "")
	i.heard(t, r.publish(t, deleted(t, "alice", "", "c2c_bob", false)))
	phone.silent(t)
	nameless.silent(t)
}

func TestAFailureIsForTheOriginAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone, laptop := i.device(t, "alice", "phone"), i.device(t, "alice", "laptop")
	r.publish(t, failed(t, "alice", "laptop", "c2c_bob"))
	if got := laptop.events(t, 1); got[0] != "delete_failed c2c_bob" {
		t.Errorf("got %v; want the failure", got)
	}
	phone.silent(t)
}

// Ids that mean something in a subject, in a URL or in JSON.
var hostile = []string{"*", ">", "a.b", "a b", "%2A", "100%", "../x", "ä\u2028ö", `"quoted\`, "a/b?c=d&e#f", "alice.*", "🙂"}

func TestIdsMayHoldAnything(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	devices := map[string]*client{"alice": i.device(t, "alice", "d")}
	for _, user := range hostile {
		devices[user] = i.device(t, user, user)
	}
	for _, user := range hostile {
		r.publish(t, deleted(t, user, user, user, false))
	}
	last := r.publish(t, deleted(t, "alice", "d", "end", false))
	for user, c := range devices {
		want := []string{"deleted " + user}
		if user == "alice" {
			want = []string{"deleted end"}
		}
		if got := c.events(t, 1); !slices.Equal(got, want) {
			t.Errorf("%q got %q; want %q", user, got, want)
		}
		i.heard(t, last)
		c.silent(t)
	}
}

func TestOtherAppsEventsAreNotRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone := i.device(t, "alice", "phone")
	msg, err := conversation.Deleted{CommandID: "c", AppID: "other", UserID: "alice", ConversationID: "x", OriginDeviceID: "phone", MultiClientSync: true}.Msg(conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	r.publish(t, msg)
	i.heard(t, r.publish(t, deleted(t, "bob", "phone", "y", true)))
	phone.silent(t)
}

func TestProgressGoesToTheDeviceThatSentTheCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone, laptop := i.device(t, "alice", "phone"), i.device(t, "alice", "laptop")
	phone.say(t, `{"type":"sent","command_id":"c1"}`)
	phone.silent(t) // it has been read
	msg, err := conversation.Deleting{CommandID: "c1", AppID: app, UserID: "alice", ConversationID: "group_huge", ThroughSeq: 10, PurgedThroughSeq: 5}.Msg(conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.nc.PublishMsg(msg); err != nil {
		t.Fatal(err)
	}
	if g := phone.expect(t, conversation.TypeDeleting); g.conversation(t) != "group_huge" || g.Cursor != nil {
		t.Errorf("frame %+v %s; want progress without a cursor", g, g.Data)
	}
	laptop.silent(t)
}

func TestAMessageGoesToAllDevicesOfTheCopysOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone, laptop, bob := i.device(t, "a.b", "phone"), i.device(t, "a.b", "laptop"), i.device(t, "bob", "phone")
	subject := "chat.message." + conversation.EscapeToken(app) + "." + conversation.EscapeToken("a.b")
	body := `{"app_id":"demo.app","user_id":"a.b","conversation_id":"c2c_bob","seq":1,"sender_id":"bob","sent_at":"2026-11-23T09:00:00Z","text":"hi"}`
	if err := r.nc.Publish(subject, []byte(body)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{phone, laptop} {
		if g := c.expect(t, "message"); g.conversation(t) != "c2c_bob" {
			t.Errorf("%s got %s; want the message", c.device, g.Data)
		}
	}
	bob.silent(t)
}
