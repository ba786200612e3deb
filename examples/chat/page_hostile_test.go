package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/examples/chat/note"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// malformed are frames that no presence service sends.
var malformed = []string{
	"", "{", "null", "[]", `"x"`, "1", `{"type":null}`, `{"type":"constructor"}`, `{"type":"__proto__"}`,
	`{"type":"message"}`, `{"type":"message","data":null}`, `{"type":"message","data":{"stream":"CONVERSATION_COMMANDS","seq":5}}`,
	`{"type":"message","data":{"conversation_id":"c2c_x","seq":900}}`,
	`{"type":"message","data":{"conversation_id":{"a":1},"seq":900,"sender_id":"bob","sent_at":"2026-11-23T09:00:00Z","text":"x"}}`,
	`{"type":"message","data":{"conversation_id":"c2c_x","seq":900,"sender_id":"bob","sent_at":"whenever","text":"x"}}`,
	`{"type":"message","data":{"conversation_id":"c2c_x","seq":900,"sender_id":7,"sent_at":"2026-11-23T09:00:00Z","text":"x"}}`,
	`{"type":"message","data":{"conversation_id":"c2c_x","seq":"900","sender_id":"bob","sent_at":"2026-11-23T09:00:00Z","text":"x"}}`,
	`{"type":"conversation.deleted","cursor":99999}`, `{"type":"conversation.deleted","cursor":99999,"id":"x","data":{"conversation_id":"c2c_bob"}}`,
	`{"type":"conversation.deleted","cursor":99999,"id":"x","data":{"command_id":"c","conversation_id":"c2c_bob","through_seq":1e300,` +
		`"messages_deleted":0,"history_kept":false,"conversation_removed":true,"multi_client_sync":true}}`,
	`{"type":"conversation.erased","cursor":99999,"id":"x","data":{"command_id":"c","conversation_id":["c2c_bob"],"through_seq":1}}`,
	`{"type":"conversation.all_deleted","cursor":99999,"id":"x","data":{"command_id":"c","conversations":-1,"failed":0,"messages_deleted":0}}`,
	`{"type":"conversation.delete_failed","cursor":99999,"id":"x","data":{"reason":{}}}`, `{"type":"conversation.deleting","data":{"command_id":"c"}}`,
	`{"type":"cursor","cursor":"x"}`, `{"type":"hello","cursor":-1}`, `{"type":"hello","cursor":{},"epoch":5}`,
}

// beforeThePage keeps the page's sockets. On demand it leaves the state that a page
// without checks stored when it was told of a message without a sender, or a
// token of a server that has another key by now.
const beforeThePage = `
	window.sockets = [];
	window.WebSocket = class extends WebSocket {
		constructor(...rest) { super(...rest); sockets.push(this); }
	};
	if (sessionStorage.wrong) {
		const key = "lethe-device-alice-phone";
		const state = JSON.parse(sessionStorage[key]);
		if (sessionStorage.wrong === "token") state.token = "another.key";
		else state.copy.conversations.undefined = { messages: [{ seq: 5 }], unread: 0 };
		sessionStorage[key] = JSON.stringify(state);
		delete sessionStorage.wrong;
	}`

// alone has a device that the page doesn't show, whose servers are in the page, do PLAY and return what comes of it.
const alone = `(async () => {
	const { Device } = await import("/device.js");
	const [realFetch, RealSocket] = [fetch, WebSocket];
	const until = async (condition) => { while (!condition()) await new Promise((done) => setTimeout(done)); };
	const json = (body) => new Response(JSON.stringify(body));
	const lists = []; // answers to requests for the list: each takes the newest message's seq
	const keys = []; // of requests to delete
	let socket, newest = 0, histories = 0;
	const tell = (frame) => socket.onmessage({ data: JSON.stringify(frame) });
	window.WebSocket = class {
		static OPEN = 1;
		readyState = 1;
		constructor(url, protocols) {
			if (!url.startsWith("ws://nowhere")) return new RealSocket(url, protocols);
			socket = this;
		}
		send() {}
		close() {}
	};
	window.fetch = async (path, options = {}) => {
		if (options.body?.includes("alone")) return json({ token: "a.lone" });
		if (options.headers?.Authorization !== "Bearer a.lone") return realFetch(path, options);
		if (options.method === "POST") return json({ command_id: String(keys.push(options.headers["Idempotency-Key"])) });
		if (!path.includes("/messages")) return new Promise((done) => lists.push((seq) => done(json({ conversations: [{ id: "c2c_x", last_seq: newest = seq, unread_count: 0 }] }))));
		histories++;
		return json({ messages: Array.from({ length: newest }, (_, i) => ({ seq: i + 1, sender_id: "x", sent_at: "2026-11-23T09:00:00Z", text: "x" })) });
	};
	const device = new Device({ id: "alone", user: "alice", name: "", kind: "phone" }, "ws://nowhere/");
	const has = () => device.copy.conversations.c2c_x?.messages.length;
	try {
		device.setOnline(true);
		await until(() => socket?.onmessage);
		PLAY
	} finally {
		device.setOnline(false);
		[window.fetch, window.WebSocket] = [realFetch, RealSocket];
		sessionStorage.removeItem("lethe-device-alone");
	}
})()`

