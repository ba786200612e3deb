package presence

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/examples/chat/token"
)

func TestANewDeviceHearsNothingOfThePast(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	seq := r.publish(t, deleted(t, "alice", "phone", "old", true))
	i := r.start(t, nil)
	phone := i.device(t, "alice", "phone")
	if phone.cursor != seq {
		t.Errorf("cursor %d; want %d", phone.cursor, seq)
	}
	phone.silent(t)
}

// missing publishes events of all kinds for alice's phone and others, and returns
// what the phone is to hear.
func (r *rig) missing(t *testing.T, name string) (want []string) {
	t.Helper()
	for n := range 10 {
		id := fmt.Sprintf("%s-%d", name, n)
		r.publish(t, deleted(t, "alice", "laptop", "not-"+id, false))
		r.publish(t, deleted(t, "bob", "phone", id, true))
		if n%3 == 0 {
			r.publish(t, failed(t, "alice", "phone", id))
			want = append(want, "delete_failed "+id)
		} else {
			r.publish(t, deleted(t, "alice", "phone", id, n%2 == 0))
			want = append(want, "deleted "+id)
		}
	}
	return want
}

func TestADeviceThatWasAwayHearsWhatItMissedInOrder(t *testing.T) {
	t.Parallel()
	for name, remember := range map[string]int{
		"from memory": 1000, "from the stream": 1, "from both": 8,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			i := r.start(t, func(c *Config) { c.Remember = remember })
			phone := i.device(t, "alice", "phone")
			before := phone.cursor
			_ = phone.conn.CloseNow()
			want := r.missing(t, "away")
			i.heard(t, r.publish(t, deleted(t, "bob", "x", "last", false)))
			phone.reconnect(t, i)
			if got := phone.events(t, len(want)); !slices.Equal(got, want) {
				t.Fatalf("got %v; want %v", got, want)
			}
			phone.silent(t)
			// Once more from the same place: the same events.
			phone.cursor = before
			phone.reconnect(t, i)
			if got := phone.events(t, len(want)); !slices.Equal(got, want) {
				t.Fatalf("the second time: got %v; want %v", got, want)
			}
			// And from where it is now: none.
			phone.silent(t)
			phone.reconnect(t, i)
			phone.silent(t)
		})
	}
}

func TestARepeatedEventIsToldOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, func(c *Config) { c.Remember = 1 })
	phone := i.device(t, "alice", "phone")
	_ = phone.conn.CloseNow()
	again := func(n int) {
		msg := deleted(t, "alice", "phone", "x", true)
		msg.Header.Set(nats.MsgIdHdr, fmt.Sprint("another", n)) // as after the stream's window
		r.publish(t, msg)
	}
	again(1)
	again(2)
	i.heard(t, r.publish(t, deleted(t, "bob", "phone", "y", false)))
	phone.reconnect(t, i)
	if got := phone.events(t, 1); got[0] != "deleted x" {
		t.Fatalf("got %v; want x", got)
	}
	again(3)
	i.heard(t, r.publish(t, deleted(t, "bob", "phone", "z", false)))
	phone.silent(t)
}

func TestACursorThatTheStreamDoesNotReachBackToReloads(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*testing.T, *rig){
		"the front has gone": func(t *testing.T, r *rig) {
			t.Helper()
			if err := r.stream(t).Purge(t.Context(), jetstream.WithPurgeKeep(2)); err != nil {
				t.Fatal(err)
			}
		},
		"too many of one user": func(t *testing.T, r *rig) {
			t.Helper()
			cfg := r.stream(t).CachedInfo().Config
			cfg.MaxMsgsPerSubject = 5
			if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.publish(t, deleted(t, "alice", "phone", "first", true))
			i := r.start(t, func(c *Config) { c.Remember = 1 })
			phone := i.device(t, "alice", "phone")
			_ = phone.conn.CloseNow()
			r.missing(t, "away")
			last := r.publish(t, deleted(t, "bob", "phone", "last", true))
			i.heard(t, last)
			lose(t, r)
			phone.reconnect(t, i)
			if !phone.expect(t, "resync").Lost {
				t.Error("the device isn't told that events are lost")
			}
			phone.expect(t, "hello")
			if phone.cursor != last {
				t.Errorf("cursor %d; want %d", phone.cursor, last)
			}
			phone.silent(t)
			r.publish(t, deleted(t, "alice", "phone", "new", true))
			if got := phone.events(t, 1); got[0] != "deleted new" {
				t.Errorf("got %v; want new", got)
			}
		})
	}
}

