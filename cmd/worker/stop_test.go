package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
)

func TestAStopIsCleanWhereverTheWorkerIs(t *testing.T) {
	t.Parallel()
	away := map[string]string{"DATABASE_URL": "postgres://127.0.0.1:1/db", "NATS_URL": "nats://127.0.0.1:1", "HTTP_ADDR": "127.0.0.1:0", "LOG_FORMAT": "json"}
	for name, args := range map[string][]string{"waiting for the database": {}, "waiting for the setup": {"--setup"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startService(t, vars(away), args...)
			w.wantReady(t, http.StatusServiceUnavailable, "database: ")
			w.stop(t)
		})
	}
	t.Run("with a long deletion in flight", func(t *testing.T) {
		t.Parallel()
		s := newReadyStack(t)
		s.addConversation(t, "group_42", 5000)
		unlock := s.lockMessage(t, "group_42", 3000)
		w := s.startWorking(t, "--express-rows", "100")
		follow := s.follow(t)
		s.send("--conversation", "group_42").mustSucceed(t)
		for waits := false; !waits; {
			e := follow.next(t)
			if e.Deleting == nil {
				t.Fatalf("an event is %+v; want progress until it waits for a lock", e)
			}
			waits = e.Deleting.WaitingFor != "" // a slow machine reports batches before
		}
		w.stop(t)
		if n := s.messages(t, "group_42"); n == 0 || n == 5000 {
			t.Errorf("%d messages left after the stop; want some gone and some left", n)
		}
		unlock()
		s.startWorking(t)
		if d := follow.awaitDeleted(t); d.MessagesDeleted != 5000 {
			t.Errorf("the event tells %d messages; want 5000", d.MessagesDeleted)
		}
	})
}

// lockMessage holds a row until the function that it returns is called.
func (s stack) lockMessage(t *testing.T, id string, seq int) (unlock func()) {
	t.Helper()
	tx, err := s.connect(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select from chat.messages where conversation_id = $1 and seq = $2 for update`, id, seq); err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback(context.Background()) }
}

// startBinary starts the program at path and waits until it works.
func (s stack) startBinary(t *testing.T, path string) (*exec.Cmd, *lines) {
	t.Helper()
	log := newLines()
	ctx, cancel := context.WithTimeout(context.Background(), 2*timeout)
	t.Cleanup(cancel) // kills it, if it still runs
	cmd := exec.CommandContext(ctx, path, "run")
	cmd.Env = append(os.Environ(), "NATS_URL="+s.nats.URL(), "DATABASE_URL="+s.database, "HTTP_ADDR=127.0.0.1:0", "LOG_FORMAT=json")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log.await(t, `"msg":"working"`)
	return cmd, log
}

func TestTheBinary(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "worker")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	terminate := func(t *testing.T, cmd *exec.Cmd) {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("ends with zero within 10 s of SIGTERM", func(t *testing.T) {
		t.Parallel()
		s := newReadyStack(t)
		cmd, log := s.startBinary(t, path)
		s.addConversation(t, "c2c_bob", 5)
		if o := s.send("--conversation", "c2c_bob", "--wait"); o.code != exitOK {
			t.Fatalf("worker send = %d %s; the worker's log:\n%s", o.code, o.stderr, log)
		}
		began := time.Now()
		terminate(t, cmd)
		if err := cmd.Wait(); err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("after SIGTERM the worker ended after %v with %v; want 0 within 10 s; its log:\n%s", time.Since(began), err, log)
		}
	})
	t.Run("ends at once on a second signal", func(t *testing.T) {
		t.Parallel()
		s := newReadyStack(t)
		cmd, log := s.startBinary(t, path)
		slow, err := new(net.Dialer).DialContext(t.Context(), "tcp", addressIn(t, log.await(t, "serving /livez")))
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		if _, err := slow.Write([]byte("GET /livez HTTP/1.1\r\n")); err != nil { // and no more: the stop waits for it
			t.Fatal(err)
		}
		terminate(t, cmd)
		log.await(t, `"msg":"stopping"`)
		terminate(t, cmd)
		if err := cmd.Wait(); err == nil || strings.Contains(log.String(), `"msg":"stopped"`) {
			t.Errorf("after two signals the worker ended with %v; want its end at once; its log:\n%s", err, log)
		}
	})
	t.Run("links no server and no test", func(t *testing.T) {
		t.Parallel()
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, banned := range []string{"nats-server/v2/server", "internal/localstack", "testing\n"} {
			if strings.Contains(string(out), banned) {
				t.Errorf("the worker links %q", strings.TrimSpace(banned))
			}
		}
	})
}

func TestReadyzSaysStoppingWhileTheWorkerStops(t *testing.T) {
	t.Parallel()
	w := newWorker(config{}, plan.Bundled(), slog.New(slog.DiscardHandler))
	w.gate.Open("start")
	site := routes(w.metrics.Registry, readiness{w.gate.Reason, w.throttled, w.altered})
	readyz := func() (int, string) {
		answer := httptest.NewRecorder()
		site.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
		return answer.Code, answer.Body.String()
	}
	if code, body := readyz(); code != http.StatusOK {
		t.Errorf("/readyz = %d %q; want 200", code, body)
	}
	w.parts.add("the test", func(context.Context) error {
		if code, body := readyz(); code != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
			t.Errorf("/readyz = %d %q during the stop; want 503 and stopping", code, body)
		}
		return nil
	})
	if err := w.stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPartsAreClosedLastFirstUnderOneDeadline(t *testing.T) {
	t.Parallel()
	var order []string
	var parts closers
	note := func(name string, err error) {
		parts.add(name, func(context.Context) error { order = append(order, name); return err })
	}
	note("first", errors.New("was broken"))
	hang := make(chan struct{})
	defer close(hang)
	parts.add("second", func(context.Context) error { <-hang; return nil })
	note("third", nil)
	err := parts.close(t.Context(), 20*time.Millisecond, slog.New(slog.DiscardHandler))
	if want := []string{"third", "first"}; !slices.Equal(order, want) {
		t.Errorf("closed %q; want %q", order, want)
	}
	if err == nil || err.Error() != "close second: not done in time\nclose first: was broken" {
		t.Errorf("close = %v; want both errors", err)
	}
}