// overtaken has the second of two requests for the list answered first: then there are 2 messages, by the first 1.
const overtaken = `
	for (const cursor of [1, 2]) {
		tell({ type: "hello", cursor });
		await until(() => lists.length === cursor);
	}
	lists[1](2);
	await until(() => has() === 2);
	lists[0](1);
	await until(() => histories === 2);
	for (let turns = 0; turns < 10; turns++) await new Promise((done) => setTimeout(done));
	return has() === 2;`

// asksAgain loses the event of a deletion that was accepted.
const asksAgain = `
	tell({ type: "hello", cursor: 1 });
	await until(() => lists.length === 1);
	lists[0](1);
	await until(() => has() === 1);
	await device.remove("c2c_x");
	tell({ type: "resync", lost: true });
	tell({ type: "hello", cursor: 2 });
	await until(() => lists.length === 2);
	for (let turns = 0; turns < 10; turns++) await new Promise((done) => setTimeout(done));
	return keys.length === 2 && keys[0] === keys[1];`

func nothingBreaksThePage(t *testing.T, r *rig, p *tab) {
	script := page.AddScriptToEvaluateOnNewDocumentParams{Source: beforeThePage}
	if _, err := chromedp.Call(p.ctx, page.AddScriptToEvaluateOnNewDocument, script); err != nil {
		t.Fatal(err)
	}
	reload := func() {
		t.Helper()
		p.do(t, chromedp.Reload())
		p.await(t, "the page is there", r.ready())
	}
	reload()
	frames, err := json.Marshal(malformed)
	if err != nil {
		t.Fatal(err)
	}
	told := value[int](t, p, fmt.Sprintf(`sockets.flatMap((s) => %s.map((data) => s.onmessage(new MessageEvent("message", { data })))).length`, frames))
	if want := 3 * len(malformed); told != want {
		t.Fatalf("%d frames were told; want %d", told, want)
	}
	// A device whose connection ends between resync and hello begins again where it was, for it may have lost messages alone.
	if with := value[int](t, p, `(() => {
		for (const s of sockets) s.onmessage(new MessageEvent("message", { data: '{"type":"resync"}' }));
		return Object.keys(sessionStorage).filter((key) => Number.isInteger(JSON.parse(sessionStorage[key]).copy?.cursor)).length;
	})()`); with != 3 {
		t.Errorf("%d devices have a cursor after resync; want 3", with)
	}
	for play, want := range map[string]string{
		overtaken: "a list that a newer one has overtaken to be dropped",
		asksAgain: "a deletion whose event may be lost to be asked for again, under its key",
	} {
		if !value[bool](t, p, strings.ReplaceAll(alone, "PLAY", play)) {
			t.Errorf("want %s", want)
		}
	}
	// An answer that is cut off, or a proxy's, says nothing of the request, which is repeated.
	for _, answer := range []string{
		`new Response(new ReadableStream({ start: (body) => body.error(new TypeError("cut off")) }))`,
		`new Response("<h1>Bad Gateway</h1>", { status: 502 })`,
	} {
		if passing := value[bool](t, p, `(async () => {
			const [{ request }, real] = [await import("/api.js"), fetch];
			window.fetch = async () => `+answer+`;
			try {
				await request("POST", "/v1/conversations:delete");
			} catch (err) {
				return err.passing === true;
			} finally {
				window.fetch = real;
			}
		})()`); !passing {
			t.Errorf("%s is taken for the last word", answer)
		}
	}
	reload()
	p.expected = []string{"401 (Unauthorized)", "HTTP Authentication failed"} // of the token
	for _, wrong := range []string{"state", "token"} {
		value[string](t, p, fmt.Sprintf(`sessionStorage.wrong = %q`, wrong))
		reload()
	}

	// Ids that JavaScript's objects have a meaning for are ids like others.
	for _, id := range []string{"__proto__", "constructor", "toString"} {
		p.awaitNoRow(t, phone, id)
		r.note(t, note.Message{AppID: "demo", UserID: "alice", ConversationID: id, Seq: 1000, SenderID: "bob", SentAt: time.Now(), Text: "hi"})
		p.awaitRow(t, phone, id)
		r.tellDeleted(t, id, 1000)
		p.awaitNoRow(t, phone, id)
		r.note(t, note.Message{AppID: "demo", UserID: "alice", ConversationID: id, Seq: 999, SenderID: "bob", SentAt: time.Now(), Text: "late"})
		r.note(t, note.Message{AppID: "demo", UserID: "alice", ConversationID: id, Seq: 1001, SenderID: "bob", SentAt: time.Now(), Text: "new"})
		p.awaitRow(t, phone, id)
		p.open(t, phone, id)
		p.awaitThread(t, phone, "new")
		p.click(t, "#alice-phone "+back)
	}
	p.do(t, chromedp.Reload())
	p.awaitRow(t, phone, "__proto__")
	p.remove(t, phone, "c2c_bob")
	p.awaitNoRow(t, phone, "c2c_bob")
}

