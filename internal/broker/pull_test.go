package broker

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func TestRunHandsOverCommandsAsTheyCame(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	before := time.Now()
	msg := nats.NewMsg(conversation.CommandSubject("demo"))
	msg.Data = []byte("\x00\xff{")
	msg.Header["x-Own"] = []string{"a", "b"}
	ack, err := js.PublishMsg(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	d := start(t, b).next()
	if d.Subject != msg.Subject || !bytes.Equal(d.Data, msg.Data) || len(d.Header["x-Own"]) != 2 {
		t.Errorf("delivery = %q %q %v; want what was published", d.Subject, d.Data, d.Header)
	}
	if d.Sequence != ack.Sequence || d.Deliveries != 1 {
		t.Errorf("sequence, deliveries = %d, %d; want %d, 1", d.Sequence, d.Deliveries, ack.Sequence)
	}
	if d.StoredAt.Before(before.Add(-time.Second)) || d.StoredAt.After(time.Now().Add(time.Second)) {
		t.Errorf("stored at %v; want about %v", d.StoredAt, before)
	}
	d.Settle(done())
}

func TestRunNeverHandsOverMoreThanThereAreSlots(t *testing.T) {
	t.Parallel()
	const slots, commands = 7, 500
	b, n := ready(t, Config{Slots: slots})
	js := admin(t, n)
	send(t, js, commands)
	w := start(t, b)
	for left := commands; left > 0; {
		batch := w.take(min(slots, left))
		left -= len(batch)
		if got := b.inFlight.len(); got > slots {
			t.Fatalf("%d in flight; want at most %d", got, slots)
		}
		if len(batch) == slots {
			if free, _ := b.inFlight.room(); free != 0 || len(w.in) != 0 {
				t.Fatalf("%d free, %d more handed over; want neither with all slots taken", free, len(w.in))
			}
		}
		for _, d := range batch {
			d.Settle(done())
		}
	}
	eventually(t, "all acknowledged", func() bool { return idle(t, b) })
}

func TestRunTakesNoMoreThanItCanStart(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{Slots: 3})
	send(t, admin(t, n), 10)
	w := start(t, b)
	w.take(3)
	settled := func() bool {
		found, err := b.Backlog(t.Context())
		return err == nil && found.InFlight == 3 && found.Waiting == 7 && len(w.in) == 0
	}
	eventually(t, "3 in flight and 7 waiting", settled) // the server counts after it has delivered
	stays(t, "3 in flight and 7 waiting", 300*time.Millisecond, settled)
}

func TestLeaveFreesTheSlotOnceAndMaxInFlightBoundsAll(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{Slots: 2, MaxInFlight: 5})
	send(t, admin(t, n), 20)
	w := start(t, b)
	held := w.take(2)
	for _, d := range held {
		d.Leave()
		d.Leave()
	}
	held = append(held, w.take(2)...)
	held[2].Leave()
	held[2].Leave()
	held = append(held, w.next())
	held[3].Leave()
	held[4].Leave()
	stays(t, "5 in flight, although both slots are free", 200*time.Millisecond, func() bool { return len(w.in) == 0 && b.inFlight.len() == 5 })
	held[0].Settle(done())
	w.next()
	stays(t, "5 in flight", 100*time.Millisecond, func() bool { return len(w.in) == 0 && b.inFlight.len() == 5 })
}

