package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// The devices of the page.
const (
	phone, laptop, bobs = "alice-phone", "alice-laptop", "bob-phone"
)

// TestPage clicks through the page, on a stack of its own for each story.
func TestPage(t *testing.T) {
	t.Parallel()
	chromium := startBrowser(t)
	for name, story := range map[string]func(*testing.T, *rig, *tab){
		"without_sync_only_the_phone_that_deletes_is_told": withoutSync,
		"with_sync_the_laptop_deletes_too_and_bob_keeps":   withSync,
		"a_laptop_that_was_offline_catches_up":             catchesUp,
		"a_message_after_the_delete_survives_everywhere":   survives,
		"a_late_event_doesnt_touch_what_was_begun_anew":    lateEvent,
		"a_failed_deletion_shows_its_reason":               failed,
		"all_of_it_works_by_keyboard":                      byKeyboard,
		"nothing_that_comes_in_breaks_it":                  nothingBreaksThePage,
		"a_boundary_beyond_the_newest_hides_nothing_new":   beyondTheNewest,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startChat(t)
			r.samples(t)
			story(t, r, chromium.open(t, r))
		})
	}
	for name, story := range map[string]func(*testing.T, *rig, *tab){
		"a_shared_group_is_hidden_for_each_and_erased_for_all": sharedGroup,
		"a_deletion_under_way_shows_how_far_it_is":             underWay,
		"it_is_readable_in_any_window_light_or_dark":           readable,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startChatWithGroups(t)
			if os.Getenv("LETHE_SCREENSHOT") != "" {
				r.older = 300_000 // as on the page
			}
			r.samples(t)
			story(t, r, chromium.open(t, r))
		})
	}
	t.Run("a_standby_that_lags_brings_nothing_back", func(t *testing.T) {
		t.Parallel()
		laggingStandby(t, chromium)
	})
}

// samples sends the messages that the page has for a start.
func (r *rig) samples(t *testing.T) {
	t.Helper()
	data, err := pageFiles.ReadFile("page/samples.json")
	if err != nil {
		t.Fatal(err)
	}
	var messages []struct {
		From, To, Text string
		Older          int64
	}
	if err := json.Unmarshal(data, &messages); err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if m.To == camping && r.groups == "" {
			continue
		}
		if m.Older > 0 {
			if r.older > 0 {
				r.history(t)
			}
			continue
		}
		r.as(t, m.From, m.From+"-other").do(t, http.MethodPost, "/v1/conversations/"+m.To+"/messages",
			map[string]string{"text": m.Text}, http.StatusCreated, nil)
	}
}

// onServer are the texts that the server has of a user's conversation.
func (r *rig) onServer(t *testing.T, user, id string) []string {
	t.Helper()
	return r.as(t, user, user+"-other").texts(t, id)
}

func withoutSync(t *testing.T, r *rig, p *tab) {
	p.remove(t, phone, "c2c_bob")
	p.awaitNoRow(t, phone, "c2c_bob")
	// What the laptop is told later shows that it wasn't told this.
	p.syncOn(t)
	p.remove(t, phone, "c2c_carol")
	p.awaitNoRow(t, laptop, "c2c_carol")
	if !p.hasRow(t, laptop, "c2c_bob") {
		t.Error("the laptop has lost the conversation, although sync was off")
	}
	if !p.hasRow(t, bobs, "c2c_alice") {
		t.Error("bob has lost his copy")
	}
	if got := r.onServer(t, "alice", "c2c_bob"); len(got) > 0 {
		t.Errorf("the server still has %q", got)
	}
	if value[int](t, p, logged("Alice’s laptop still has Bob")) != 1 {
		t.Error("the log doesn't say that the laptop keeps it")
	}
}

func withSync(t *testing.T, r *rig, p *tab) {
	p.syncOn(t)
	p.remove(t, phone, "c2c_bob")
	p.awaitNoRow(t, phone, "c2c_bob")
	p.awaitNoRow(t, laptop, "c2c_bob")
	// A message of bob's that comes later shows that his phone is up to date.
	p.open(t, bobs, "c2c_alice")
	p.send(t, bobs, "new")
	p.awaitLast(t, bobs, "new")
	if got := r.onServer(t, "bob", "c2c_alice"); len(got) != 6 {
		t.Errorf("the server has %q for bob; want his 5 messages and the new one", got)
	}
	if !p.hasRow(t, laptop, "c2c_carol") || !p.hasRow(t, phone, "c2c_carol") {
		t.Error("another conversation has gone as well")
	}
}

func catchesUp(t *testing.T, _ *rig, p *tab) {
	p.syncOn(t)
	p.click(t, network(laptop))
	p.await(t, "the laptop is offline", `document.querySelector("#alice-laptop[data-connection=offline]")`)
	p.remove(t, phone, "c2c_bob")
	p.awaitNoRow(t, phone, "c2c_bob")
	if !p.hasRow(t, laptop, "c2c_bob") {
		t.Error("the laptop knows of the deletion, although it is offline")
	}
	p.click(t, network(laptop))
	p.awaitNoRow(t, laptop, "c2c_bob")
	if value[int](t, p, logged("loaded its chats again")) != 0 {
		t.Error("the laptop has loaded its chats again; want it to catch up by events")
	}
	if !p.hasRow(t, laptop, "c2c_carol") {
		t.Error("another conversation has gone as well")
	}
}

