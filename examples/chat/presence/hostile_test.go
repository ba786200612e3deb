package presence

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

func TestOneTokenOpensFewSockets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	type tried struct {
		conn *websocket.Conn
		res  *http.Response
		err  error
	}
	const tries, atOnce = 1000, 20
	results, slots := make(chan tried), make(chan struct{}, atOnce)
	for range tries {
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			conn, res, err := i.try(t, sign("mallory", "d"), nil, nil)
			results <- tried{conn, res, err}
		}()
	}
	var open []*websocket.Conn
	for range tries {
		got := <-results
		switch {
		case got.err == nil:
			open = append(open, got.conn)
			t.Cleanup(func() { _ = got.conn.CloseNow() })
		case got.res == nil || got.res.StatusCode != http.StatusTooManyRequests || got.res.Header.Get("Retry-After") == "":
			t.Fatalf("%v; want a socket, or 429 and Retry-After", got.err)
		}
	}
	if len(open) != i.MaxPerUser {
		t.Errorf("%d of %d sockets are open; want %d", len(open), tries, i.MaxPerUser)
	}
	i.device(t, "alice", "phone").silent(t) // others aren't held up
	_ = open[0].CloseNow()
	i.awaitRoom(t, "mallory")
}

// awaitRoom waits until one more device of the user can connect.
func (i *instance) awaitRoom(t *testing.T, user string) {
	t.Helper()
	eventually(t, "one more device can connect", func() bool {
		conn, _, err := i.try(t, sign(user, "phone"), nil, nil)
		if err == nil {
			t.Cleanup(func() { _ = conn.CloseNow() })
		}
		return err == nil
	})
}

func TestAnInstanceIsFullAtSomePoint(t *testing.T) {
	t.Parallel()
	i := newRig(t).start(t, func(c *Config) { c.MaxDevices = 2 })
	phone := i.device(t, "alice", "phone")
	i.device(t, "bob", "phone")
	if _, res, err := i.try(t, sign("carol", "phone"), nil, nil); err == nil || res == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the third device: %v; want 503", err)
	}
	_ = phone.conn.CloseNow()
	i.awaitRoom(t, "carol")
}

func TestOnlyOwnPagesConnectAndTheTokenIsNotAnswered(t *testing.T) {
	t.Parallel()
	i := newRig(t).start(t, func(c *Config) { c.Hosts = []string{"chat.example"} })
	tok := sign("alice", "d")
	for origin, want := range map[string]int{
		"http://localhost:8080": 101, "https://chat.example": 101,
		"http://evil.example": 403, "null": 403, "http://chat.example.evil.example": 403,
	} {
		conn, res, err := websocket.Dial(t.Context(), i.url+"/v1/connect", &websocket.DialOptions{
			Subprotocols: []string{subprotocol, tokenPrefix + tok}, HTTPHeader: http.Header{"Origin": {origin}},
		})
		if err == nil {
			_ = conn.CloseNow()
		}
		if res == nil || res.StatusCode != want {
			t.Errorf("origin %s: %v; want %d", origin, err, want)
			continue
		}
		if got := fmt.Sprint(res.Header); strings.Contains(got, tok) || want == 101 && res.Header.Get("Sec-WebSocket-Protocol") != subprotocol {
			t.Errorf("origin %s: headers %s; want the subprotocol %s alone", origin, got, subprotocol)
		}
	}
}

func TestWhatADeviceSaysIsBounded(t *testing.T) {
	t.Parallel()
	i := newRig(t).start(t, nil)
	sent := func(id string) string { return `{"type":"sent","command_id":"` + id + `"}` }
	for name, c := range map[string]struct {
		says  []string
		times int
		code  websocket.StatusCode // 0: it stays
	}{
		"what newer devices say": {[]string{`{"type":"unknown"}`, `{"type":"ping","more":1}`}, 1, 0},
		"the longest ids":        {[]string{sent(strings.Repeat("x", 128)), sent(strings.Repeat(`\u00e9`, 64))}, 50, 0},
		"an id too long":         {[]string{sent(strings.Repeat("x", 129))}, 1, closeInvalid},
		"an id of 4 kB":          {[]string{sent(strings.Repeat("x", 4<<10))}, 64, websocket.StatusMessageTooBig},
		"no id":                  {[]string{`{"type":"sent"}`}, 1, closeInvalid},
		"a control character":    {[]string{sent(`a\u0000`)}, 1, closeInvalid},
		"invalid UTF-8":          {[]string{sent("\xff")}, 1, closeInvalid},
		"no JSON":                {[]string{"{"}, 1, closeInvalid},
		"another type":           {[]string{`{"type":1}`}, 1, closeInvalid},
		"a flood of pings":       {[]string{`{"type":"ping"}`}, 1000, closeBusy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := i.device(t, name, "d")
			for n := range c.times {
				// It may be closed already, which the code tells.
				_ = d.conn.Write(t.Context(), websocket.MessageText, []byte(c.says[n%len(c.says)]))
			}
			for pongs := 0; c.code != 0 || pongs == 0; {
				if c.code == 0 {
					d.say(t, `{"type":"ping"}`)
				}
				g, err := d.read(t)
				if err == nil {
					if g.Type == "pong" {
						pongs++
					}
					continue
				}
				if got := websocket.CloseStatus(err); got != c.code {
					t.Errorf("closed with %d (%v); want %d", got, err, c.code)
				}
				return
			}
		})
	}
}

func TestADeviceThatAnswersNoPingIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, func(c *Config) { c.Beat, c.Reply = 10*time.Millisecond, time.Second })
	phone := i.device(t, "alice", "phone") // it reads, and so answers
	i.device(t, "bob", "lost")             // it reads nothing more
	for i.Devices() == 2 {
		phone.expect(t, "cursor")
	}
	for range 50 {
		phone.expect(t, "cursor")
	}
}

// Whatever else comes on the subjects that presence listens to, and in the stream,
// goes to no device.
func TestOnlyWhatIsUnderstoodReachesDevices(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, func(c *Config) { c.Remember = 1 })
	phone := i.device(t, "alice", "phone")
	begin := phone.cursor
	const valid = `{"app_id":"demo.app","user_id":"alice","conversation_id":"c2c_bob","seq":7,"sender_id":"bob","sent_at":"2026-11-23T09:00:00Z","text":"hi"}`
	change := func(old, new string) string { return strings.Replace(valid, old, new, 1) }
	subject := "chat.message." + conversation.EscapeToken(app) + ".alice"
	for _, body := range []string{
		"", "{", "[]", "null", `"x"`, "\xff",
		`{"stream":"CONVERSATION_COMMANDS","seq":5}`, // an acknowledgement whose reply was this subject
		`{"type":"io.nats.jetstream.api.v1.stream_info_response"}`,
		change("alice", "bob"), change("demo.app", "other"), change(`"c2c_bob"`, `""`), change(`"c2c_bob"`, `{"a":1}`),
		change("c2c_bob", strings.Repeat("x", 257)), change(`"seq":7`, `"seq":0`), change(`"seq":7`, `"seq":"7"`), change(`"seq":7`, `"seq":7.5`),
		change(`"bob"`, `""`), change("2026-11-23T09:00:00Z", "yesterday"), change(`"hi"`, `""`), change("hi", strings.Repeat("x", 8193)),
		change("hi", strings.Repeat(`\u0041`, 1<<17)), change("c2c_bob", `c2c\u0000`),
	} {
		if err := r.nc.Publish(subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	forge := func(do func(*nats.Msg)) *nats.Msg {
		msg := deleted(t, "alice", "phone", "forged", true)
		msg.Header.Del(nats.MsgIdHdr)
		do(msg)
		return msg
	}
	body := func(old, new string) *nats.Msg {
		return forge(func(m *nats.Msg) {
			if !strings.Contains(string(m.Data), old) {
				t.Fatalf("no %s in %s", old, m.Data)
			}
			m.Data = []byte(strings.Replace(string(m.Data), old, new, 1))
		})
	}
	for _, msg := range []*nats.Msg{
		body(`"user_id":"alice"`, `"user_id":"bob"`), body(`"through_seq":7`, `"through_seq":-7`), body(`"conversation_id":"forged"`, `"conversation_id":""`),
		body(`"conversation_id":"forged"`, `"conversation_id":"`+strings.Repeat("x", 257)+`"`),
		body(`"command_id":"alice-forged"`, `"command_id":"a\u0007"`), body(`"through_seq":7`, `"through_seq":1e99`),
		forge(func(m *nats.Msg) { m.Header.Set(conversation.HeaderEventID, strings.Repeat("x", 1000)) }),
		forge(func(m *nats.Msg) { m.Header.Set(conversation.HeaderEventType, "conversation.else") }),
		forge(func(m *nats.Msg) { m.Data = []byte(`{"stream":"X","seq":1}`) }),
		forge(func(m *nats.Msg) { m.Header, m.Data = nil, nil }),
	} {
		r.publish(t, msg)
	}
	for _, forged := range []interface {
		Msg(conversation.Trace) (*nats.Msg, error)
	}{
		conversation.Erased{CommandID: "c", AppID: app, UserID: "alice", ConversationID: "forged", ThroughSeq: -7},
		conversation.AllDeleted{CommandID: "c", AppID: app, UserID: "alice", Conversations: -1, MultiClientSync: true},
	} {
		msg, err := forged.Msg(conversation.Trace{})
		if err != nil {
			t.Fatal(err)
		}
		r.publish(t, msg)
	}
	huge := failed(t, "alice", "phone", "forged")
	huge.Data = []byte(strings.Replace(string(huge.Data), "no luck", strings.Repeat("x", 300<<10), 1))
	r.publish(t, huge)

	r.publish(t, deleted(t, "alice", "phone", "sound", true))
	if err := r.nc.Publish(subject, []byte(change(`"text"`, `"more":{"a":1},"text"`))); err != nil {
		t.Fatal(err)
	}
	for seen := map[string]bool{}; len(seen) < 2; {
		g, err := phone.read(t)
		if err != nil {
			t.Fatal(err)
		}
		switch id := g.conversation(t); {
		case g.Type == conversation.TypeDeleted && id == "sound":
		case g.Type == "message" && string(g.Data) == valid:
		default:
			t.Fatalf("got %s %s; want the sound event and message alone", g.Type, g.Data)
		}
		seen[g.Type] = true
	}
	phone.silent(t)
	// Nor do they keep a device from catching up.
	phone.cursor = begin
	phone.reconnect(t, i)
	if got := phone.events(t, 1); got[0] != "deleted sound" {
		t.Errorf("got %v; want the sound event", got)
	}
	phone.silent(t)
}