// Also 0 is a cursor: that of a device which was there before the stream's first event.
func TestACursorOfTheStreamsBeginningMayBeTooOld(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, func(c *Config) { c.Remember = 1 })
	phone := i.device(t, "alice", "phone")
	_ = phone.conn.CloseNow()
	r.missing(t, "away")
	last := r.publish(t, deleted(t, "bob", "phone", "last", true))
	i.heard(t, last)
	if phone.cursor != 0 {
		t.Fatalf("cursor %d; want 0", phone.cursor)
	}
	if err := r.stream(t).Purge(t.Context(), jetstream.WithPurgeKeep(2)); err != nil {
		t.Fatal(err)
	}
	phone.reconnect(t, i)
	if !phone.expect(t, "resync").Lost {
		t.Error("the device isn't told that events are lost")
	}
}

func TestACursorOfAnotherStreamReloads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone := i.device(t, "alice", "phone")
	for _, c := range []struct {
		name   string
		change func()
	}{
		{"beyond the end", func() { phone.cursor = 1000 }},
		{"another epoch", func() { phone.epoch = "another" }},
	} {
		c.change()
		phone.reconnect(t, i)
		phone.expect(t, "resync")
		phone.expect(t, "hello")
		if phone.cursor != 0 {
			t.Errorf("%s: cursor %d; want 0", c.name, phone.cursor)
		}
		phone.silent(t)
	}
}

// A device that loses its connection right after hello comes back with what hello said. That must not be the cursor of one
// stream and the epoch of another: what was stored up to there would be missed.
func TestADeviceOfAnotherStreamIsToldToReloadHoweverOftenItIsInterrupted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone := i.device(t, "alice", "phone")
	for n := range 3 {
		r.publish(t, deleted(t, "alice", "phone", fmt.Sprint(n), false))
	}
	phone.events(t, 3)
	phone.cursor, phone.epoch = 2, "another"
	phone.reconnect(t, i) // and gets no further than hello
	phone.reconnect(t, i)
	if !phone.expect(t, "resync").Lost {
		t.Error("nothing was lost; want another stream's cursor to be too old")
	}
	if phone.expect(t, "hello"); phone.cursor != 3 {
		t.Errorf("cursor %d; want 3", phone.cursor)
	}
}

// A stream may also be made again while a device catches up. It hasn't joined by then, so that nobody tells it.
func TestADeviceDoesNotJoinWithTheCursorOfAnotherStream(t *testing.T) {
	t.Parallel()
	h := newHub(8)
	h.align(time.Unix(1, 0), jetstream.StreamState{FirstSeq: 1, LastSeq: 5})
	now := h.standing()
	d := &device{user: "alice", cursor: now.position, epoch: now.epoch}
	h.align(time.Unix(2, 0), jetstream.StreamState{})
	if _, lacks := h.join(d); !errors.Is(lacks, errAnotherStream) {
		t.Errorf("join = %v; want %v: it would ignore the new stream's first 5 events", lacks, errAnotherStream)
	}
}

func TestACursorThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	i := newRig(t).start(t, nil)
	for _, query := range []url.Values{
		{"cursor": {"-1"}}, {"cursor": {"x"}}, {"cursor": {"1.5"}}, {"cursor": {"99999999999999999999"}}, {"epoch": {strings.Repeat("x", 1000)}},
	} {
		conn, res, err := i.try(t, sign("alice", "d"), query, nil)
		if err == nil {
			_ = conn.CloseNow()
			t.Fatalf("%v was taken", query)
		}
		if res == nil || res.StatusCode != http.StatusBadRequest {
			t.Errorf("%v: %v; want 400", query, err)
		}
	}
}

