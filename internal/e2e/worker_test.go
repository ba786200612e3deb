package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/localstack"
)

// stopLimit is what the contract gives a worker to stop in.
const stopLimit = 10 * time.Second

// binary is the worker, built once for all tests, with the crash points in it.
var binary struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// workerBinary returns the path of the worker.
func workerBinary(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "lethe-e2e-"); binary.err != nil { //nolint:usetesting // for all tests, not for this one
			return
		}
		binary.path = filepath.Join(binary.dir, "worker")
		// Not the test's context: the binary outlives the test.
		binary.err = localstack.Build(context.Background(), binary.path, "cmd/worker", "-tags", "crashpoints", "-ldflags=-s -w")
	})
	if binary.err != nil {
		t.Fatalf("build the worker: %v", binary.err)
	}
	return binary.path
}

// removeBinary is for the end of all tests.
func removeBinary() error { return os.RemoveAll(binary.dir) }

// worker is a process of `worker run`.
type worker struct {
	cmd  *exec.Cmd
	addr string // where it serves /readyz
	log  *logBuffer
	done chan struct{} // closed when it has ended
	err  error         // how; only after done
}

// start runs a worker and waits until it is ready. Settings are flags (with a
// leading dash), variables (NAME=value) or words of LETHE_TEST_LIMITS (name=value).
func (r *rig) start(t testing.TB, settings ...string) *worker {
	t.Helper()
	w := r.launch(t, settings...)
	w.awaitReady(t, timeout)
	return w
}

// launch runs a worker and doesn't wait.
func (r *rig) launch(t testing.TB, settings ...string) *worker {
	t.Helper()
	w := &worker{addr: freeAddress(t), log: &logBuffer{}, done: make(chan struct{})}
	w.cmd = r.command(t, append([]string{"run", "HTTP_ADDR=" + w.addr}, settings...))
	w.cmd.Stdout, w.cmd.Stderr = w.log, w.log
	if err := w.cmd.Start(); err != nil {
		t.Fatalf("start the worker: %v", err)
	}
	go func() {
		w.err = w.cmd.Wait()
		close(w.done)
	}()
	t.Cleanup(func() {
		if t.Failed() && !w.ended() {
			t.Logf("in the database:\n%s", r.activity())
		}
		w.kill()
		if t.Failed() {
			t.Logf("log of worker %d:\n%s", w.cmd.Process.Pid, w.log.last(150))
		}
	})
	return w
}

// activity is what everybody does in the database at this moment, to explain
// what doesn't come to an end.
func (r *rig) activity() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var text string
	err := r.db.QueryRow(ctx, `select coalesce(string_agg(format('%s %s %s %s/%s %s blocked by %s: %s', pid, application_name, state, wait_event_type, wait_event,
			clock_timestamp() - xact_start, pg_blocking_pids(pid), left(regexp_replace(query, '\s+', ' ', 'g'), 300)), E'\n'), '')
		from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`).Scan(&text)
	if err != nil {
		return err.Error()
	}
	return text
}

// command is a call of the worker's binary; words that are neither a flag nor
// an argument but NAME=value go into its environment, and so do those of LETHE_TEST_LIMITS.
func (r *rig) command(t testing.TB, words []string) *exec.Cmd {
	t.Helper()
	program := r.program
	if program == "" {
		program = workerBinary(t)
	}
	// The rig ends the process, so that tests may look at how it ends.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program)
	cmd.Env = append(append([]string{}, r.env...), "PATH="+os.Getenv("PATH"), "TMPDIR="+os.TempDir(), "GOTRACEBACK=all")
	limits := []string{"slow-batch=1m"} // a busy machine is slow, and what waits for that is no test of anything here
	for _, word := range words {
		switch {
		case isVariable(word):
			cmd.Env = append(cmd.Env, word)
		case isLimit(word):
			limits = append(limits, word)
		default:
			cmd.Args = append(cmd.Args, word)
		}
	}
	cmd.Env = append(cmd.Env, "LETHE_TEST_LIMITS="+strings.Join(limits, " "))
	cmd.SysProcAttr = endWithParent()
	return cmd
}

