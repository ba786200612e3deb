package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/examples/chat/groups"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

const camping = "shared_camping" // as the page knows it

// startChatWithGroups is startChat with a second database and a worker for shared groups.
func startChatWithGroups(t *testing.T) *rig {
	t.Helper()
	return startChatOn(t, &rig{nats: localtest.NATS(t), db: localtest.Database(t), groups: localtest.Database(t)})
}

// startGroups sets the database of shared groups up and runs a worker there.
func (r *rig) startGroups(t *testing.T) {
	t.Helper()
	shard := []string{"--shard=groups", "--plan=groups/plan.yaml"}
	execute(t, r.groups, groups.Schema)
	if r.roles {
		execute(t, r.db, deployed(t, "roles.sql"))
		execute(t, r.groups, deployed(t, "groups.sql"))
	}
	r.setUp(t, r.groupsAs(t, "lethe_setup"), shard...)
	if r.roles {
		execute(t, r.groupsAs(t, "lethe_setup"), deployed(t, "ledger.sql"))
	}
	r.startWorker(t, r.groupsAs(t, "lethe_worker"), shard...)
}

// deployed is a file of the operators'.
func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/postgres/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// groupsAs is the address of the database of shared groups for a role.
func (r *rig) groupsAs(t *testing.T, role string) string {
	t.Helper()
	u, err := url.Parse(r.groups)
	if err != nil {
		t.Fatal(err)
	}
	if r.roles {
		q := u.Query()
		q.Set("user", role)
		u.RawQuery = q.Encode()
	}
	return u.String()
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
	r.as(t, "alice", "alice-other").do(t, "GET", "/v1/demo/rows?group="+camping, nil, http.StatusOK, &got)
	text := fmt.Sprintf("%d rows", got.Rows)
	for _, m := range got.Members {
		text += fmt.Sprintf(", %s %d", m.User, m.Reads)
	}
	return text
}

