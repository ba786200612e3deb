package presence

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// Events come without a pause while devices come and go at random, also in the
// middle of their catch-up, from one instance to the other.
func TestDevicesThatComeAndGoHearEachEventOnceAndInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	instances := []*instance{
		r.start(t, func(c *Config) { c.Remember = 8 }),
		r.start(t, func(c *Config) { c.Buffer = 8 << 10 }), // some are dropped as too slow
	}
	users := []string{"alice", "bob", "carol"}
	const each = 200
	var all []*client
	for n := range 12 {
		all = append(all, instances[n%2].device(t, users[n%3], fmt.Sprint("device", n)))
	}
	ended := make(chan string, len(all))
	for _, c := range all {
		go func() { ended <- c.wander(t, instances, each) }()
	}
	for n := range each {
		for _, user := range users {
			r.publish(t, deleted(t, user, "", fmt.Sprint(user, n), true))
		}
	}
	for range all {
		if problem := <-ended; problem != "" {
			t.Error(problem)
		}
	}
}

// wander reads events and reconnects now and then, until the user's last one.
func (c *client) wander(t *testing.T, instances []*instance, each int) (problem string) {
	t.Helper()
	var heard []string
	last := uint64(0)
	for n := 0; len(heard) < each; n++ {
		if n > 0 {
			c.reconnect(t, instances[rand.N(len(instances))])
		}
		for left := rand.N(40); left >= 0 && len(heard) < each; left-- {
			g, err := c.read(t)
			if err != nil {
				break
			}
			if g.ID == "" {
				continue
			}
			if *g.Cursor <= last {
				return fmt.Sprintf("%s of %s: event %d after %d", c.device, c.user, *g.Cursor, last)
			}
			last = *g.Cursor
			heard = append(heard, g.conversation(t))
		}
	}
	for n, id := range heard {
		if want := fmt.Sprint(c.user, n); id != want {
			return fmt.Sprintf("%s of %s: event %d is %s; want %s", c.device, c.user, n, id, want)
		}
	}
	return ""
}

// slowly dials like a device with hardly any buffer.
func slowly() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return conn, conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	}}}
}

func TestASlowDeviceIsDroppedAndLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, func(c *Config) { c.Buffer = 16 << 10 })
	quick := i.device(t, "alice", "quick")
	slow := &client{user: "alice", device: "slow"}
	slow.conn = i.dial(t, sign("alice", "slow"), nil, slowly())
	slow.expect(t, "hello")
	slow.expect(t, "cursor")

	const n = 600
	var want []string
	long := strings.Repeat("x", 100)
	for k := range n {
		id := fmt.Sprint(long, k)
		r.publish(t, deleted(t, "alice", "", id, true))
		want = append(want, "deleted "+id)
		if got := quick.events(t, 1); got[0] != want[k] { // while the slow one reads nothing
			t.Fatalf("the quick one got %v; want %s", got, want[k])
		}
	}
	var got []string
	for {
		g, err := slow.read(t)
		if err != nil {
			if code := websocket.CloseStatus(err); code != closeSlow {
				t.Fatalf("closed with %d (%v); want %d", code, err, closeSlow)
			}
			break
		}
		if g.ID != "" {
			got = append(got, "deleted "+g.conversation(t))
		}
	}
	if len(got) == 0 || len(got) == n {
		t.Fatalf("the slow one got %d events before it was dropped; want some", len(got))
	}
	slow.reconnect(t, i)
	got = append(got, slow.events(t, n-len(got))...)
	if !slices.Equal(got, want) {
		t.Errorf("the slow one got %d events, not those %d", len(got), n)
	}
	slow.silent(t)
	quick.silent(t)
}