func TestRunBoundsTheBytesInFlight(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	const size, commands = 900_000, 40
	for range commands {
		if _, err := js.Publish(t.Context(), conversation.CommandSubject("demo"), make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t, b)
	const most = maxBytesInFlight + 1<<20 + 1<<16
	for range commands {
		d := w.next()
		b.inFlight.mu.Lock()
		got := b.inFlight.bytes
		b.inFlight.mu.Unlock()
		if got > most {
			t.Fatalf("%d bytes in flight; want at most %d", got, most)
		}
		if d.Sequence%3 == 0 { // some stay until the budget is used up
			continue
		}
		d.Settle(done())
	}
}

func TestStopDefersWhatTheLastRequestBrings(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{Name: "first"})
	js := admin(t, n)
	w := start(t, b)
	send(t, js, 1)
	w.next().Settle(done()) // the request for all other slots is out
	w.stop()
	began := time.Now()
	sent := send(t, js, 50)
	second := start(t, connect(t, Config{URL: n.URL()}))
	seen := map[uint64]bool{}
	for len(seen) < len(sent) {
		d := second.next()
		seen[d.Sequence] = true
		d.Settle(done())
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the second worker had them after %v; want at once, not after the AckWait of 30s", took)
	}
	if err := <-w.ended; err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	if len(w.in) != 0 {
		t.Errorf("%d handed over after the stop; want none", len(w.in))
	}
	if err := b.Settled(t.Context()); err != nil {
		t.Errorf("Settled = %v; want nil with nothing in flight", err)
	}
}

func TestRunEndsWithTheBroker(t *testing.T) {
	t.Parallel()
	b, _ := ready(t, Config{})
	ended := make(chan error, 1)
	go func() { ended <- b.Run(t.Context(), nil) }()
	eventually(t, "pulling", func() bool { i, err := b.consumerInfo(t.Context()); return err == nil && i.NumWaiting == 1 })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Run = %v; want %v", err, nats.ErrConnectionClosed)
	}
}

// What is returned to the stream after the stop must not come back to the request that is
// still open, again and again.
func TestStopDoesNotPassACommandToItself(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	w := start(t, b)
	send(t, js, 1)
	w.next().Settle(done())
	w.stop()
	sent := send(t, js, 1)
	if err := <-w.ended; err != nil {
		t.Fatal(err)
	}
	if d := start(t, connect(t, Config{URL: n.URL()})).next(); d.Sequence != sent[0] || d.Deliveries > 5 {
		t.Errorf("%d delivered for the %d. time; want %d for the 5th at most", d.Sequence, d.Deliveries, sent[0])
	}
}

func TestSettledWaitsForWhatIsInFlight(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	send(t, admin(t, n), 2)
	w := start(t, b)
	held := w.take(2)
	w.end()
	if age := b.OldestInFlight(); age <= 0 {
		t.Errorf("OldestInFlight = %v; want more than 0", age)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.Settled(short); err == nil {
		t.Error("Settled with 2 in flight = nil; want the context's error")
	}
	settled := make(chan error, 1)
	go func() { settled <- b.Settled(t.Context()) }()
	held[0].Settle(done())
	held[1].Settle(bus.Outcome{Verdict: bus.Retry})
	if err := <-settled; err != nil {
		t.Errorf("Settled = %v; want nil", err)
	}
	if age := b.OldestInFlight(); age != 0 {
		t.Errorf("OldestInFlight = %v; want 0 with nothing in flight", age)
	}
	second := start(t, connect(t, Config{URL: n.URL()}))
	if d := second.next(); d.Sequence != held[1].Sequence || d.Deliveries != 2 {
		t.Errorf("redelivered %d for the %d. time; want %d for the 2nd", d.Sequence, d.Deliveries, held[1].Sequence)
	}
}

func TestRunIsCalledOnce(t *testing.T) {
	t.Parallel()
	b, _ := ready(t, Config{})
	w := start(t, b)
	w.end()
	if err := b.Run(t.Context(), nil); err == nil {
		t.Error("second Run = nil; want an error")
	}
}

func TestRunWaitsForTheGate(t *testing.T) {
	t.Parallel()
	gate := newGate()
	b, n := ready(t, Config{Gate: gate})
	gate.Close("postgres", "away")
	w := start(t, b)
	send(t, admin(t, n), 3)
	waiting := func() bool {
		found, err := b.Backlog(t.Context())
		return err == nil && found.Waiting == 3 && found.InFlight == 0
	}
	eventually(t, "3 waiting", waiting) // the server counts them a little after it has stored them
	stays(t, "nothing pulled", 200*time.Millisecond, waiting)
	gate.Open("postgres")
	w.take(3)
}

// A command without a body whose headers look like a word of the server must be
// handed over like any other: taken for one it would stop the worker, or come
// back for ever.
func TestRunIsNotFooledByHeadersThatLookLikeTheServers(t *testing.T) {
	t.Parallel()
	gate := newGate()
	b, n := ready(t, Config{Gate: gate})
	js := admin(t, n)
	statuses := []string{"100", "400", "404", "408", "409", "423", "503", "junk"}
	for _, s := range statuses {
		msg := nats.NewMsg(conversation.CommandSubject("demo"))
		msg.Header.Set("Status", s)
		msg.Header.Set("Description", "Consumer Deleted")
		if _, err := js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t, b)
	for _, s := range statuses {
		d := w.next()
		if got := d.Header["Status"]; len(got) != 1 || got[0] != s {
			t.Errorf("delivered %v; want the status %s", d.Header, s)
		}
		d.Settle(done())
	}
	gate.opened(t)
}

func TestHeartbeatsKeepASlowDeliveryFromTheOthers(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{AckWait: time.Second})
	send(t, admin(t, n), 1)
	w := start(t, b)
	slow := w.next()
	other := start(t, connect(t, Config{URL: n.URL()}))
	stays(t, "nothing redelivered for three AckWaits", 3*time.Second, func() bool { return len(other.in)+len(w.in) == 0 })
	w.end() // lest it gets the command again itself
	slow.Settle(bus.Outcome{Verdict: bus.Retry})
	if d := other.next(); d.Deliveries != 2 {
		t.Errorf("delivered for the %d. time; want the 2nd", d.Deliveries)
	}
}