// isLimit reports whether a word belongs into LETHE_TEST_LIMITS.
func isLimit(word string) bool {
	name, _, found := strings.Cut(word, "=")
	return found && slices.Contains([]string{
		"batch-size", "express-lanes", "long-lanes", "min-rows", "max-rows", "statement-timeout", "slow-batch", "erase-poll", "sweep-every",
	}, name)
}

func isVariable(word string) bool {
	name, _, found := strings.Cut(word, "=")
	return found && name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

// signal sends a signal; a process that has ended is fine.
func (w *worker) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("signal %v: %v", s, err)
	}
}

// kill ends the worker as kill -9 does, and waits for its end.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill() // fails only if it has ended
	<-w.done
}

// term stops the worker with SIGTERM and expects a clean end in time.
func (w *worker) term(t testing.TB) {
	t.Helper()
	termAll(t, []*worker{w})
}

// termAll is term for some workers at the same time.
func termAll(t testing.TB, workers []*worker) {
	t.Helper()
	for _, w := range workers {
		w.signal(t, syscall.SIGTERM)
	}
	for _, w := range workers {
		w.cleanEnd(t)
	}
}

// cleanEnd waits for the end after SIGTERM.
func (w *worker) cleanEnd(t testing.TB) {
	t.Helper()
	w.awaitEnd(t, stopLimit)
	if w.err != nil {
		t.Fatalf("after SIGTERM: %v; want exit status 0\n%s", w.err, w.log.last(20))
	}
}

// stop freezes the worker, cont lets it go on.
func (w *worker) stop(t testing.TB) { t.Helper(); w.signal(t, syscall.SIGSTOP) }
func (w *worker) cont(t testing.TB) { t.Helper(); w.signal(t, syscall.SIGCONT) }

// awaitEnd waits until the process has ended, however it does.
func (w *worker) awaitEnd(t testing.TB, limit time.Duration) {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
		t.Fatalf("the worker still runs after %v", limit)
	}
}

func (w *worker) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// awaitReady waits until /readyz says so.
func (w *worker) awaitReady(t testing.TB, limit time.Duration) {
	t.Helper()
	eventually(t, limit, "the worker is ready", func() bool {
		if w.ended() {
			t.Fatalf("the worker ended (%v) before it was ready:\n%s", w.err, w.log.last(20))
		}
		code, _ := w.get(t, "/readyz")
		return code == http.StatusOK
	})
}

// get asks the worker's HTTP server; code 0 stands for no answer.
func (w *worker) get(t testing.TB, path string) (code int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true // no connection stays behind
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, ""
	}
	return res.StatusCode, string(data)
}

// result is how a call of the binary ended.
type result struct {
	out, err string
	code     int
}

// call runs the binary to its end; see rig.start for the settings.
func (r *rig) call(t testing.TB, words ...string) result {
	t.Helper()
	cmd := r.command(t, words)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	timer := time.AfterFunc(2*timeout, func() { _ = cmd.Process.Kill() })
	err := cmd.Run()
	timer.Stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("worker %s: %v", strings.Join(words, " "), err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// must is call, and expects exit status 0. It returns standard output.
func (r *rig) must(t testing.TB, words ...string) string {
	t.Helper()
	res := r.call(t, words...)
	if res.code != 0 {
		t.Fatalf("worker %s: exit status %d\n%s%s", strings.Join(words, " "), res.code, res.out, res.err)
	}
	return res.out
}

// logBuffer keeps what a process prints.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// last returns the last n lines.
func (b *logBuffer) last(n int) string {
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Ports for the workers: below those that nats-servers of the tests take, and
// below those of outgoing connections.
const firstPort, ports = 10000, 5000

var nextPort atomic.Int64

// freeAddress is an address that nobody listens on, and that no other test of
// this process gets.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := firstPort + (int64(os.Getpid())*37+nextPort.Add(1))%ports
		addr := net.JoinHostPort("127.0.0.1", strconv.FormatInt(port, 10))
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return addr
	}
	t.Fatalf("no free port on 127.0.0.1 (%s)", runtime.GOOS)
	return ""
}
