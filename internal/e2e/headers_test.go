package e2e

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// publishRaw publishes by the wire's own words, headers as they stand: client
// packages refuse to send such.
func (r *rig) publishRaw(t testing.TB, subject, headers string, data []byte) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.nats.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n",
		subject, len(headers), len(headers)+len(data), headers, data)
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "-ERR") {
			t.Fatalf("publish with the headers %q: %v %s", headers, err, line)
		}
		if strings.HasPrefix(line, "PONG") {
			return
		}
	}
}

// brokenHeaders are headers that no client package would write.
var brokenHeaders = []string{
	"NATS/1.0\r\nX Y: v\r\n\r\n", "NATS/1.0\r\nno colon\r\n\r\n", "NATS/1.0\r\n: no name\r\n\r\n", "NATS/1.0\r\nx/ü: ü\r\n\r\n", "NATS/1.0\r\nX: \x00\xff\r\n\r\n",
	"NATS/1.0\r\nLethe-Retry: 1\r\nLethe-Retry: x\r\nLethe-Stored-At: 0000-00-00\r\n\r\n", "NATS/1.0\r\n folded: v\r\n\r\n", "NATS/1.0 503\r\n\r\n", "NATS/1.0 100 Idle Heartbeat\r\n\r\n",
	"NATS/1.0 408 Request Timeout\r\n\r\n", "NATS/1.0 409 Consumer Deleted\r\n\r\n", "NATS/1.0 404 No Messages\r\n\r\n",
	"NATS/1.0\r\n" + strings.Repeat("X-Many: v\r\n", 3000) + "\r\n",
}

func TestBrokenHeadersStopNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	var chats []chat
	for i, headers := range brokenHeaders {
		c := chat{"demo", fmt.Sprintf("u%d", i), "g"}
		r.fill(t, c, 3)
		chats = append(chats, c)
		cmd := c.ask()
		cmd.CommandID = c.user
		r.publishRaw(t, "conversation.delete.demo", headers, nil)
		r.publishRaw(t, "conversation.delete.demo", headers, []byte("x"))
		r.publishRaw(t, "conversation.delete.demo", headers, encode(t, cmd))
	}
	for i, c := range chats {
		e := r.deleted(t, c.user, "g")
		wantFields(t, e, "messages_deleted", 3)
		if got := names(visible(e.header)); got != "Nats-Msg-Id ce-id ce-source ce-specversion ce-subject ce-time ce-type content-type" {
			t.Errorf("%q: the event has the headers %s", brokenHeaders[i], got)
		}
		r.wantLeft(t, c, nothing)
	}
	r.settled(t)
	letters := map[string]int{}
	for _, l := range r.letters(t) {
		letters[l.header.Get("Lethe-Reason")+" "+string(l.data)]++
	}
	for _, data := range []string{"", "x"} {
		if n := letters["invalid_command "+data]; n != len(brokenHeaders) {
			t.Errorf("%d dead letters of %q; want %d", n, data, len(brokenHeaders))
		}
	}
}
