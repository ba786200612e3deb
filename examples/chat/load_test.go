package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/examples/chat/token"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// load is the size of TestPresenceUnderLoad. `make bench-presence` makes it large.
type load struct {
	devices int // two of each user
	rate    int // events in a second
	seconds int
}

func loadOf(t *testing.T) load {
	t.Helper()
	number := func(name string, otherwise int) int {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 2 {
			t.Fatalf("%s=%s; want a number", name, text)
		}
		return n
	}
	return load{number("LETHE_PRESENCE_DEVICES", 100), number("LETHE_PRESENCE_RATE", 200), number("LETHE_PRESENCE_SECONDS", 2)}
}

// told is one event at one device.
type told struct {
	device int
	number int // of the event
	after  time.Duration
	err    error
}

// One instance, its own process, tells many devices of many events. How long
// each takes from the worker's publish to the device is printed, and not judged.
func TestPresenceUnderLoad(t *testing.T) {
	t.Parallel()
	size := loadOf(t)
	nats := localtest.NATS(t)
	nc, err := nats.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: conversation.EventsStream, Subjects: []string{"conversation.deleted.*.*", "conversation.delete_failed.*.*"},
		MaxMsgsPerSubject: 1000, AllowDirect: true, Discard: jetstream.DiscardNew,
	}); err != nil {
		t.Fatal(err)
	}
	key := strings.Repeat("k", token.MinKey)
	addr, pid := startPresence(t, nats.URL(), key)
	before := resident(t, pid)

	heard := make(chan told, 1<<16)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for n := range size.devices {
		go attend(ctx, n, connectDevice(t, addr, key, n), heard)
	}
	idle := resident(t, pid)

	events := size.rate * size.seconds
	failed := make(chan error, 1)
	go func() { failed <- publishAll(ctx, js, events, size) }()
	latencies, last := []time.Duration{}, make([]int, size.devices)
	for len(latencies) < 2*events {
		select {
		case h := <-heard:
			if h.err != nil {
				t.Fatalf("device %d: %v", h.device, h.err)
			}
			if h.number <= last[h.device] {
				t.Fatalf("device %d: event %d after %d", h.device, h.number, last[h.device])
			}
			last[h.device] = h.number
			latencies = append(latencies, h.after)
		case err := <-failed:
			if err != nil {
				t.Fatal(err)
			}
			failed = nil
		case <-time.After(timeout):
			t.Fatalf("%d of %d events were told", len(latencies), 2*events)
		}
	}
	slices.Sort(latencies)
	at := func(part float64) time.Duration { return latencies[int(part*float64(len(latencies)-1))] }
	t.Logf("%d devices, %d events/s for %d s, each to 2 devices, from publish to device: p50 %v, p99 %v, p99.9 %v, max %v",
		size.devices, size.rate, size.seconds, at(.5), at(.99), at(.999), at(1))
	if before > 0 {
		t.Logf("resident memory: %d KiB without devices, %d KiB with all connected (%.1f KiB a device), %d KiB after the load",
			before, idle, float64(idle-before)/float64(size.devices), resident(t, pid))
	}
}

// startPresence runs presence as a process until the end of the test.
func startPresence(t *testing.T, natsURL, key string) (addr string, pid int) {
	t.Helper()
	addr = freeAddress(t)
	log := &logText{}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "presence")
	cmd.Env = append(os.Environ(), asChat+"=1", "NATS_URL="+natsURL, "HTTP_ADDR="+addr, "CHAT_TOKEN_KEY="+key)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = timeout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait() // ends with its context; how is told by its code
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("presence ended with %d:\n%s", code, log)
		}
	})
	awaitAnswer(t, "http://"+addr+"/readyz")
	return addr, cmd.Process.Pid
}

// resident is a process's resident memory in KiB; 0 where that can't be read.
func resident(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib
		}
	}
	return 0
}

func loadUser(device int) string { return "user" + strconv.Itoa(device/2) }

// connectDevice connects and waits until the device is live.
func connectDevice(t *testing.T, addr, key string, n int) *websocket.Conn {
	t.Helper()
	tok := token.Key(key).Sign(token.Claims{App: "demo", User: loadUser(n), Device: strconv.Itoa(n), Exp: time.Now().Add(time.Hour).Unix()})
	conn, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/v1/connect",
		&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + tok}}})
	if err != nil {
		t.Fatalf("device %d: %v", n, err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	for range 2 { // hello, cursor
		if _, _, err := conn.Read(t.Context()); err != nil {
			t.Fatalf("device %d: %v", n, err)
		}
	}
	return conn
}

// attend is a device. It ends with ctx.
func attend(ctx context.Context, n int, conn *websocket.Conn, heard chan<- told) {
	for {
		_, data, err := conn.Read(ctx)
		now := time.Now()
		h := told{device: n, err: err}
		if err == nil {
			var event struct {
				Type string `json:"type"`
				Data struct {
					ID string `json:"conversation_id"`
				} `json:"data"`
			}
			if err := json.Unmarshal(data, &event); err != nil || event.Type != conversation.TypeDeleted {
				continue
			}
			var sent int64
			_, h.err = fmt.Sscanf(event.Data.ID, "%d at %d", &h.number, &sent)
			h.after = now.Sub(time.Unix(0, sent))
		}
		select {
		case heard <- h:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// publishAll publishes events as workers do, evenly over time and users.
func publishAll(ctx context.Context, js jetstream.JetStream, events int, size load) error {
	tick := time.NewTicker(time.Second / time.Duration(size.rate))
	defer tick.Stop()
	for n := range events {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := time.Now()
		msg, err := conversation.Deleted{
			CommandID: strconv.Itoa(n), AppID: "demo", UserID: loadUser(n * 2 % size.devices), MultiClientSync: true, CompletedAt: now,
			ConversationID: fmt.Sprintf("%d at %d", n+1, now.UnixNano()),
		}.Msg(conversation.Trace{})
		if err != nil {
			return err
		}
		if _, err := js.PublishMsgAsync(msg); err != nil {
			return err
		}
	}
	return nil
}
