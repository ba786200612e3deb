package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	sharedlog "github.com/lethe-im/lethe/examples/chat/groups"
	"github.com/lethe-im/lethe/examples/chat/limit"
	"github.com/lethe-im/lethe/examples/chat/token"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/repo"
)

func TestMain(m *testing.M) { localtest.Main(m) }

var key = token.Key(strings.Repeat("k", token.MinKey))

// rig is a gateway with its servers, and no worker.
type rig struct {
	*Gateway
	server *localstack.NATS
	js     jetstream.JetStream
	url    string
}

// newDatabase has the schemas of a gateway.
func newDatabase(t *testing.T) *pgxpool.Pool {
	t.Helper()
	address := localtest.Database(t)
	if _, err := repo.Setup(t.Context(), address, repo.SetupOptions{SampleSchema: true}); err != nil {
		t.Fatal(err)
	}
	db, err := pgxpool.New(context.WithoutCancel(t.Context()), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func newRig(t *testing.T, demo bool) *rig {
	t.Helper()
	r := &rig{server: localtest.NATS(t)}
	db := newDatabase(t)
	nc, err := r.server.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if r.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	r.addStream(t, 1<<20)
	r.Gateway, err = New(Config{
		App: "demo", Key: key, DB: db, NATS: nc, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Demo: demo,
		Shards: map[string]string{}, Databases: map[string]*pgxpool.Pool{},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r.Handler())
	t.Cleanup(r.Close)
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// addStream makes the commands stream as a worker's setup does.
func (r *rig) addStream(t *testing.T, most int64) {
	t.Helper()
	_, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: conversation.CommandsStream, Subjects: []string{"conversation.delete", "conversation.delete.*"},
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, MaxBytes: most, Duplicates: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// commands are all that the stream has.
func (r *rig) commands(t *testing.T) []conversation.Command {
	t.Helper()
	s, err := r.js.Stream(t.Context(), conversation.CommandsStream)
	if err != nil {
		t.Fatal(err)
	}
	var all []conversation.Command
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		raw, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if want := conversation.CommandSubject("demo"); raw.Subject != want {
			t.Errorf("command on %s; want %s", raw.Subject, want)
		}
		cmd, err := conversation.Decode(raw.Data)
		if err != nil {
			t.Fatalf("%s: %v", raw.Data, err)
		}
		all = append(all, cmd)
	}
	return all
}

// call is one request. The zero value of a field leaves it out.
type call struct {
	method, path, body string
	user, key          string
	token              string // instead of user's
}

// answer is what came of it.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

func (r *rig) call(t *testing.T, c call) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), c.method, r.url+c.path, bytes.NewReader([]byte(c.body)))
	if err != nil {
		t.Fatal(err)
	}
	if c.token == "" && c.user != "" {
		c.token = key.Sign(token.Claims{App: "demo", User: c.user, Device: c.user + "-phone", Exp: time.Now().Add(time.Hour).Unix()})
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.key != "" {
		req.Header.Set("Idempotency-Key", c.key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: res.StatusCode, header: res.Header}
	if err := json.Unmarshal(data, &a.body); err != nil {
		t.Fatalf("%s %s: %d %s: %v", c.method, c.path, res.StatusCode, data, err)
	}
	return a
}

// want calls and expects a status.
func (r *rig) want(t *testing.T, status int, c call) answer {
	t.Helper()
	a := r.call(t, c)
	if a.status != status {
		t.Fatalf("%s %s %s: %d %v; want %d", c.method, c.path, c.body, a.status, a.body, status)
	}
	return a
}

// fails calls and expects an error with that code.
func (r *rig) fails(t *testing.T, status int, code string, c call) answer {
	t.Helper()
	a := r.want(t, status, c)
	if e, _ := a.body["error"].(map[string]any); e["code"] != code || e["message"] == "" {
		t.Errorf("%s %s %s: %v; want the code %s and a message", c.method, c.path, c.body, a.body, code)
	}
	return a
}

// path is that of a conversation. Beyond what PathEscape does, a segment of dots
// alone would be taken for a step up, and a colon for the one before the verb.
func path(id, rest string) string {
	return "/v1/conversations/" + strings.NewReplacer(".", "%2E", ":", "%3A").Replace(url.PathEscape(id)) + rest
}

func text(s string) string {
	data, _ := json.Marshal(map[string]string{"text": s}) // a string always can be
	return string(data)
}

func TestCommandsGoToTheShardOfTheApp(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.Shards["demo"] = "eu"
	const eu = "CONVERSATION_COMMANDS_EU"
	if _, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: eu, Subjects: []string{"conversation.shard.eu.delete.*"}}); err != nil {
		t.Fatal(err)
	}
	r.want(t, 202, call{method: "POST", path: path("c2c_bob", ":delete"), user: "alice"})
	r.want(t, 202, call{method: "POST", path: "/v1/demo/reuse", user: "alice", body: `{"command_id":"1","conversation_id":"c2c_bob"}`})
	for stream, want := range map[string]uint64{eu: 2, conversation.CommandsStream: 0} {
		s, err := r.js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CachedInfo().State.Msgs; got != want {
			t.Errorf("%s has %d commands; want %d", stream, got, want)
		}
	}
}

// Bob's messages lie in a database of their own.
func TestEachUserHasADatabase(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.Shards["demo/bob"], r.Databases["b"] = "b", newDatabase(t)
	if _, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CONVERSATION_COMMANDS_B", Subjects: []string{"conversation.shard.b.delete.*"}}); err != nil {
		t.Fatal(err)
	}
	r.want(t, 201, call{method: "POST", path: path("group_all", "/messages"), user: "alice", body: `{"text":"hello"}`})
	for db, want := range map[*pgxpool.Pool]string{r.DB: "alice carol", r.Databases["b"]: "bob"} {
		var owners string
		if err := db.QueryRow(t.Context(), `select string_agg(user_id, ' ' order by user_id) from chat.messages`).Scan(&owners); err != nil || owners != want {
			t.Errorf("a database has the copies of %q, %v; want %q", owners, err, want)
		}
	}
	for _, user := range []string{"alice", "bob"} {
		if got := r.want(t, 200, call{method: "GET", path: path("group_all", "/messages"), user: user}); !strings.Contains(fmt.Sprint(got.body), "hello") {
			t.Errorf("%s reads %s", user, got.body)
		}
	}
	r.want(t, 202, call{method: "POST", path: path("group_all", ":delete"), user: "bob"})
	r.want(t, 202, call{method: "POST", path: path("group_all", ":delete"), user: "alice"})
	for stream, user := range map[string]string{"CONVERSATION_COMMANDS_B": "bob", conversation.CommandsStream: "alice"} {
		s, err := r.js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.GetMsg(t.Context(), 1)
		if err != nil || s.CachedInfo().State.Msgs != 1 || !strings.Contains(string(m.Data), `"user_id":"`+user+`"`) || !strings.Contains(string(m.Data), `"through_seq":1`) {
			t.Errorf("%s has %d commands, the first %v, %v; want %s's with its boundary", stream, s.CachedInfo().State.Msgs, m, err, user)
		}
	}
	r.want(t, 200, call{method: "PUT", path: "/v1/settings", user: "bob", body: `{"multi_client_sync":true}`})
	for _, db := range []*pgxpool.Pool{r.DB, r.Databases["b"]} {
		if on, err := (store{db}).multiClientSync(t.Context(), "demo"); err != nil || !on {
			t.Errorf("the switch in a database: %v, %v; want it on in both", on, err)
		}
	}
}

