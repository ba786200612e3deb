package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// asChat is the variable that makes this test's binary the chat itself.
const asChat = "LETHE_TEST_AS_CHAT"

func TestMain(m *testing.M) {
	if os.Getenv(asChat) != "" {
		main()
	}
	localtest.Main(m, removeWorker)
}

// timeout is how long a test waits for what takes milliseconds, on a machine
// that has other things to do.
const timeout = 60 * time.Second

// binary is the worker, built once for all tests.
var binary struct {
	once sync.Once
	dir  string
	err  error
}

func workerBinary(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "lethe-chat-"); binary.err != nil { //nolint:usetesting // for all tests, not for this one
			return
		}
		// Not the test's context: the binary outlives the test.
		binary.err = localstack.Build(context.Background(), filepath.Join(binary.dir, "worker"), "cmd/worker", "-ldflags=-s -w")
	})
	if binary.err != nil {
		t.Fatalf("build the worker: %v", binary.err)
	}
	return filepath.Join(binary.dir, "worker")
}

// removeWorker is for the end of all tests.
func removeWorker() error { return os.RemoveAll(binary.dir) }

// rig is the whole stack: servers, a worker, and the chat.
type rig struct {
	nats   *localstack.NATS
	db     string
	read   string // a standby of db, "" for none
	groups string // a database for shared groups, "" for none
	roles  bool   // who uses it has the roles of deploy/postgres
	older  int    // messages that the shared group has before the samples, instead of the page's number
	key    string
	log    *logText
	url    string // of the chat

	worker *os.Process
}

// startChat starts a stack with a worker and the chat in role all, with --demo.
func startChat(t *testing.T, args ...string) *rig {
	t.Helper()
	return startChatOn(t, &rig{nats: localtest.NATS(t), db: localtest.Database(t)}, args...)
}

// startChatOn is startChat on servers that are there.
func startChatOn(t *testing.T, r *rig, args ...string) *rig {
	t.Helper()
	r.key, r.log = strings.Repeat("k", 32), &logText{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", r.log)
		}
	})
	r.setUp(t, r.db, "--sample-schema")
	r.worker = r.startWorker(t, r.db)
	if r.groups != "" {
		r.startGroups(t)
	}
	r.url = r.start(t, append([]string{"all", "--demo"}, args...)...)
	return r
}

// startGatewayAlone starts a gateway whose database is away, and returns its address.
func startGatewayAlone(t *testing.T) string {
	t.Helper()
	r := &rig{nats: localtest.NATS(t), db: "postgres://127.0.0.1:1/away", key: strings.Repeat("k", 32), log: &logText{}}
	return r.launch(t, "gateway", "--demo")
}

// setUp sets a database and the streams up.
func (r *rig) setUp(t *testing.T, db string, args ...string) {
	t.Helper()
	setup := exec.CommandContext(t.Context(), workerBinary(t), append([]string{"setup"}, args...)...)
	setup.Env = append(os.Environ(), "NATS_URL="+r.nats.URL(), "DATABASE_URL="+db)
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("worker setup: %v\n%s", err, out)
	}
}

// startWorker runs a worker until the end of the test.
func (r *rig) startWorker(t *testing.T, db string, args ...string) *os.Process {
	t.Helper()
	addr := freeAddress(t)
	cmd := exec.CommandContext(t.Context(), workerBinary(t), append([]string{"run"}, args...)...)
	cmd.Env = append(os.Environ(), "NATS_URL="+r.nats.URL(), "DATABASE_URL="+db, "HTTP_ADDR="+addr)
	cmd.Stdout, cmd.Stderr = r.log, r.log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // after its context has ended
	awaitAnswer(t, "http://"+addr+"/readyz")
	return cmd.Process
}

// execute runs SQL.
func execute(t *testing.T, address, sql string) {
	t.Helper()
	if err := try(t, address, sql); err != nil {
		t.Fatal(err)
	}
}

// try runs SQL that may fail.
func try(t *testing.T, address, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	return err
}

// start runs the chat until the end of the test, and returns its address once it
// is ready.
func (r *rig) start(t *testing.T, args ...string) string {
	t.Helper()
	url := r.launch(t, args...)
	awaitAnswer(t, url+"/readyz")
	return url
}

// launch is start for a chat that never gets ready.
func (r *rig) launch(t *testing.T, args ...string) string {
	t.Helper()
	addr := freeAddress(t)
	env := map[string]string{
		"HTTP_ADDR": addr, "NATS_URL": r.nats.URL(), "DATABASE_URL": r.db, "READ_DATABASE_URL": r.read, "CHAT_TOKEN_KEY": r.key,
	}
	if r.groups != "" {
		env["CHAT_SHARD_DATABASES"] = "groups=" + r.groupsAs(t, "chat_gateway")
	}
	done := make(chan int)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		done <- run(ctx, args, func(name string) string { return env[name] }, io.Discard, r.log)
	}()
	t.Cleanup(func() {
		stop()
		if code := <-done; code != 0 {
			t.Errorf("chat %v: exit code %d; want 0", args, code)
		}
	})
	awaitAnswer(t, "http://"+addr+"/livez")
	return "http://" + addr
}

// awaitAnswer waits until a request is answered with 200.
func awaitAnswer(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s isn't answered with 200 within %v", url, timeout)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// logText collects what several write.
type logText struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// as returns a caller of the API with a token of the demo.
func (r *rig) as(t *testing.T, user, device string) *caller {
	t.Helper()
	c := &caller{url: r.url}
	var got struct {
		Token string `json:"token"`
	}
	c.do(t, "POST", "/v1/demo/token", map[string]string{"user": user, "device": device}, http.StatusOK, &got)
	c.token = got.Token
	return c
}

// caller calls the API.
type caller struct{ url, token string }

// do calls the API with a JSON body, unless it is nil, and reads the answer into
// v, unless that is nil.
func (c *caller) do(t *testing.T, method, path string, body any, want int, v any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if body == nil {
		data = nil
	}
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != want {
		t.Fatalf("%s %s: %d %s; want %d", method, path, res.StatusCode, got, want)
	}
	if v != nil {
		if err := json.Unmarshal(got, v); err != nil {
			t.Fatalf("%s %s: %s: %v", method, path, got, err)
		}
	}
}

// texts are those of a conversation that the caller reads.
func (c *caller) texts(t *testing.T, id string) []string {
	t.Helper()
	var got struct {
		Messages []struct {
			Text string `json:"text"`
		} `json:"messages"`
	}
	c.do(t, http.MethodGet, "/v1/conversations/"+id+"/messages", nil, http.StatusOK, &got)
	texts := []string{}
	for _, m := range got.Messages {
		texts = append(texts, m.Text)
	}
	return texts
}
