package presence

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// consumer is the only one of the stream.
func (r *rig) consumer(t *testing.T) string {
	t.Helper()
	for name := range r.stream(t).ConsumerNames(t.Context()).Name() {
		return name
	}
	t.Fatal("no consumer")
	return ""
}

// steal takes the consumer's next delivery away.
func (r *rig) steal(t *testing.T, consumer string) (stolen func() uint64) {
	t.Helper()
	inbox := r.nc.NewInbox()
	sub, err := r.nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+conversation.EventsStream+"."+consumer, inbox, []byte(`{"batch":1,"expires":60000000000}`)); err != nil {
		t.Fatal(err)
	}
	return func() uint64 {
		msg, err := sub.NextMsg(timeout)
		if err != nil {
			t.Fatal(err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			t.Fatalf("%v %s: %v", msg.Header, msg.Data, err)
		}
		return meta.Sequence.Stream
	}
}

func TestAGapInTheDeliveryIsNoticedAndFilled(t *testing.T) {
	t.Parallel()
	for name, beat := range map[string]time.Duration{"by the next delivery": time.Hour, "or in the silence": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			i := r.start(t, func(c *Config) { c.Beat = beat })
			phone := i.device(t, "alice", "phone")
			stolen := r.steal(t, r.consumer(t))
			var want []string
			taken := make(chan uint64, 1)
			go func() {
				defer close(taken) // also after a failure
				taken <- stolen()
			}()
			for n, gone := 0, false; !gone; n++ {
				id := fmt.Sprint("c", n)
				r.publish(t, deleted(t, "alice", "phone", id, true))
				want = append(want, "deleted "+id)
				if n%2 == 1 { // the server deals the deliveries out in turn, most of the time
					select {
					case <-taken:
						gone = true
					case <-time.After(time.Second):
					}
				}
			}
			if beat > time.Minute { // without another delivery nobody would know
				r.publish(t, deleted(t, "alice", "phone", "last", true))
				want = append(want, "deleted last")
			}
			if got := phone.events(t, len(want)); !slices.Equal(got, want) {
				t.Errorf("got %v; want %v", got, want)
			}
			phone.silent(t)
		})
	}
}

func TestAConsumerThatVanishesIsMadeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone := i.device(t, "alice", "phone")
	for n := range 3 {
		if err := r.stream(t).DeleteConsumer(t.Context(), r.consumer(t)); err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprint("c", n)
		r.publish(t, deleted(t, "alice", "phone", id, true))
		if got := phone.events(t, 1); got[0] != "deleted "+id {
			t.Fatalf("got %v; want %s", got, id)
		}
	}
	phone.silent(t)
}

func TestNATSMayRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, func(c *Config) { c.Timeout = time.Hour })
	phone, laptop := i.device(t, "alice", "phone"), i.device(t, "alice", "laptop")
	for n := range 2 {
		if err := r.nats.Stop(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the instance notices", func() bool { return i.NotReady() != "" })
		if err := r.nats.Start(); err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprint("c", n)
		r.publish(t, deleted(t, "alice", "phone", id, true))
		for _, c := range []*client{phone, laptop} {
			// The event and the request to reload, in any order: the list that is
			// loaded then holds what the event says in any case.
			var events, reloads int
			for events+reloads < 2 {
				switch g, err := c.read(t); {
				case err != nil:
					t.Fatal(err)
				case g.ID != "" && g.conversation(t) == id:
					events++
				case g.Type == "resync" && !g.Lost: // no event is
					reloads++
					c.expect(t, "hello")
				case g.Type != "cursor":
					t.Fatalf("%s got %+v", c.device, g)
				}
			}
			if events != 1 || reloads != 1 {
				t.Errorf("%s: %d events, %d reloads; want one of each", c.device, events, reloads)
			}
			c.silent(t)
		}
	}
}

func TestALongOutageSendsDevicesElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, func(c *Config) { c.Timeout = 20 * time.Millisecond })
	phone := i.device(t, "alice", "phone")
	if err := r.nats.Stop(); err != nil {
		t.Fatal(err)
	}
	phone.closed(t, closeAway)
	c := &client{user: "alice", conn: i.dial(t, sign("alice", "laptop"), nil, nil)}
	c.closed(t, closeAway)
	if err := r.nats.Start(); err != nil {
		t.Fatal(err)
	}
	r.publish(t, deleted(t, "alice", "phone", "x", true))
	eventually(t, "the instance is in order", func() bool { return i.NotReady() == "" })
	phone.reconnect(t, i)
	if got := phone.events(t, 1); got[0] != "deleted x" {
		t.Errorf("got %v; want x", got)
	}
}

func TestAStreamThatIsMadeAgainReloads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	i := r.start(t, nil)
	phone, laptop := i.device(t, "alice", "phone"), i.device(t, "alice", "laptop")
	for n := range 5 {
		r.publish(t, deleted(t, "alice", "phone", fmt.Sprint("old", n), true))
	}
	phone.events(t, 5)
	laptop.events(t, 5)
	_ = laptop.conn.CloseNow()
	before := phone.epoch
	if err := r.js.DeleteStream(t.Context(), conversation.EventsStream); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the instance notices", func() bool { return i.NotReady() != "" })
	r.addStream(t)
	if !phone.expect(t, "resync").Lost {
		t.Error("the device isn't told that events are lost")
	}
	phone.expect(t, "hello")
	if phone.epoch == before {
		t.Error("the new stream has the old one's epoch")
	}
	for n := range 7 { // beyond the old cursor
		id := fmt.Sprint("new", n)
		r.publish(t, deleted(t, "alice", "phone", id, true))
		if got := phone.events(t, 1); got[0] != "deleted "+id {
			t.Fatalf("got %v; want %s", got, id)
		}
	}
	laptop.reconnect(t, i) // with the old stream's cursor
	laptop.expect(t, "resync")
	laptop.expect(t, "hello")
	laptop.silent(t)
}

func TestAnInstanceWaitsForTheStream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.js.DeleteStream(t.Context(), conversation.EventsStream); err != nil {
		t.Fatal(err)
	}
	i := r.launch(t, nil)
	eventually(t, "the instance says why", func() bool { return i.NotReady() != "starting" })
	r.addStream(t)
	<-i.Begun()
	phone := i.device(t, "alice", "phone")
	r.publish(t, deleted(t, "alice", "phone", "x", true))
	phone.events(t, 1)
}

// The consumer may be on a replica that is behind, after a restart for one: it has delivered all that it has, and what the
// stream's leader had by then comes later.
func TestAnEventOfAReplicaThatIsBehindIsTold(t *testing.T) {
	t.Parallel()
	h := newHub(8)
	h.align(time.Unix(1, 0), jetstream.StreamState{FirstSeq: 1, LastSeq: 5})
	h.resume()
	d := &device{user: "alice", epoch: h.standing().epoch}
	h.deliver(event{seq: 4, user: "alice"})
	if newer, err := h.join(d); err != nil || len(newer) != 1 || newer[0].seq != 4 {
		t.Errorf("join = %v, %v; want event 4", newer, err)
	}
}