func TestATokenThatIsNoneGetsNoSocket(t *testing.T) {
	t.Parallel()
	i := newRig(t).start(t, nil)
	claims := token.Claims{App: app, User: "alice", Device: "d", Exp: time.Now().Add(time.Hour).Unix()}
	other, old := claims, claims
	other.App, old.Exp = "other", time.Now().Unix()
	for name, c := range map[string]struct {
		token string
		query url.Values
		want  int
	}{
		"none": {want: 401}, "garbage": {token: "a.b", want: 401}, "cut": {token: sign("alice", "d")[1:], want: 401},
		"another key": {token: token.Key(strings.Repeat("x", 32)).Sign(claims), want: 401}, "expired": {token: key.Sign(old), want: 401},
		"another app":     {token: key.Sign(other), want: 403},
		"only in the URL": {query: url.Values{"token": {key.Sign(claims)}}, want: 401},
	} {
		_, res, err := i.try(t, c.token, c.query, nil)
		if err == nil || res == nil || res.StatusCode != c.want || c.want == 401 && res.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %v; want %d", name, err, c.want)
		}
	}
}

func TestAConnectionEndsWithItsToken(t *testing.T) {
	t.Parallel()
	i := newRig(t).start(t, func(c *Config) { c.Beat = 10 * time.Millisecond })
	tok := key.Sign(token.Claims{App: app, User: "alice", Device: "d", Exp: time.Now().Add(2 * time.Second).Unix()})
	c := &client{user: "alice", conn: i.dial(t, tok, nil, nil)}
	c.expect(t, "hello")
	c.closed(t, closeToken)
}

func TestADeviceIsToldHowFarTheStreamIs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, func(c *Config) { c.Beat = 10 * time.Millisecond })
	phone := i.device(t, "alice", "phone")
	seq := r.publish(t, deleted(t, "bob", "phone", "x", true))
	for phone.cursor != seq {
		phone.expect(t, "cursor")
	}
}

func TestADeviceMayMoveFromOneInstanceToAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.start(t, nil), r.start(t, nil)
	phone, laptop := a.device(t, "alice", "phone"), b.device(t, "alice", "laptop")
	for n, to := range []*instance{b, a, b} {
		id := fmt.Sprint("live", n)
		r.publish(t, deleted(t, "alice", "phone", id, true))
		for _, c := range []*client{phone, laptop} {
			if got := c.events(t, 1); got[0] != "deleted "+id {
				t.Fatalf("%s got %v; want %s", c.device, got, id)
			}
		}
		_ = phone.conn.CloseNow()
		id = fmt.Sprint("away", n)
		r.publish(t, deleted(t, "alice", "laptop", id, true))
		laptop.events(t, 1)
		phone.reconnect(t, to)
		if got := phone.events(t, 1); got[0] != "deleted "+id {
			t.Fatalf("got %v; want %s", got, id)
		}
		phone.silent(t)
	}
}

func TestAnInstanceHasOneConsumerAndTakesItAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.start(t, nil), r.start(t, nil)
	var devices []*client
	for n := range 20 {
		user := fmt.Sprint("user", n)
		devices = append(devices, a.device(t, user, "phone"), b.device(t, user, "phone"))
	}
	consumers := func() int {
		info, err := r.stream(t).Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Consumers
	}
	if n := consumers(); n != 2 {
		t.Errorf("%d consumers of two instances; want 2", n)
	}
	for _, c := range devices {
		_ = c.conn.CloseNow()
	}
	a.Close()
	b.Close()
	if n := consumers(); n != 0 {
		t.Errorf("%d consumers at the end; want 0", n)
	}
}

func TestClosingSendsDevicesElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.start(t, nil), r.start(t, nil)
	phone := a.device(t, "alice", "phone")
	closing := make(chan struct{})
	go func() { a.Close(); close(closing) }()
	phone.closed(t, closeAway)
	<-closing
	r.publish(t, deleted(t, "alice", "phone", "x", true))
	phone.reconnect(t, b)
	if got := phone.events(t, 1); got[0] != "deleted x" {
		t.Errorf("got %v; want x", got)
	}
	if _, res, err := a.try(t, sign("alice", "phone"), nil, nil); err == nil || res == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a closed instance: %v; want 503", err)
	}
}
