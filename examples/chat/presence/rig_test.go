package presence

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/examples/chat/token"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// timeout is how long a test waits for what takes milliseconds, on a machine
// that has other things to do.
const timeout = 60 * time.Second

const app = "demo.app" // with a byte that subjects escape

var key = token.Key(strings.Repeat("k", token.MinKey))

// rig is a nats-server with the events stream, and a connection that does what
// workers do.
type rig struct {
	nats *localstack.NATS
	nc   *nats.Conn
	js   jetstream.JetStream
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{nats: localtest.NATS(t)}
	r.nc = r.connect(t)
	var err error
	if r.js, err = jetstream.New(r.nc); err != nil {
		t.Fatal(err)
	}
	r.addStream(t)
	return r
}

func (r *rig) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := r.nats.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// addStream makes the events stream as a worker's setup does.
func (r *rig) addStream(t *testing.T) {
	t.Helper()
	_, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: conversation.EventsStream, Subjects: []string{
			conversation.TypeDeleted + ".*.*", conversation.TypeErased + ".*.*", conversation.TypeAllDeleted + ".*.*", conversation.TypeDeleteFailed + ".*.*",
		},
		Discard: jetstream.DiscardNew, MaxAge: time.Hour, MaxMsgsPerSubject: 1000, AllowDirect: true, Duplicates: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) stream(t *testing.T) jetstream.Stream {
	t.Helper()
	s, err := r.js.Stream(t.Context(), conversation.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// publish stores an event and returns its sequence. It tries again while the
// server is away: the id makes it one event.
func (r *rig) publish(t testing.TB, msg *nats.Msg) uint64 {
	t.Helper()
	for stop := time.Now().Add(timeout); ; {
		ack, err := r.js.PublishMsg(t.Context(), msg)
		if err == nil {
			return ack.Sequence
		}
		if time.Now().After(stop) {
			t.Fatalf("publish on %s: %v", msg.Subject, err)
		}
	}
}

// purge removes the events of some subjects, so that the same ones can come again.
func (r *rig) purge(t *testing.T, subject string) {
	t.Helper()
	s := r.stream(t)
	if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(subject)); err != nil {
		t.Fatal(err)
	}
}

// deleted is the event of a deletion of user's conversation that device asked for.
func deleted(t testing.TB, user, device, id string, sync bool) *nats.Msg {
	t.Helper()
	msg, err := conversation.Deleted{
		CommandID: user + "-" + id, AppID: app, UserID: user, ConversationID: id, ThroughSeq: 7, MessagesDeleted: 7,
		MultiClientSync: sync, OriginDeviceID: device, CompletedAt: time.Now(),
	}.Msg(conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// failed is the event of a deletion that fails.
func failed(t testing.TB, user, device, id string) *nats.Msg {
	t.Helper()
	msg, err := conversation.DeleteFailed{
		CommandID: user + "-" + id, AppID: app, UserID: user, ConversationID: id,
		Reason: conversation.ReasonAttemptsExhausted, Message: "no luck", OriginDeviceID: device, FailedAt: time.Now(),
	}.Msg(1, conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// instance is a presence service with its server.
type instance struct {
	*Service
	url string
}

// start starts an instance and waits until it is in order. change may be nil.
func (r *rig) start(t *testing.T, change func(*Config)) *instance {
	t.Helper()
	i := r.launch(t, change)
	select {
	case <-i.Begun():
	case <-time.After(timeout):
		t.Fatalf("presence isn't in order: %s", i.NotReady())
	}
	return i
}

// launch starts an instance.
func (r *rig) launch(t *testing.T, change func(*Config)) *instance {
	t.Helper()
	cfg := Config{App: app, Key: key, NATS: r.connect(t), Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&cfg)
	}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s.Handler())
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10) // little waits in the kernel
		return ctx
	}
	server.Start()
	t.Cleanup(func() {
		s.Close()
		server.Close()
	})
	return &instance{Service: s, url: server.URL}
}

// client is a device.
type client struct {
	user, device string
	conn         *websocket.Conn
	cursor       uint64 // what it would reconnect with
	epoch        string
}

// got is a frame as a device reads it.
type got struct {
	Type   string          `json:"type"`
	Cursor *uint64         `json:"cursor"`
	Epoch  string          `json:"epoch"`
	ID     string          `json:"id"`
	Lost   bool            `json:"lost"`
	Data   json.RawMessage `json:"data"`
}

// conversation is which one an event is about.
func (g got) conversation(t testing.TB) string {
	t.Helper()
	var data struct {
		ID string `json:"conversation_id"`
	}
	if err := json.Unmarshal(g.Data, &data); err != nil {
		t.Fatalf("%s: %v", g.Data, err)
	}
	return data.ID
}

func sign(user, device string) string {
	return key.Sign(token.Claims{App: app, User: user, Device: device, Exp: time.Now().Add(time.Hour).Unix()})
}

// try connects with any token and query, and perhaps an HTTP client of its own. The
// answer is nil where none came.
func (i *instance) try(t testing.TB, tok string, query url.Values, via *http.Client) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	opts := &websocket.DialOptions{HTTPClient: via, HTTPHeader: http.Header{"Authorization": {"Bearer " + tok}}}
	return websocket.Dial(t.Context(), i.url+"/v1/connect?"+query.Encode(), opts)
}