// note tells of a new message, as a gateway does.
func (r *rig) note(t *testing.T, m note.Message) {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	r.send(t, &nats.Msg{Subject: note.Subject(m.AppID, m.UserID), Data: data})
}

// tellDeleted stores the event of a deletion of alice's, for all of her devices.
func (r *rig) tellDeleted(t *testing.T, id string, through int64) {
	t.Helper()
	msg, err := conversation.Deleted{
		CommandID: conversation.NewCommandID(), AppID: "demo", UserID: "alice", ConversationID: id,
		ThroughSeq: through, MessagesDeleted: 1, ConversationRemoved: true, MultiClientSync: true, CompletedAt: time.Now(),
	}.Msg(conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	r.send(t, msg)
}

// send publishes a message and waits until the server has it.
func (r *rig) send(t *testing.T, msg *nats.Msg) {
	t.Helper()
	nc, err := nats.Connect(r.nats.URL())
	if err == nil {
		defer nc.Close()
		err = nc.PublishMsg(msg)
	}
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A device that asks for more than it saw loses no message that comes afterwards,
// also where the workers are late.
func beyondTheNewest(t *testing.T, r *rig, p *tab) {
	p.syncOn(t)
	p.open(t, bobs, "c2c_alice")
	r.signal(t, syscall.SIGSTOP)
	t.Cleanup(func() { _ = r.worker.Signal(syscall.SIGCONT) }) // it couldn't stop otherwise
	r.as(t, "alice", phone).do(t, http.MethodPost, "/v1/conversations/c2c_bob:delete",
		map[string]any{"through_seq": int64(1<<63 - 1)}, http.StatusAccepted, nil)
	p.send(t, bobs, "new")
	p.awaitLast(t, bobs, "new")
	r.signal(t, syscall.SIGCONT)
	for device, sentence := range map[string]string{phone: "Alice’s phone deleted Bob", laptop: "Alice’s laptop removed Bob"} {
		p.await(t, device+" was told", logged(sentence))
		p.open(t, device, "c2c_bob")
		p.awaitThread(t, device, "new")
	}
	p.send(t, bobs, "newer")
	p.awaitThread(t, phone, "new", "newer")
}

// signal sends the worker's process a signal.
func (r *rig) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := r.worker.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// startChatWithStandby starts a stack whose gateway reads from a standby. catchUp
// waits until the standby has all messages; replay stops it where it is, or lets it go on.
func startChatWithStandby(t *testing.T) (r *rig, catchUp func(), replay func(bool)) {
	t.Helper()
	primary, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = primary.Close() })
	standby, err := primary.StartStandby(t.Context(), "reads", localstack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	r = startChatOn(t, &rig{nats: localtest.NATS(t), db: primary.URL(), read: standby.URL()})
	catchUp = func() {
		t.Helper()
		want := messages(t, primary.URL())
		until(t, "the standby has all messages", func() bool { return messages(t, standby.URL()) == want })
	}
	replay = func(on bool) {
		t.Helper()
		do := map[bool]string{true: "resume", false: "pause"}[on]
		query[string](t, standby.URL(), `select pg_wal_replay_`+do+`()::text`)
	}
	return r, catchUp, replay
}

func messages(t *testing.T, address string) int {
	t.Helper()
	return query[int](t, address, `select count(*) from chat.messages`)
}

// query returns the only value that a query has.
func query[T any](t *testing.T, address, sql string) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// asked is how many requests for a path the page has made since it was loaded.
func asked(path string) string {
	return fmt.Sprintf(`performance.getEntriesByType("resource").filter((e) => e.name.includes(%q)).length`, path)
}

func laggingStandby(t *testing.T, chromium *browser) {
	r, catchUp, replay := startChatWithStandby(t)
	r.samples(t)
	catchUp()
	replay(false)
	p := chromium.open(t, r)
	p.syncOn(t)
	p.remove(t, phone, "c2c_bob")
	p.awaitNoRow(t, phone, "c2c_bob")
	p.click(t, row(phone, "c2c_carol")+` [data-part="delete"]`)
	p.click(t, "#confirm-keep")
	p.click(t, "#confirm-yes")
	for _, id := range []string{"c2c_bob", "c2c_carol"} {
		p.awaitNoRow(t, phone, id)
		p.awaitNoRow(t, laptop, id)
	}
	list := func(query string) string {
		var got json.RawMessage
		r.as(t, "alice", "alice-other").do(t, http.MethodGet, "/v1/conversations"+query, nil, http.StatusOK, &got)
		return string(got)
	}
	if old, now := list(""), list("?fresh=true"); !strings.Contains(old, "c2c_bob") || !strings.Contains(old, "c2c_carol") || strings.Contains(now, "c2c_bob") {
		t.Fatalf("the standby has %s, the database %s; want c2c_bob on the standby alone", old, now)
	}
	// All three devices load their lists from the standby.
	p.do(t, chromedp.Reload())
	p.await(t, "the lists are loaded", asked("/v1/conversations?fresh=false")+" >= 3")
	p.await(t, "the devices are online", `document.querySelectorAll("[data-connection=online]").length === 3`)
	for _, device := range []string{phone, laptop} {
		for _, id := range []string{"c2c_bob", "c2c_carol"} {
			if p.hasRow(t, device, id) {
				t.Errorf("%s shows %s again", device, id)
			}
		}
	}
	if n := value[int](t, p, asked("/v1/conversations/c2c_bob/messages")); n > 0 {
		t.Errorf("the devices ask %d times for what was deleted", n)
	}
	p.open(t, bobs, "c2c_alice")
	p.send(t, bobs, "new")
	for _, device := range []string{phone, laptop} {
		p.awaitRow(t, device, "c2c_bob")
		p.open(t, device, "c2c_bob")
		p.awaitThread(t, device, "new")
	}
	// What was sent while a device was away it has once the standby has, also where
	// it has heard of a later message live.
	p.click(t, network(laptop))
	p.await(t, "the laptop is offline", `document.querySelector("#alice-laptop[data-connection=offline]")`)
	p.send(t, bobs, "missed")
	p.awaitLast(t, phone, "missed")
	p.click(t, network(laptop))
	p.await(t, "the laptop is online", `document.querySelector("#alice-laptop[data-connection=online]")`)
	p.send(t, bobs, "live")
	p.awaitLast(t, laptop, "live")
	replay(true)
	catchUp()
	p.click(t, network(laptop))
	p.await(t, "the laptop is offline", `document.querySelector("#alice-laptop[data-connection=offline]")`)
	p.click(t, network(laptop))
	p.awaitThread(t, laptop, "new", "missed", "live")
	replay(false)
	p.remove(t, laptop, "group_book_club")
	p.awaitNoRow(t, phone, "group_book_club")
	// A new device knows no boundary: it doesn't load from the standby. The page that is left must save nothing more.
	p.do(t, chromedp.Evaluate[chromedp.Void](`Storage.prototype.setItem = () => {}; sessionStorage.clear()`), chromedp.Reload())
	p.await(t, "the lists are loaded", asked("/v1/conversations?fresh=true")+" >= 3")
	p.awaitRow(t, phone, "c2c_bob")
	if p.hasRow(t, phone, "group_book_club") {
		t.Error("the new device shows what only the standby has")
	}
}