// The configured AckWait may not be the consumer's: heartbeats, and leases, go by the latter.
func TestHeartbeatsFollowTheConsumersAckWait(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{AckWait: time.Second})
	js := admin(t, n)
	send(t, js, 1)
	ignorant := connect(t, Config{URL: n.URL()})
	setup(t, ignorant, SetupOptions{})
	w := start(t, ignorant)
	slow := w.next()
	if got := ignorant.AckWait(); got != time.Second {
		t.Errorf("AckWait = %v; want the consumer's second", got)
	}
	other := start(t, b)
	stays(t, "nothing redelivered", 2500*time.Millisecond, func() bool { return len(other.in)+len(w.in) == 0 })
	slow.Settle(done())
}

func TestADeadWorkersCommandsAreRedelivered(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{AckWait: time.Second})
	send(t, admin(t, n), 1)
	w := start(t, b)
	first := w.next()
	b.heartbeat.stop() // no heartbeat any more
	w.end()
	d := start(t, connect(t, Config{URL: n.URL()})).next()
	if d.Sequence != first.Sequence || d.Deliveries != 2 || !d.StoredAt.Equal(first.StoredAt) {
		t.Errorf("redelivered %d, %d. time, stored %v; want %d, 2nd, %v", d.Sequence, d.Deliveries, d.StoredAt, first.Sequence, first.StoredAt)
	}
	d.Settle(done())
}