// dial is try for who is taken.
func (i *instance) dial(t testing.TB, tok string, query url.Values, via *http.Client) *websocket.Conn {
	t.Helper()
	conn, _, err := i.try(t, tok, query, via)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

// device connects a new device and waits until it is live.
func (i *instance) device(t testing.TB, user, device string) *client {
	t.Helper()
	c := &client{user: user, device: device}
	c.conn = i.dial(t, sign(user, device), nil, nil)
	c.expect(t, "hello")
	c.expect(t, "cursor")
	return c
}

// reconnect connects a device again, with its cursor, perhaps elsewhere.
func (c *client) reconnect(t testing.TB, i *instance) {
	t.Helper()
	_ = c.conn.CloseNow()
	c.conn = i.dial(t, sign(c.user, c.device), url.Values{"cursor": {strconv.FormatUint(c.cursor, 10)}, "epoch": {c.epoch}}, nil)
	c.expect(t, "hello")
}

// read returns the next frame of any type.
func (c *client) read(t testing.TB) (got, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	_, data, err := c.conn.Read(ctx)
	if err != nil {
		return got{}, err
	}
	var g got
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if g.Cursor != nil {
		c.cursor = *g.Cursor
	}
	if g.Epoch != "" {
		c.epoch = g.Epoch
	}
	return g, nil
}

// expect returns the next frame, which must be of that type.
func (c *client) expect(t testing.TB, want string) got {
	t.Helper()
	g, err := c.read(t)
	if err != nil {
		t.Fatalf("%s of %s: %v; want %s", c.device, c.user, err, want)
	}
	if g.Type != want {
		t.Fatalf("%s of %s got %s %s; want %s", c.device, c.user, g.Type, g.Data, want)
	}
	return g
}

// events returns the conversations of the next events, as "type conversation".
func (c *client) events(t testing.TB, n int) []string {
	t.Helper()
	var all []string
	for len(all) < n {
		g, err := c.read(t)
		if err != nil {
			t.Fatalf("%s of %s: %v; after %d events, want %d", c.device, c.user, err, len(all), n)
		}
		if g.ID != "" {
			all = append(all, strings.TrimPrefix(g.Type, "conversation.")+" "+g.conversation(t))
		}
	}
	return all
}

// silent proves that nothing more comes: it asks for a pong, which would come
// after it.
func (c *client) silent(t testing.TB) {
	t.Helper()
	c.say(t, `{"type":"ping"}`)
	for {
		g, err := c.read(t)
		if err != nil {
			t.Fatalf("%s of %s: %v; want a pong", c.device, c.user, err)
		}
		switch g.Type {
		case "pong":
			return
		case "cursor":
		default:
			t.Fatalf("%s of %s got %s %s; want nothing", c.device, c.user, g.Type, g.Data)
		}
	}
}

func (c *client) say(t testing.TB, text string) {
	t.Helper()
	if err := c.conn.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// closed waits for the end of the connection and checks its code.
func (c *client) closed(t testing.TB, want websocket.StatusCode) {
	t.Helper()
	for {
		if _, err := c.read(t); err != nil {
			if code := websocket.CloseStatus(err); code != want {
				t.Fatalf("%s of %s: closed with %d (%v); want %d", c.device, c.user, code, err, want)
			}
			return
		}
	}
}

// heard waits until an instance has delivered all events up to seq.
func (i *instance) heard(t testing.TB, seq uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("event %d is delivered", seq), func() bool { return i.hub.standing().position >= seq })
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(timeout); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", timeout, what)
		}
	}
}
