package presence

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

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

// hidden is the event of a deletion in a shared log that by asked for on alice's phone,
// for everyone if by isn't the user.
func (r *rig) hidden(t *testing.T, user, by, id string, sync bool) uint64 {
	t.Helper()
	d := conversation.Deleted{
		CommandID: by + "-" + id, AppID: app, UserID: user, ConversationID: id, ThroughSeq: 7, MessagesDeleted: 7,
		MultiClientSync: sync, OriginDeviceID: "phone", CompletedAt: time.Now(),
	}
	if by != user {
		d.Scope, d.RequestedBy = conversation.ScopeEveryone, by
	}
	msg, err := d.Msg(conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	return r.publish(t, msg)
}

// erased is the event that such a deletion's messages are gone.
func (r *rig) erased(t *testing.T, user, by, id string) uint64 {
	t.Helper()
	msg, err := conversation.Erased{
		CommandID: by + "-" + id, AppID: app, UserID: user, ConversationID: id, ThroughSeq: 7, ErasedAt: time.Now(),
	}.Msg(conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	msg.Header.Del(nats.MsgIdHdr) // it may come again
	return r.publish(t, msg)
}

// The event erased names no device: it goes to whoever was told of the deletion, however
// long ago that was.
func TestErasedIsForWhoeverWasToldOfTheDeletion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone, laptop, bob := i.device(t, "alice", "phone"), i.device(t, "alice", "laptop"), i.device(t, "bob", "tablet")
	r.hidden(t, "alice", "alice", "own", false)
	r.hidden(t, "alice", "alice", "synced", true)
	r.hidden(t, "bob", "alice", "everyone", false) // none of bob's devices asked
	first, second := []string{"deleted own", "deleted synced"}, []string{"erased own", "erased synced"}
	if got := phone.events(t, 2); !slices.Equal(got, first) {
		t.Fatalf("the phone got %v; want %v", got, first)
	}
	if got := append(laptop.events(t, 1), bob.events(t, 1)...); !slices.Equal(got, []string{"deleted synced", "deleted everyone"}) {
		t.Fatalf("the laptop and bob got %v", got)
	}
	erase := func() {
		r.erased(t, "alice", "alice", "own")
		r.erased(t, "alice", "alice", "synced")
		r.erased(t, "bob", "alice", "everyone")
	}
	unknown := func() { // the stream keeps no such deletion
		r.erased(t, "alice", "alice", "unknown")
		i.heard(t, r.erased(t, "carol", "carol", "other"))
	}
	check := func(what string) {
		t.Helper()
		if got := phone.events(t, 2); !slices.Equal(got, second) {
			t.Errorf("%s: the phone got %v; want %v", what, got, second)
		}
		if got := append(laptop.events(t, 1), bob.events(t, 1)...); !slices.Equal(got, []string{"erased synced", "erased everyone"}) {
			t.Errorf("%s: the laptop and bob got %v", what, got)
		}
	}
	erase()
	check("from memory")
	unknown() // which has alice's devices catch up, and tells them nothing
	devices := []*client{phone, laptop, bob}
	for _, d := range devices[:2] {
		d.closed(t, closeAway)
	}
	for _, d := range devices {
		d.reconnect(t, i)
		d.silent(t)
	}
	// Another instance, with no memory of the deletions.
	for range 3 {
		r.publish(t, deleted(t, "carol", "x", "newer", false))
	}
	i = r.start(t, func(c *Config) { c.Remember = 2 })
	for _, d := range devices {
		d.reconnect(t, i)
		d.silent(t)
	}
	r.purge(t, conversation.TypeErased+".>")
	erase()
	unknown()
	for _, d := range devices {
		d.closed(t, closeAway)
		d.reconnect(t, i)
	}
	check("from the stream")
	for _, d := range devices {
		d.silent(t)
	}
}

func TestTheEndOfAllConversationsIsToldAsTheirDeletions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone, laptop := i.device(t, "alice", "phone"), i.device(t, "alice", "laptop")
	for _, sync := range []bool{false, true} {
		msg, err := conversation.AllDeleted{
			CommandID: "all" + strconv.FormatBool(sync), AppID: app, UserID: "alice", Conversations: 3, MessagesDeleted: 7,
			MultiClientSync: sync, OriginDeviceID: "phone", CompletedAt: time.Now(),
		}.Msg(conversation.Trace{})
		if err != nil {
			t.Fatal(err)
		}
		r.publish(t, msg)
	}
	for n, d := range map[int]*client{2: phone, 1: laptop} {
		if got := d.events(t, n); got[n-1] != "all_deleted " {
			t.Errorf("%s got %v", d.device, got)
		}
		d.silent(t)
	}
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