func TestSharedGroupsHaveCommandsOfTheirOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.deletions = limit.New(limit.Rate{PerSecond: 1, Burst: 10_000}, limit.Rate{PerSecond: 1, Burst: 10_000}) // each of all chats counts as 100
	all := call{method: "POST", path: "/v1/conversations:delete", user: "alice", body: `{"all_conversations":true}`, key: "1"}
	everyone := call{method: "POST", path: path("shared_x", ":delete"), user: "alice", body: `{"scope":"everyone"}`}
	remove := func(body string) call {
		return call{method: "POST", path: "/v1/conversations:delete", user: "alice", body: body}
	}
	// Without a database of them there are none.
	one := r.want(t, 202, all).body
	if one["groups_command_id"] != nil {
		t.Errorf("all chats are %v; want one command", one)
	}
	r.fails(t, 403, "forbidden", everyone)
	r.fails(t, 400, "invalid_request", call{method: "POST", path: path("shared_x", "/messages"), user: "alice", body: text("hi")})

	db := newDatabase(t)
	if _, err := db.Exec(t.Context(), sharedlog.Schema); err != nil {
		t.Fatal(err)
	}
	r.Databases[GroupsShard] = db
	if _, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CONVERSATION_COMMANDS_GROUPS", Subjects: []string{"conversation.shard.groups.*.*"}}); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"alice", "bob", "alice"} {
		r.want(t, 201, call{method: "POST", path: path("shared_x", "/messages"), user: user, body: text("hi")})
	}
	r.fails(t, 403, "forbidden", call{method: "POST", path: path("shared_x", "/messages"), user: "carol", body: text("hi")})
	for _, body := range []string{
		`{"conversations":[{"id":"shared_x"},{"id":"c2c_bob"}]}`, `{"conversations":[{"id":"shared_x"}],"keep_history":true}`,
		`{"conversations":[{"id":"shared_x"}],"scope":"all"}`, `{"conversations":[{"id":"shared_x"}],"all_conversations":true}`,
	} {
		r.fails(t, 400, "invalid_request", remove(body))
	}
	both := r.want(t, 202, all).body
	if both["command_id"] != one["command_id"] || both["groups_command_id"] != one["command_id"].(string)+"-groups" {
		t.Errorf("with the same key all chats are %v, at first %v; want the same, and an id for the groups", both, one)
	}
	all.body = `{"all_conversations":true,"keep_conversation":true}`
	r.fails(t, 422, "key_reused", all)
	r.want(t, 202, everyone)
	everyone.user = "bob"
	r.fails(t, 403, "forbidden", everyone)
	r.want(t, 202, call{method: "POST", path: path("shared_x", ":delete"), user: "bob", body: `{"through_seq":2}`})
	s, err := r.js.Stream(t.Context(), "CONVERSATION_COMMANDS_GROUPS")
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []string{`"all_conversations":true`, `"conversations":[{"id":"shared_x","through_seq":3}],"scope":"everyone"`, `"conversations":[{"id":"shared_x","through_seq":2}]`} {
		m, err := s.GetMsg(t.Context(), uint64(n+1))
		if err != nil || !strings.Contains(string(m.Data), want) {
			t.Fatalf("command %d: %v, %v; want %s", n+1, m, err, want)
		}
		if everyone := m.Subject == conversation.Shard(GroupsShard).DeleteEveryoneSubject("demo"); everyone != (n == 1) {
			t.Errorf("command %d is on %s", n+1, m.Subject)
		}
	}

	// A member reads what is above the watermark, and the list has a group with something to read.
	reads := func(user string) (seqs, listed string) {
		history := r.want(t, 200, call{method: "GET", path: path("shared_x", "/messages"), user: user})
		for _, m := range history.body["messages"].([]any) {
			seqs += fmt.Sprint(m.(map[string]any)["seq"])
		}
		list := r.want(t, 200, call{method: "GET", path: "/v1/conversations", user: user})
		for _, c := range list.body["conversations"].([]any) {
			listed += fmt.Sprint(c.(map[string]any)["id"], c.(map[string]any)["owner"])
		}
		return seqs, listed
	}
	for through, want := range []string{"123 shared_xtrue", "23 shared_xtrue", "3 shared_xtrue", " "} {
		if _, err := db.Exec(t.Context(), `insert into lethe.watermarks (app_id, user_id, conversation_id, cleared_through, cleared_at) values ('demo', 'alice', 'shared_x', $1, now())
			on conflict (app_id, user_id, conversation_id) do update set cleared_through = excluded.cleared_through`, through); err != nil {
			t.Fatal(err)
		}
		if seqs, listed := reads("alice"); seqs+" "+listed != want {
			t.Errorf("cleared through %d alice reads %q, lists %q; want %q", through, seqs, listed, want)
		}
	}
	if seqs, listed := reads("bob"); seqs != "123" || listed != "shared_x<nil>" {
		t.Errorf("bob reads %q, lists %q; want all of it, and that he isn't the owner", seqs, listed)
	}
	if seqs, listed := reads("carol"); seqs+listed != "" {
		t.Errorf("carol, who is no member, reads %q, lists %q", seqs, listed)
	}
}

