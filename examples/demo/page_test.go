package main

import (
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startPage runs `demo page` until it serves, and returns its address.
func startPage(t *testing.T) (d *demo, url string) {
	t.Helper()
	address, err := freeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d = startDemo(t, "page", "-addr="+address)
	d.readTo(t, "Open ")
	return d, "http://" + address
}

func TestPageComesUpWithConversationsAndGoesDownLeavingNothing(t *testing.T) {
	t.Parallel()
	d, url := startPage(t)
	defer http.DefaultClient.CloseIdleConnections()
	alice, err := api{url: url}.login(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Conversations []struct {
			ID string `json:"id"`
		} `json:"conversations"`
	}
	if err := alice.call(t.Context(), http.MethodGet, "/v1/conversations", nil, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Conversations) != 4 || got.Conversations[0].ID != "shared_camping" || got.Conversations[1].ID != "c2c_bob" {
		t.Errorf("alice has %v; want 4 conversations, with the shared group the newest, and then bob", got.Conversations)
	}
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := d.end(t); code != exitHeld {
		t.Errorf("exit status %d; want %d\n%s%s", code, exitHeld, &d.text, &d.stderr)
	}
	if left := d.left(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
	if d.stderr.Len() > 0 || !strings.Contains(d.text.String(), "Stopped.") {
		t.Errorf("printed %s and on standard error %s", &d.text, &d.stderr)
	}
}

func TestKilledPageLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	d, _ := startPage(t)
	if err := d.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.end(t)
	d.awaitNothingLeft(t)
}

func TestBusyPortIsToldBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var stdout, stderr strings.Builder
	began := time.Now()
	code := run(t.Context(), []string{"page", "-addr=" + l.Addr().String()}, &stdout, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), "-addr "+l.Addr().String()+" can't be served, choose another") {
		t.Errorf("exit status %d after %v: %s", code, time.Since(began), &stderr)
	}
	if strings.Contains(stdout.String(), "Postgres") {
		t.Errorf("it had started already:\n%s", &stdout)
	}
}

func TestPageURLIsOneThatABrowserOpens(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		":8080":          "http://localhost:8080/",
		"0.0.0.0:80":     "http://localhost:80/",
		"[::]:8080":      "http://localhost:8080/",
		"127.0.0.1:8080": "http://127.0.0.1:8080/",
		"[::1]:8080":     "http://[::1]:8080/",
	} {
		if got := (page{addr}).url(); got != want {
			t.Errorf("%s: %s; want %s", addr, got, want)
		}
	}
}