// In a shared group each hides the messages for themselves, and the last one's deletion
// erases them. Its owner deletes it for everyone at once. Worker and gateway have no more
// than the roles of deploy/postgres there.
func TestASharedGroupGoesAllTheWay(t *testing.T) {
	t.Parallel()
	server, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{}) // roles belong to the whole server
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	shared, _, err := server.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := startChatOn(t, &rig{nats: localtest.NATS(t), db: server.URL(), groups: shared, roles: true})
	phone, bob, carol := r.as(t, "alice", "phone"), r.as(t, "bob", "tablet"), r.as(t, "carol", "phone")
	send := func() {
		t.Helper()
		for _, c := range []*caller{phone, bob, phone} {
			c.do(t, "POST", "/v1/conversations/"+camping+"/messages", map[string]string{"text": "hello"}, http.StatusCreated, nil)
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
	remove := "/v1/conversations/" + camping + ":delete"
	everyone := map[string]any{"scope": "everyone"}

	send()
	check("3 rows, alice 3, bob 3")
	carol.do(t, "POST", "/v1/conversations/"+camping+"/messages", map[string]string{"text": "hello"}, http.StatusForbidden, nil)
	past := map[string]any{"group": camping, "messages": 10}
	carol.do(t, "POST", "/v1/demo/history", past, http.StatusForbidden, nil)
	bob.do(t, "POST", "/v1/demo/history", past, http.StatusOK, nil) // it has messages
	check("3 rows, alice 3, bob 3")
	past["group"] = "group_book_club"
	bob.do(t, "POST", "/v1/demo/history", past, http.StatusBadRequest, nil)
	for c, want := range map[*caller]int{phone: 3, bob: 3, carol: 0} {
		if got := c.texts(t, camping); len(got) != want {
			t.Errorf("one reads %q; want %d messages", got, want)
		}
	}
	if err := try(t, r.groupsAs(t, "chat_gateway"), "update lethe.watermarks set cleared_through = 0"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("the gateway moves a watermark: %v; want that it may only read them", err)
	}
	alices, bobs := phone.listen(t, ""), bob.listen(t, "")
	alices.next(t, "hello")
	bobs.next(t, "hello")

	phone.do(t, "POST", remove, nil, http.StatusAccepted, nil)
	expect(alices, "conversation.deleted", `"erased":false`, `"messages_deleted":3`)
	check("3 rows, alice 0, bob 3")
	if got := phone.texts(t, camping); len(got) > 0 {
		t.Errorf("alice reads %q", got)
	}
	bob.do(t, "POST", remove, nil, http.StatusAccepted, nil)
	expect(bobs, "conversation.deleted", `"messages_deleted":3`)
	expect(bobs, "conversation.erased", camping)
	expect(alices, "conversation.erased", camping)
	check("0 rows, alice 0, bob 0")

	send()
	for range 3 {
		alices.next(t, "message")
		bobs.next(t, "message")
	}
	if got := phone.texts(t, camping); len(got) != 3 {
		t.Errorf("alice reads %q; want what came after her deletion", got)
	}
	bob.do(t, "POST", remove, everyone, http.StatusForbidden, nil)
	phone.do(t, "POST", "/v1/conversations/group_book_club:delete", everyone, http.StatusForbidden, nil)
	phone.do(t, "POST", remove, everyone, http.StatusAccepted, nil)
	for _, l := range []*listener{alices, bobs} {
		expect(l, "conversation.deleted", `"scope":"everyone"`, `"requested_by":"alice"`, `"through_seq":16`)
		expect(l, "conversation.erased", camping)
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

// history gives the shared group its older messages, if it has none.
func (r *rig) history(t *testing.T) {
	t.Helper()
	r.as(t, "alice", "alice-other").do(t, http.MethodPost, "/v1/demo/history",
		map[string]any{"group": camping, "messages": r.older}, http.StatusOK, nil)
}

// awaitStored waits until the page shows what the database has.
func (p *tab) awaitStored(t *testing.T, rows, members string) {
	t.Helper()
	p.await(t, "the database has "+rows+" rows: "+members, fmt.Sprintf(
		`document.querySelector("#stored-rows").textContent === %q && [...document.querySelectorAll("#stored-members li")].map((e) => e.textContent).join(", ") === %q`, rows, members))
}

func sharedGroup(t *testing.T, r *rig, p *tab) {
	t.Helper()
	p.syncOn(t)
	p.awaitStored(t, "5", "Alice reads 5, Bob reads 5")
	p.click(t, row(bobs, camping)+` [data-part="delete"]`)
	if value[bool](t, p, `document.querySelector("#confirm-everyone").offsetParent !== null`) {
		t.Error("bob may delete for everyone, although he isn't the owner")
	}
	p.click(t, "#confirm-no")
	p.open(t, bobs, camping)

	p.remove(t, phone, camping)
	p.awaitNoRow(t, phone, camping)
	p.awaitNoRow(t, laptop, camping)
	p.awaitStored(t, "5", "Alice reads none, Bob reads 5")
	if !p.hasRow(t, bobs, camping) || value[int](t, p, logged("Alice’s phone heard that the rows of Camping have left the database")) > 0 {
		t.Error("bob has lost the group, or its rows are said to be erased")
	}
	p.send(t, bobs, "new")
	p.awaitRow(t, phone, camping)
	p.click(t, "#bob-phone "+back)
	p.remove(t, bobs, camping)
	p.awaitNoRow(t, bobs, camping)
	p.awaitStored(t, "1", "Alice reads 1, Bob reads none")
	for _, name := range []string{"Alice’s phone", "Alice’s laptop"} {
		p.await(t, name+" hears that what it deleted is erased", logged(name+" heard that the rows of Camping have left the database"))
	}
	p.open(t, laptop, camping)
	p.awaitThread(t, laptop, "new")

	// The owner deletes it for everyone.
	r.samples(t)
	p.awaitRow(t, bobs, camping)
	p.awaitStored(t, "6", "Alice reads 6, Bob reads 5")
	p.click(t, row(laptop, camping)+` [data-part="delete"]`)
	p.click(t, "#confirm-everyone")
	p.click(t, "#confirm-yes")
	for _, device := range []string{phone, laptop, bobs} {
		p.awaitNoRow(t, device, camping)
	}
	p.awaitStored(t, "0", "Alice reads none, Bob reads none")
	p.await(t, "the page says how many rows are erased", `document.querySelector("#stored-erased").textContent === "6 erased"`)
	p.await(t, "the log says who deleted it", logged("Bob’s phone removed Camping: Alice deleted it for everyone"))

	// Alice deletes all that she has, of a group with a long past.
	r.older = 1000
	r.history(t)
	r.samples(t) // the second time it has one
	p.awaitRow(t, phone, camping)
	p.awaitStored(t, "1,005", "Alice reads 1,005, Bob reads 1,005")
	p.open(t, bobs, camping)
	p.awaitLast(t, bobs, "Then only the weather is missing.")
	p.click(t, `#bob-phone [data-part="earlier"]`)
	p.await(t, "bob reads older messages", `document.querySelectorAll("#bob-phone .message").length >= 100`)
	p.click(t, "#bob-phone "+back)
	p.click(t, `#alice-phone [data-part="all"]`)
	p.click(t, "#confirm-yes")
	p.await(t, "alice's devices are empty", `document.querySelectorAll("#alice-phone .row, #alice-laptop .row").length === 0`)
	p.await(t, "both commands have ended", logged("Alice’s phone deleted all chats:")+" === 2")
	p.awaitStored(t, "1,005", "Alice reads none, Bob reads 1,005")
	if !p.hasRow(t, bobs, camping) || !p.hasRow(t, bobs, "c2c_alice") {
		t.Error("bob has lost a conversation")
	}
}