func TestADeletionBecomesACommandWithABoundary(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	for range 3 {
		r.want(t, 201, call{method: "POST", path: path("c2c_bob", "/messages"), user: "alice", body: text("hi")})
	}
	given := r.want(t, 202, call{method: "POST", path: path("c2c_bob", ":delete"), user: "alice", body: `{"through_seq":2}`})
	open := r.want(t, 202, call{method: "POST", path: path("c2c_bob", ":delete"), user: "alice", body: `{"keep_history":true}`})
	none := r.want(t, 202, call{method: "POST", path: path("c2c_nobody", ":delete"), user: "alice"})
	got := r.commands(t)
	if len(got) != 3 {
		t.Fatalf("%d commands; want 3", len(got))
	}
	for n, want := range []struct {
		id      any
		through int64
		keep    bool
	}{{given.body["command_id"], 2, false}, {open.body["command_id"], 3, true}, {none.body["command_id"], 0, false}} {
		c := got[n]
		if c.CommandID != want.id || c.AppID != "demo" || c.UserID != "alice" || c.DeviceID != "alice-phone" || c.RequestedAt.IsZero() {
			t.Errorf("command %+v; want %v of alice's phone", c, want.id)
		}
		if through := *c.Conversations[0].ThroughSeq; through != want.through || c.KeepHistory != want.keep {
			t.Errorf("through %d, keep %v; want %d, %v", through, c.KeepHistory, want.through, want.keep)
		}
	}
}

func TestManyConversationsAreOneCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	r.want(t, 201, call{method: "POST", path: path("c2c_bob", "/messages"), user: "alice", body: text("hi")})
	many := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`{"id":"c2c_%d"}`, i))
		}
		return `{"conversations":[` + strings.Join(list, ",") + `]}`
	}
	r.want(t, 202, call{method: "POST", path: "/v1/conversations:delete", user: "alice", body: `{"conversations":[{"id":"c2c_bob"},{"id":"x","through_seq":9}]}`})
	r.want(t, 202, call{method: "POST", path: "/v1/conversations:delete", user: "alice", body: many(100)})
	r.fails(t, 400, "invalid_request", call{method: "POST", path: "/v1/conversations:delete", user: "alice", body: many(101)})
	got := r.commands(t)
	if len(got) != 2 || len(got[1].Conversations) != 100 {
		t.Fatalf("commands %+v; want two, the second with 100 conversations", got)
	}
	if a, b := *got[0].Conversations[0].ThroughSeq, *got[0].Conversations[1].ThroughSeq; a != 1 || b != 0 {
		t.Errorf("boundaries %d and %d; want 1, and 0 where there is no message", a, b)
	}
}

func TestABoundaryIsNeverBeyondTheNewestMessage(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	const beyond = `"through_seq":9223372036854775807`
	r.want(t, 201, call{method: "POST", path: path("c2c_bob", "/messages"), user: "alice", body: text("hi")})
	r.want(t, 201, call{method: "POST", path: path("c2c_carol", "/messages"), user: "alice", body: text("hi")})
	for _, body := range []string{`{` + beyond + `}`, `{"keep_history":true,` + beyond + `}`} {
		r.want(t, 202, call{method: "POST", path: path("c2c_bob", ":delete"), user: "alice", key: body, body: body})
	}
	r.want(t, 202, call{method: "POST", path: "/v1/conversations:delete", user: "alice", body: `{"conversations":[{"id":"c2c_bob",` + beyond + `}]}`})
	for n, cmd := range r.commands(t) {
		if got := *cmd.Conversations[0].ThroughSeq; got != 1 {
			t.Errorf("command %d goes through %d; want 1, the conversation's newest message", n, got)
		}
	}
}

func TestDeletionsAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	var passed atomic.Int64 // seconds
	begin := time.Now()
	r.clock = func() time.Time { return begin.Add(time.Duration(passed.Load()) * time.Second) }
	var list []string
	for n := range 100 {
		list = append(list, fmt.Sprintf(`{"id":"c2c_%d"}`, n))
	}
	many := call{method: "POST", path: "/v1/conversations:delete", user: "alice", body: `{"conversations":[` + strings.Join(list, ",") + `]}`}
	one := call{method: "POST", path: path("c2c_bob", ":delete"), user: "alice", key: "k"}
	reuse := call{method: "POST", path: "/v1/demo/reuse", user: "alice", body: `{"command_id":"c1","conversation_id":"c2c_bob"}`}
	r.want(t, 202, many)
	r.want(t, 202, many)
	for _, c := range []struct {
		call
		wait string
	}{{many, "10"}, {one, "1"}, {reuse, "1"}} {
		a := r.fails(t, 429, "rate_limited", c.call)
		if got := a.header.Get("Retry-After"); got != c.wait {
			t.Errorf("%s: Retry-After: %s; want %s", c.path, got, c.wait)
		}
	}
	other := many
	other.user = "bob"
	r.want(t, 202, other)
	passed.Store(1)
	r.want(t, 202, one)
	r.fails(t, 429, "rate_limited", many)
	// Nobody deletes more than ten thousand in a day.
	for n := 0; n < 10_000; n += 100 {
		passed.Add(10)
		if a := r.call(t, many); a.status == 429 {
			wait, err := strconv.Atoi(a.header.Get("Retry-After"))
			if n < 9_000 || err != nil || wait < 60 {
				t.Errorf("after %d more: %v, Retry-After: %d; want a long wait after ten thousand", n, a.body, wait)
			}
			return
		}
	}
	t.Error("more than ten thousand deletions in a day pass")
}

func TestRequestsAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	now := time.Now()
	r.clock = func() time.Time { return now }
	get := call{method: "GET", path: "/v1/settings", user: "alice"}
	for range int(userRequests.Burst) {
		r.want(t, 200, get)
	}
	a := r.fails(t, 429, "rate_limited", get)
	if a.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %s; want 1", a.header.Get("Retry-After"))
	}
	get.user = "bob"
	r.want(t, 200, get)
}

func TestOtherPagesGetNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	own := strings.TrimPrefix(r.url, "http://")
	_, port, _ := net.SplitHostPort(own)
	for _, c := range []struct {
		path, host, origin, site string
		want                     int
	}{
		{"/v1/demo/token", own, "", "", 200}, // a program
		{"/v1/demo/token", own, r.url, "same-origin", 200},
		{"/v1/demo/token", "localhost:" + port, "http://localhost:" + port, "", 200},
		{"/v1/demo/token", "evil.example:" + port, "http://evil.example:" + port, "same-origin", 403}, // DNS rebinding
		{"/v1/demo/token", "evil.example:" + port, "", "", 403},
		{"/v1/demo/token", own, "http://evil.example", "", 403},
		{"/v1/demo/token", own, "http://localhost:1", "", 403}, // another program's page on this machine
		{"/v1/demo/token", own, "null", "", 403},
		{"/v1/demo/token", own, "", "cross-site", 403},
		{"/v1/demo/token", own, "", "same-site", 403},
		{"/v1/conversations/c2c_bob:delete", own, "http://evil.example", "", 403},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+c.path, strings.NewReader(`{"user":"alice","device":"d"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		for name, value := range map[string]string{"Origin": c.origin, "Sec-Fetch-Site": c.site} {
			if value != "" {
				req.Header.Set(name, value)
			}
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != c.want || strings.Contains(string(body), `"token":`) != (c.want == 200) {
			t.Errorf("%+v: %d %s", c, res.StatusCode, body)
		}
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%+v: Access-Control-Allow-Origin: %s; want none", c, got)
		}
	}
}

func TestTheSameKeyIsTheSameCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	send := func() {
		r.want(t, 201, call{method: "POST", path: path("c2c_bob", "/messages"), user: "alice", body: text("hi")})
	}
	remove := call{method: "POST", path: path("c2c_bob", ":delete"), user: "alice", key: "k1"}
	send()
	first := r.want(t, 202, remove)
	send() // the newest message is another one now
	again := r.want(t, 202, remove)
	if first.body["command_id"] != again.body["command_id"] {
		t.Errorf("%v and %v; want the same command", first.body, again.body)
	}
	got := r.commands(t)
	for _, cmd := range got {
		if cmd.CommandID != first.body["command_id"] || *cmd.Conversations[0].ThroughSeq != 1 {
			t.Errorf("command %+v; want the first one again, through 1", cmd)
		}
	}
	if len(got) != 2 {
		t.Errorf("commands %+v; want each request's", got)
	}

	other := remove
	other.body = `{"keep_history":true}`
	r.fails(t, 422, "key_reused", other)
	other = remove
	other.user = "bob"
	if a := r.want(t, 202, other); a.body["command_id"] == first.body["command_id"] {
		t.Error("another user's key is the same command")
	}
	other.key = strings.Repeat("k", 256)
	r.fails(t, 400, "invalid_request", other)
}

func TestGatewaysMayRaceForAKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	ids := make(chan any)
	for range 8 {
		go func() {
			a := r.call(t, call{method: "POST", path: path("c2c_bob", ":delete"), user: "alice", key: "k"})
			ids <- fmt.Sprint(a.status, a.body["command_id"])
		}()
	}
	first := <-ids
	for range 7 {
		if id := <-ids; id != first {
			t.Errorf("%v and %v; want one command", first, id)
		}
	}
	if !strings.HasPrefix(first.(string), "202") {
		t.Errorf("%v; want 202", first)
	}
	for _, cmd := range r.commands(t) {
		if !strings.HasSuffix(first.(string), cmd.CommandID) {
			t.Errorf("command %+v; want all to be %v", cmd, first)
		}
	}
}

func TestAFullStreamIsToldAndGoesByItself(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	remove := call{method: "POST", path: path("c2c_bob", ":delete"), user: "alice", key: "again"}
	s, err := r.js.Stream(t.Context(), conversation.CommandsStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxMsgs = 1
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	r.want(t, 202, call{method: "POST", path: path("c2c_x", ":delete"), user: "alice"})
	a := r.fails(t, 503, "busy", remove)
	if a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want(t, 202, remove)
}

func TestAStreamThatIsAwayIsToldAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	remove := call{method: "POST", path: path("c2c_bob", ":delete"), user: "alice", body: `{"through_seq":1}`}
	if err := r.js.DeleteStream(t.Context(), conversation.CommandsStream); err != nil {
		t.Fatal(err)
	}
	if a := r.fails(t, 503, "unavailable", remove); a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	if err := r.server.Stop(); err != nil {
		t.Fatal(err)
	}
	// The connection may not have noticed: then the command may have been stored.
	if a := r.want(t, 503, remove); a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

func TestADatabaseThatIsAwayIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	r.DB.Close()
	for _, c := range []call{
		{method: "GET", path: "/v1/conversations"},
		{method: "GET", path: path("c2c_bob", "/messages")},
		{method: "POST", path: path("c2c_bob", "/messages"), body: text("x")},
		{method: "POST", path: path("c2c_bob", ":delete")},
		{method: "GET", path: "/v1/settings"},
	} {
		c.user = "alice"
		r.fails(t, 503, "unavailable", c)
	}
	// Without it nobody knows whether a boundary is beyond the newest message.
	r.fails(t, 503, "unavailable", call{method: "POST", path: path("c2c_bob", ":delete"), user: "alice", body: `{"through_seq":1}`})
}

// One that is sent no more requests, since a few users' database is away, serves nobody.
func TestAGatewayIsReadyWithoutTheDatabaseOfAShard(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	r.Databases["b"] = newDatabase(t)
	r.Databases["b"].Close()
	if err := r.Ready(t.Context()); err != nil {
		t.Errorf("Ready = %v; want nil", err)
	}
	r.DB.Close()
	if err := r.Ready(t.Context()); err == nil {
		t.Error("Ready = nil without its own database; want an error")
	}
}

func TestWhoAsksIsChecked(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	claims := token.Claims{App: "demo", User: "alice", Exp: time.Now().Add(time.Hour).Unix()}
	old, other := claims, claims
	old.Exp, other.App = time.Now().Add(-time.Second).Unix(), "other"
	get := call{method: "GET", path: "/v1/conversations"}
	for name, tok := range map[string]string{"none": "", "garbage": "x", "old": key.Sign(old), "another key": token.Key(strings.Repeat("x", 32)).Sign(claims)} {
		get.token = tok
		if a := r.fails(t, 401, "unauthenticated", get); a.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: no WWW-Authenticate", name)
		}
	}
	get.token = key.Sign(other)
	r.fails(t, 403, "forbidden", get)
	get.token = key.Sign(claims)
	r.want(t, 200, get)
	r.fails(t, 403, "forbidden", call{method: "PUT", path: "/v1/settings", user: "alice", body: `{"multi_client_sync":true}`})
	r.fails(t, 404, "not_found", call{method: "POST", path: "/v1/demo/token", body: `{"user":"alice","device":"d"}`})
	claims.Admin = true
	r.want(t, 200, call{method: "PUT", path: "/v1/settings", token: key.Sign(claims), body: `{"multi_client_sync":true}`})
	if a := r.want(t, 200, call{method: "GET", path: "/v1/settings", user: "bob"}); a.body["multi_client_sync"] != true {
		t.Errorf("settings %v; want it on", a.body)
	}
}

func TestBadRequestsAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	for _, c := range []call{
		{method: "POST", path: path("c2c_bob", ":delete"), body: `{`},
		{method: "POST", path: path("c2c_bob", ":delete"), body: `[]`},
		{method: "POST", path: path("c2c_bob", ":delete"), body: `{"through_seq":-1}`},
		{method: "POST", path: path("c2c_bob", ":delete"), body: `{"through_seq":1.5}`},
		{method: "POST", path: path("c2c_bob", ":delete"), body: "{\"x\":\"\xff\"}"},
		{method: "POST", path: path("", ":delete")},
		{method: "POST", path: path(strings.Repeat("x", 257), ":delete")},
		{method: "POST", path: path("a\x00b", ":delete")},
		{method: "POST", path: "/v1/conversations/%ff:delete"},
		{method: "POST", path: "/v1/conversations:delete", body: `{}`},
		{method: "POST", path: "/v1/conversations:delete", body: `{"through_seq":1,"conversations":[{"id":"x"}]}`},
		{method: "POST", path: "/v1/conversations:delete", body: `{"conversations":[{"id":"x"},{"id":"x"}]}`},
		{method: "POST", path: path("c2c_bob", "/messages"), body: `{}`},
		{method: "POST", path: path("c2c_bob", "/messages"), body: text(strings.Repeat("x", 8193))},
		{method: "POST", path: path("c2c_bob", "/messages"), body: text("a\x00b")},
		{method: "POST", path: path("c2c_", "/messages"), body: text("x")},
		{method: "POST", path: path("other", "/messages"), body: text("x")},
		{method: "GET", path: path("c2c_bob", "/messages?limit=0")},
		{method: "GET", path: path("c2c_bob", "/messages?after=x")},
		{method: "GET", path: path("c2c_bob", "/messages?fresh=1")},
		{method: "GET", path: "/v1/conversations?fresh=yes"},
		{method: "GET", path: path("a\x00b", "/messages")},
	} {
		c.user = "alice"
		r.fails(t, 400, "invalid_request", c)
	}
	r.fails(t, 404, "not_found", call{method: "POST", path: path("c2c_bob", ""), user: "alice"})
	r.fails(t, 404, "not_found", call{method: "POST", path: path("c2c_bob:delete", ""), user: "alice"}) // an id, and no verb
	r.fails(t, 404, "not_found", call{method: "POST", path: path("c2c_bob", ":undelete"), user: "alice"})
	r.fails(t, 413, "too_large", call{method: "POST", path: path("c2c_bob", ":delete"), user: "alice", body: strings.Repeat(" ", maxBody+1)})
	if n := len(r.commands(t)); n != 0 {
		t.Errorf("%d commands; want none", n)
	}
}

func TestIdsMayHoldAnything(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	ids := []string{"c2c_a/b", "c2c_a:delete", "c2c_*", "c2c_>", "c2c_..", "..", ".", "a b", "ä/ö?x=1#y", "%2F", "c2c_🙂", `c2c_"\`, ":delete", "messages"}
	for _, id := range ids {
		r.want(t, 202, call{method: "POST", path: path(id, ":delete"), user: id + "!"})
		if strings.HasPrefix(id, "c2c_") {
			r.want(t, 201, call{method: "POST", path: path(id, "/messages"), user: "alice", body: text(id)})
		}
		r.want(t, 200, call{method: "GET", path: path(id, "/messages"), user: "alice"})
	}
	for n, cmd := range r.commands(t) {
		if cmd.Conversations[0].ID != ids[n] || cmd.UserID != ids[n]+"!" {
			t.Errorf("command for %q of %q; want %q", cmd.Conversations[0].ID, cmd.UserID, ids[n])
		}
	}
}

func TestAMessageIsWrittenForEachOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	notes := make(chan *nats.Msg, 10)
	sub, err := r.NATS.ChanSubscribe("chat.message.demo.*", notes)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection ends it as well
	r.want(t, 201, call{method: "POST", path: path("c2c_carol", "/messages"), user: "bob", body: text("bob's first")})
	r.want(t, 201, call{method: "POST", path: path("c2c_bob", "/messages"), user: "alice", body: text("one")})
	a := r.want(t, 201, call{method: "POST", path: path("c2c_alice", "/messages"), user: "bob", body: text("two")})
	if a.body["seq"] != 3.0 { // bob's counter counts all of bob's messages
		t.Errorf("seq %v; want 3", a.body["seq"])
	}
	list := func(user string) string {
		var lines []string
		for _, c := range r.want(t, 200, call{method: "GET", path: "/v1/conversations", user: user}).body["conversations"].([]any) {
			c := c.(map[string]any)
			lines = append(lines, fmt.Sprint(c["id"], " ", c["last_seq"], " ", c["unread_count"]))
		}
		return strings.Join(lines, ", ")
	}
	for user, want := range map[string]string{"alice": "c2c_bob 2 1", "bob": "c2c_alice 3 1, c2c_carol 1 0", "carol": "c2c_bob 1 1"} {
		if got := list(user); got != want {
			t.Errorf("%s's list: %s; want %s", user, got, want)
		}
	}
	var told []string
	for range 6 {
		m := <-notes
		var body struct {
			ConversationID string `json:"conversation_id"`
			Text           string `json:"text"`
		}
		if err := json.Unmarshal(m.Data, &body); err != nil {
			t.Fatal(err)
		}
		told = append(told, m.Subject+" "+body.ConversationID+" "+body.Text)
	}
	for _, want := range []string{"chat.message.demo.alice c2c_bob two", "chat.message.demo.bob c2c_alice two"} {
		if !slices.Contains(told, want) {
			t.Errorf("notes %v; want %s", told, want)
		}
	}
}

func TestHistoryComesInPages(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	for n := range 5 {
		r.want(t, 201, call{method: "POST", path: path("group_1", "/messages"), user: "alice", body: text(fmt.Sprint(n + 1))})
	}
	for query, want := range map[string]string{
		"": "12345", "?limit=2": "45", "?after=2": "345", "?after=2&limit=2": "34", "?before=4&limit=2": "23", "?after=5": "", "?after=0": "12345",
	} {
		a := r.want(t, 200, call{method: "GET", path: path("group_1", "/messages"+query), user: "carol"})
		got := ""
		for _, m := range a.body["messages"].([]any) {
			got += m.(map[string]any)["text"].(string)
		}
		if got != want || a.body["last_seq"] != 5.0 {
			t.Errorf("%s: %s, last %v; want %s, last 5", query, got, a.body["last_seq"], want)
		}
	}
}

func TestManyMayWriteAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	const writers, each = 6, 10
	done := make(chan int)
	for w := range writers {
		user := members[w%len(members)]
		go func() {
			ok := 0
			for range each {
				if r.call(t, call{method: "POST", path: path("group_1", "/messages"), user: user, body: text("x")}).status == 201 {
					ok++
				}
			}
			done <- ok
		}()
	}
	for range writers {
		if ok := <-done; ok != each {
			t.Errorf("%d of %d messages were written", ok, each)
		}
	}
	for _, user := range members {
		a := r.want(t, 200, call{method: "GET", path: path("group_1", "/messages?limit=500"), user: user})
		if n := len(a.body["messages"].([]any)); n != writers*each || a.body["last_seq"] != float64(writers*each) {
			t.Errorf("%s has %d messages, the last %v; want %d", user, n, a.body["last_seq"], writers*each)
		}
	}
}