func TestRunContinuesAfterAServerRestart(t *testing.T) {
	t.Parallel()
	gate := newGate()
	b, n := ready(t, Config{Gate: gate})
	js := admin(t, n)
	w := start(t, b)
	send(t, js, 5)
	held := w.take(5)
	for _, d := range held[:4] {
		d.Settle(done())
	}
	if err := b.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	gate.closedFor(t, causeLink, "no connection to NATS")
	held[4].Settle(done()) // kept by the client until there is a server
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	gate.opened(t)
	began := time.Now()
	eventually(t, "publishing again", func() bool {
		_, err := js.Publish(t.Context(), conversation.CommandSubject("demo"), []byte("after"))
		return err == nil
	})
	for {
		if d := w.next(); string(d.Data) == "after" {
			d.Settle(done())
			break
		} else {
			d.Settle(done())
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the first command after the restart took %v; want well under 5s", took)
	}
	eventually(t, "all acknowledged", func() bool {
		found, err := b.Backlog(t.Context())
		return err == nil && found.InFlight == 0 && found.Waiting == 0
	})
}

func TestRunGoesOnOnceTheStreamIsThere(t *testing.T) {
	t.Parallel()
	gate := newGate()
	n := localtest.NATS(t)
	b := connect(t, Config{URL: n.URL(), Gate: gate})
	w := start(t, b)
	gate.closedFor(t, causeCommands, conversation.CommandsStream, "missing", "worker setup")
	setup(t, b, SetupOptions{})
	gate.opened(t)
	send(t, admin(t, n), 1)
	w.next().Settle(done())
}

func TestRunGoesOnAfterTheConsumerWasDeleted(t *testing.T) {
	t.Parallel()
	gate := newGate()
	b, n := ready(t, Config{Gate: gate})
	js := admin(t, n)
	w := start(t, b)
	send(t, js, 1)
	w.next().Settle(done())
	eventually(t, "acknowledged", func() bool { return idle(t, b) })
	if err := js.DeleteConsumer(t.Context(), conversation.CommandsStream, conversation.WorkerConsumer); err != nil {
		t.Fatal(err)
	}
	gate.closedFor(t, causeCommands, conversation.WorkerConsumer, "missing", "worker setup")
	sent := send(t, js, 1)
	setup(t, b, SetupOptions{})
	gate.opened(t)
	if d := w.next(); d.Sequence != sent[0] || d.Deliveries != 1 {
		t.Errorf("delivered %d for the %d. time; want %d, once: probing takes nothing", d.Sequence, d.Deliveries, sent[0])
	}
}

func TestRunSaysWhichPermissionIsMissing(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		deny  *server.Permissions
		parts []string
	}{
		"pull": {
			&server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.MSG.NEXT.>"}}},
			[]string{"not allowed to publish on $JS.API.CONSUMER.MSG.NEXT." + conversation.CommandsStream, "permissions"},
		},
		"answers": {
			&server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"_INBOX.>"}}},
			[]string{"not allowed to subscribe to _INBOX.", "permissions"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := localtest.NATS(t, users(tt.deny))
			setup(t, connect(t, Config{URL: as(n, "admin")}), SetupOptions{})
			gate := newGate()
			start(t, connect(t, Config{URL: as(n, "worker"), Gate: gate}))
			began := time.Now()
			gate.closedFor(t, causeCommands, tt.parts...)
			if took := time.Since(began); took > time.Second {
				t.Errorf("said after %v; want at once", took)
			}
		})
	}
}

func TestRunGoesOnOnceItIsAllowed(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	forbidden := true
	opts := users(nil)
	configure := opts.Configure
	opts.Configure = func(o *server.Options) {
		configure(o)
		mu.Lock()
		defer mu.Unlock()
		if forbidden {
			o.Users[1].Permissions = &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.MSG.NEXT.>"}}}
		}
	}
	n := localtest.NATS(t, opts)
	setup(t, connect(t, Config{URL: as(n, "admin")}), SetupOptions{})
	gate := newGate()
	w := start(t, connect(t, Config{URL: as(n, "worker"), Gate: gate}))
	gate.closedFor(t, causeCommands, "not allowed")
	mu.Lock()
	forbidden = false
	mu.Unlock()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	gate.opened(t)
	send(t, admin(t, n, asAdmin), 1)
	w.next().Settle(done())
}

func TestTwoWorkersShareTheCommands(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{Slots: 8})
	first, second := start(t, b), start(t, connect(t, Config{URL: n.URL(), Slots: 8}))
	const commands = 400
	send(t, admin(t, n), commands)
	seen := map[uint64]int{}
	for range commands {
		var d delivered
		select {
		case d = <-first.in:
		case d = <-second.in:
		case <-time.After(timeout):
			t.Fatalf("%d of %d delivered", len(seen), commands)
		}
		if d.Deliveries != 1 {
			t.Errorf("%d delivered for the %d. time", d.Sequence, d.Deliveries)
		}
		seen[d.Sequence]++
		d.Settle(done())
	}
	if len(seen) != commands {
		t.Errorf("%d different commands; want %d", len(seen), commands)
	}
}
