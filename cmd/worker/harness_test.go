package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func TestMain(m *testing.M) { localtest.WaitingMain(m) }

// timeout bounds every wait of these tests; nothing that works comes near.
const timeout = 90 * time.Second

// stack is a NATS server and a database of one test.
type stack struct {
	nats     *localstack.NATS
	database string
}

// newStack is a stack in which nothing is set up.
func newStack(t *testing.T) stack {
	t.Helper()
	return stack{nats: localtest.NATS(t), database: localtest.Database(t)}
}

// newReadyStack is a stack after `worker setup --sample-schema`.
func newReadyStack(t *testing.T) stack {
	t.Helper()
	s := newStack(t)
	s.command("setup", "--sample-schema").mustSucceed(t)
	return s
}

// env is the environment of a worker in the stack, with more variables as
// NAME=value.
func (s stack) env(more ...string) func(string) string {
	vars := map[string]string{
		"NATS_URL": s.nats.URL(), "DATABASE_URL": s.database, "HTTP_ADDR": "127.0.0.1:0", "LOG_FORMAT": "json", "LOG_LEVEL": "debug",
		testLimits: "slow-batch=1m", // a busy machine is slow, and what waits for that is no test of anything here
	}
	for _, v := range more {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	return func(name string) string { return vars[name] }
}

// outcome is how a command ended.
type outcome struct {
	args           []string
	code           int
	stdout, stderr string
}

// command runs a subcommand to its end.
func (s stack) command(args ...string) outcome { return execute(s.env(), args...) }

func execute(getenv func(string) string, args ...string) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, getenv, &stdout, &stderr)
	return outcome{args, code, stdout.String(), stderr.String()}
}

func (o outcome) mustSucceed(t *testing.T) outcome {
	t.Helper()
	if o.code != exitOK {
		t.Fatalf("worker %q = %d\nstdout: %s\nstderr: %s", o.args, o.code, o.stdout, o.stderr)
	}
	return o
}

// mustFail wants the exit code, and each text in a single line of stderr.
func (o outcome) mustFail(t *testing.T, code int, texts ...string) outcome {
	t.Helper()
	if o.code != code {
		t.Fatalf("worker %q = %d; want %d\nstdout: %s\nstderr: %s", o.args, o.code, code, o.stdout, o.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("worker %q: stderr is %q; want %q in it", o.args, o.stderr, text)
		}
	}
	return o
}

// objects are the lines of stdout as JSON.
func (o outcome) objects(t *testing.T) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(o.stdout) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("worker %q printed %q: %v", o.args, line, err)
		}
		found = append(found, v)
	}
	return found
}

// lines is a writer that one can wait on.
type lines struct {
	mu    sync.Mutex // guards what follows
	text  bytes.Buffer
	added chan struct{} // closed and replaced at each write
}

func newLines() *lines { return &lines{added: make(chan struct{})} }

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	close(l.added)
	l.added = make(chan struct{})
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits for a line that holds all texts and returns it.
func (l *lines) await(t *testing.T, texts ...string) string {
	t.Helper()
	over := time.After(timeout)
	for {
		l.mu.Lock()
		all, added := l.text.String(), l.added
		l.mu.Unlock()
		for line := range strings.Lines(all) {
			if containsAll(line, texts) {
				return line
			}
		}
		select {
		case <-added:
		case <-over:
			t.Fatalf("no line with %q within %v in:\n%s", texts, timeout, all)
		}
	}
}

func containsAll(s string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(s, text) {
			return false
		}
	}
	return true
}

// service is a `worker run` in this process.
type service struct {
	log    *lines
	url    string
	cancel context.CancelFunc
	code   chan int
}

// start starts `worker run` and waits until it serves HTTP. It is stopped after
// the test. Words that begin with LETHE_ go into its environment.
func (s stack) start(t *testing.T, words ...string) *service {
	t.Helper()
	var args, variables []string
	for _, word := range words {
		if strings.HasPrefix(word, "LETHE_") {
			variables = append(variables, word)
		} else {
			args = append(args, word)
		}
	}
	return startService(t, s.env(variables...), args...)
}

func startService(t *testing.T, getenv func(string) string, args ...string) *service {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &service{log: newLines(), cancel: cancel, code: make(chan int, 1)}
	go func() { w.code <- run(ctx, append([]string{"run"}, args...), getenv, io.Discard, w.log) }()
	t.Cleanup(func() { w.stop(t) })
	w.url = "http://" + addressIn(t, w.log.await(t, "serving /livez"))
	return w
}

// addressIn reads the address in the log line about it.
func addressIn(t *testing.T, line string) string {
	t.Helper()
	var served struct{ Addr string }
	if err := json.Unmarshal([]byte(line), &served); err != nil {
		t.Fatal(err)
	}
	return served.Addr
}

// startWorking starts a worker and waits until it works.
func (s stack) startWorking(t *testing.T, args ...string) *service {
	t.Helper()
	w := s.start(t, args...)
	w.log.await(t, `"msg":"working"`)
	return w
}

// stop ends the worker, as SIGTERM does, and wants 0 within 10 s. Again is fine.
func (w *service) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	select {
	case code := <-w.code:
		w.code <- code
		if code != exitOK {
			t.Errorf("worker run = %d; want 0; its log:\n%s", code, w.log)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("the worker has not stopped within 10 s; its log:\n%s", w.log)
	}
}

// get asks the worker's HTTP server.
func (w *service) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

// wantReady asks until /readyz answers with the status and a body that holds
// text.
func (w *service) wantReady(t *testing.T, status int, text string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	over := time.After(timeout)
	for {
		got, body := w.get(t, "/readyz")
		if got == status && strings.Contains(body, text) {
			return
		}
		select {
		case <-tick.C:
		case <-over:
			t.Fatalf("/readyz = %d %q after %v; want %d with %q; the log:\n%s", got, body, timeout, status, text, w.log)
		}
	}
}

func wantField(t *testing.T, object map[string]any, name string, want any) {
	t.Helper()
	if got := object[name]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s = %v; want %v in %v", name, got, want, object)
	}
}