func TestTheDemoFillsAGroup(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	a := r.want(t, 200, call{method: "POST", path: "/v1/demo/token", body: `{"user":"alice","device":"phone"}`})
	tok, _ := a.body["token"].(string)
	huge := call{method: "GET", path: "/v1/demo/huge", token: tok}
	if got := r.want(t, 200, huge).body["state"]; got != "none" {
		t.Errorf("state %v; want none", got)
	}
	r.want(t, 202, call{method: "POST", path: "/v1/demo/huge", token: tok, body: `{"messages":25000}`})
	tick := time.NewTicker(20 * time.Millisecond) // within the bounds of requests
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); r.want(t, 200, huge).body["state"] == "running"; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("still running after a minute")
		}
	}
	if got := r.want(t, 200, huge).body; got["state"] != "done" || got["done"] != 25000.0 {
		t.Errorf("%v; want 25000 done", got)
	}
	if a := r.want(t, 200, call{method: "GET", path: path("group_huge", "/messages?limit=1"), token: tok}); a.body["last_seq"] != 25000.0 {
		t.Errorf("last_seq %v; want 25000", a.body["last_seq"])
	}
	for _, body := range []string{`{"user":"mallory","device":"d"}`, `{"user":"alice"}`, `{"user":"alice","device":"a\nb"}`} {
		r.fails(t, 400, "invalid_request", call{method: "POST", path: "/v1/demo/token", body: body})
	}
	r.fails(t, 400, "invalid_request", call{method: "POST", path: "/v1/demo/huge", token: tok, body: `{"messages":0}`})
	r.want(t, 202, call{method: "POST", path: "/v1/demo/reuse", token: tok, body: `{"command_id":"c1","conversation_id":"c2c_bob"}`})
	if got := r.commands(t); len(got) != 1 || got[0].CommandID != "c1" {
		t.Errorf("commands %+v; want c1", got)
	}
}

func TestTheDemosFaultyCommandIsStoredOrRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	reuse := call{method: "POST", path: "/v1/demo/reuse", user: "alice", body: `{"command_id":"c1","conversation_id":"c2c_bob"}`}
	s, err := r.js.Stream(t.Context(), conversation.CommandsStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxMsgs = 1
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	r.want(t, 202, reuse)
	r.fails(t, 503, "busy", reuse)
}