func survives(t *testing.T, r *rig, p *tab) {
	p.syncOn(t)
	p.click(t, network(laptop)) // it hears of both at once, later
	p.open(t, bobs, "c2c_alice")
	p.remove(t, phone, "c2c_bob")
	p.send(t, bobs, "new") // whether or not the worker is done
	p.awaitLast(t, bobs, "new")
	p.await(t, "the phone was told", logged("Alice’s phone deleted Bob"))
	p.click(t, network(laptop))
	p.await(t, "the laptop was told", logged("Alice’s laptop removed Bob"))
	for _, device := range []string{phone, laptop} {
		p.awaitRow(t, device, "c2c_bob")
		p.open(t, device, "c2c_bob")
		p.awaitThread(t, device, "new")
	}
	if got := r.onServer(t, "alice", "c2c_bob"); len(got) != 1 || got[0] != "new" {
		t.Errorf("the server has %q; want the new message", got)
	}
}

func lateEvent(t *testing.T, r *rig, p *tab) {
	p.syncOn(t)
	p.remove(t, phone, "c2c_bob")
	p.awaitNoRow(t, phone, "c2c_bob")
	p.awaitNoRow(t, laptop, "c2c_bob")
	p.open(t, bobs, "c2c_alice")
	p.send(t, bobs, "new")
	for _, device := range []string{phone, laptop} {
		p.awaitRow(t, device, "c2c_bob")
		p.open(t, device, "c2c_bob")
		p.awaitThread(t, device, "new")
	}
	r.repeatEvent(t)
	r.earlierEvent(t, "c2c_bob")
	// Events come in order: after this one the devices have seen the others.
	r.as(t, "alice", "alice-other").do(t, http.MethodPost, "/v1/conversations/c2c_carol:delete", nil, http.StatusAccepted, nil)
	p.click(t, "#alice-phone "+back)
	for _, device := range []string{phone, laptop} {
		p.awaitNoRow(t, device, "c2c_carol")
		p.open(t, device, "c2c_bob")
		p.awaitThread(t, device, "new")
	}
	if got := value[int](t, p, logged("Alice’s laptop removed Bob")); got != 2 {
		t.Errorf("the laptop was told %d times; want once of each deletion", got)
	}
}

// repeatEvent stores the last event of alice's once more, as the stream does for
// one that is published again after its window.
func (r *rig) repeatEvent(t *testing.T) {
	t.Helper()
	js := r.jetStream(t)
	stream, err := js.Stream(t.Context(), conversation.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := stream.GetLastMsgForSubject(t.Context(), conversation.DeletedSubject("demo", "alice"))
	if err != nil {
		t.Fatal(err)
	}
	stored.Header.Del(jetstream.MsgIDHeader)
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: stored.Subject, Header: stored.Header, Data: stored.Data}); err != nil {
		t.Fatal(err)
	}
}

// earlierEvent stores the event of an earlier deletion, which comes late.
func (r *rig) earlierEvent(t *testing.T, id string) {
	t.Helper()
	msg, err := conversation.Deleted{
		CommandID: conversation.NewCommandID(), AppID: "demo", UserID: "alice", ConversationID: id,
		ThroughSeq: 7, MessagesDeleted: 1, MultiClientSync: true, CompletedAt: time.Now(),
	}.Msg(conversation.Trace{})
	if err == nil {
		_, err = r.jetStream(t).PublishMsg(t.Context(), msg)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) jetStream(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(r.nats.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func failed(t *testing.T, r *rig, p *tab) {
	p.open(t, phone, "c2c_bob")
	p.click(t, "#fail")
	p.await(t, "the phone shows the reason", `document.querySelector('#alice-phone .notice[data-state="failed"] code')?.textContent === "command_id_reused"`)
	p.click(t, "#alice-phone "+back)
	p.await(t, "the list shows it too", `document.querySelector('#alice-phone .row[data-state="failed"]').textContent.includes("Its id had been used")`)
	if value[bool](t, p, `document.querySelector('#alice-laptop [data-state="failed"]') !== null`) {
		t.Error("the laptop shows the failure too, although it hasn't asked")
	}
	if got := r.onServer(t, "alice", "c2c_bob"); len(got) != 5 {
		t.Errorf("the server has %q; want all 5 messages", got)
	}
	p.remove(t, phone, "c2c_bob") // again, and well
	p.awaitNoRow(t, phone, "c2c_bob")
}

func byKeyboard(t *testing.T, _ *rig, p *tab) {
	focused := func(selector string) string {
		return fmt.Sprintf("document.activeElement.matches(%q)", selector)
	}
	trash := row(phone, "c2c_bob") + ` [data-part="delete"]`
	p.press(t, kb.Tab)
	p.await(t, "the link to the controls has the focus", focused(".skip"))
	if !value[bool](t, p, `["solid", "auto"].includes(getComputedStyle(document.activeElement).outlineStyle)`) {
		t.Error("the focus can't be seen")
	}
	p.press(t, kb.Tab)
	p.await(t, "deleting all of them has the focus", focused(`#alice-phone [data-part="all"]`))
	p.press(t, kb.Tab)
	p.await(t, "the first conversation has the focus", focused(row(phone, "c2c_bob")+` [data-part="open"]`))
	p.press(t, kb.Tab)
	p.await(t, "its delete button has the focus", focused(trash))
	p.press(t, kb.Enter)
	p.await(t, "the question has the focus, on the harmless answer", focused("#confirm-no"))
	p.press(t, kb.Escape)
	p.await(t, "the focus is back", focused(trash))
	p.press(t, kb.Enter, kb.Tab)
	p.await(t, "the dangerous answer has the focus", focused("#confirm-yes"))
	p.press(t, kb.Enter)
	p.awaitNoRow(t, phone, "c2c_bob")
	p.await(t, "the next conversation has the focus", focused("#alice-phone .row:not([inert]) button"))
	p.press(t, kb.Enter)
	p.await(t, "the message has the focus", focused(`#alice-phone [data-part="input"]`))
	p.press(t, "h", "i", kb.Enter)
	p.awaitLast(t, phone, "hi")
}
