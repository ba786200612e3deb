package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// message is one from NATS.
type message struct {
	subject string
	header  nats.Header
	data    []byte
	seq     uint64    // in its stream; 0 if it was heard live
	at      time.Time // when the stream stored it, or when it was heard
}

// event is a message on one of the events' subjects. Its body is read without
// the project's own types, which may be wrong.
type event struct {
	message
	body map[string]any // numbers are json.Number
}

func newEvent(m message) event {
	e := event{message: m}
	d := json.NewDecoder(bytes.NewReader(m.data))
	d.UseNumber()
	if err := d.Decode(&e.body); err != nil {
		e.body = map[string]any{"": err.Error()}
	}
	return e
}

// text returns a field as text, "" if it is absent.
func (e event) text(field string) string {
	if v, found := e.body[field]; found {
		return fmt.Sprint(v)
	}
	return ""
}

func (e event) id() string           { return e.header.Get("ce-id") }
func (e event) kind() string         { return e.header.Get("ce-type") }
func (e event) command() string      { return e.text("command_id") }
func (e event) conversation() string { return e.text("conversation_id") }

// String is for the messages of failed tests.
func (e event) String() string {
	return fmt.Sprintf("%s %s %s", e.subject, e.id(), e.data)
}

// recorder keeps all events of a rig: those that the stream stored, and every
// copy that was published, also those that the stream dropped as duplicates, and
// the progress.
type recorder struct {
	mu      sync.Mutex // guards what follows
	changed chan struct{}
	stored  []event
	heard   []event
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (c *recorder) add(to *[]event, m message) {
	e := newEvent(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	*to = append(*to, e)
	close(c.changed)
	c.changed = make(chan struct{})
}

// listen begins to record what is published.
func (r *rig) listen(t testing.TB) {
	t.Helper()
	for _, subject := range []string{"conversation.deleted.>", "conversation.erased.>", "conversation.all_deleted.>", "conversation.delete_failed.>", "conversation.deleting.>"} {
		_, err := r.nc.Subscribe(r.names.Subject(subject), func(m *nats.Msg) {
			r.add(&r.heard, message{subject: m.Subject, header: m.Header, data: m.Data, at: time.Now()})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := r.nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// record begins to record. newRig does it.
func (r *rig) record(t testing.TB) {
	t.Helper()
	r.listen(t)
	consumer, err := r.js.OrderedConsumer(t.Context(), r.names.EventsStream(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	going, err := consumer.Consume(func(m jetstream.Msg) {
		seq, at := uint64(0), time.Time{}
		if meta, err := m.Metadata(); err == nil {
			seq, at = meta.Sequence.Stream, meta.Timestamp
		}
		r.add(&r.stored, message{m.Subject(), m.Headers(), m.Data(), seq, at})
	}, jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		going.Stop()
		<-going.Closed()
	})
}

// match chooses events.
type match func(event) bool

// of chooses the final events of a command and, if any are given, of these
// conversations.
func of(command string, conversations ...string) match {
	return func(e event) bool {
		return e.command() == command && e.kind() != conversation.TypeDeleting &&
			(len(conversations) == 0 || slices.Contains(conversations, e.conversation()))
	}
}

// typed chooses the events of a type.
func typed(typ string) match {
	return func(e event) bool { return e.kind() == typ }
}

// seen returns what was recorded so far, stored and heard.
func (c *recorder) seen(ms ...match) (stored, heard []event, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pick := func(all []event) []event {
		var picked []event
		for _, e := range all {
			if !slices.ContainsFunc(ms, func(m match) bool { return !m(e) }) {
				picked = append(picked, e)
			}
		}
		return picked
	}
	return pick(c.stored), pick(c.heard), c.changed
}

// awaitStored waits until the stream has n matching events, and returns all of
// them.
func (c *recorder) awaitStored(t testing.TB, n int, ms ...match) []event {
	t.Helper()
	return c.await(t, "stored", n, ms, func(stored, _ []event) []event { return stored })
}

// awaitHeard waits until n matching events were published, repeated ones
// counted each time.
func (c *recorder) awaitHeard(t testing.TB, n int, ms ...match) []event {
	t.Helper()
	return c.await(t, "heard", n, ms, func(_, heard []event) []event { return heard })
}

func (c *recorder) await(t testing.TB, how string, n int, ms []match, which func(stored, heard []event) []event) []event {
	t.Helper()
	end := time.NewTimer(timeout)
	defer end.Stop()
	for {
		stored, heard, changed := c.seen(ms...)
		if found := which(stored, heard); len(found) >= n {
			return found
		}
		select {
		case <-changed:
		case <-end.C:
			all, _, _ := c.seen()
			t.Fatalf("%d events %s within %v; want %d; all that are stored (%d):\n%s",
				len(which(stored, heard)), how, timeout, n, len(all), eventLines(all))
		}
	}
}

func eventLines(es []event) string {
	lines := make([]string, 0, len(es))
	for _, e := range es[max(0, len(es)-20):] {
		lines = append(lines, e.String())
	}
	return strings.Join(lines, "\n")
}

// deleted waits for the deleted event of one conversation of a command.
func (r *rig) deleted(t testing.TB, command, id string) event {
	t.Helper()
	e := r.awaitStored(t, 1, of(command, id))[0]
	if e.kind() != conversation.TypeDeleted {
		t.Fatalf("event = %s; want %s", e, conversation.TypeDeleted)
	}
	return e
}

// failed waits for a failure of a command; id is "" where the whole command
// fails.
func (r *rig) failed(t testing.TB, command, id string) event {
	t.Helper()
	es := r.awaitStored(t, 1, typed(conversation.TypeDeleteFailed),
		func(e event) bool { return e.command() == command && e.conversation() == id })
	return es[len(es)-1]
}

// onlyDeleted asserts that each of a command's conversations has exactly one
// event, however often it was told, and that it was the same each time.
func (r *rig) onlyDeleted(t testing.TB, command string, ids ...string) {
	t.Helper()
	r.awaitStored(t, len(ids), of(command))
	stored, heard, _ := r.seen(of(command))
	told := map[string]event{}
	for _, e := range append(stored, heard...) {
		first, again := told[e.conversation()]
		switch {
		case e.kind() != conversation.TypeDeleted:
			t.Errorf("event %s; want %s", e, conversation.TypeDeleted)
		case again:
			sameEvent(t, first, e)
		}
		told[e.conversation()] = e
	}
	if got, want := slices.Sorted(maps.Keys(told)), slices.Sorted(slices.Values(ids)); !slices.Equal(got, want) {
		t.Errorf("command %s has events for %q; want %q", command, got, want)
	}
}

// sameEvent asserts that two copies of an event are equal to the byte.
func sameEvent(t testing.TB, a, b event) {
	t.Helper()
	if !bytes.Equal(a.data, b.data) {
		t.Errorf("a repeated event has another body:\n%s\n%s", a.data, b.data)
	}
	if a.subject != b.subject || !maps.EqualFunc(visible(a.header), visible(b.header), slices.Equal) {
		t.Errorf("a repeated event differs:\n%s %v\n%s %v", a.subject, a.header, b.subject, b.header)
	}
}

// visible is a header without what the stream adds on the way out.
func visible(h nats.Header) nats.Header {
	v := maps.Clone(h)
	maps.DeleteFunc(v, func(name string, _ []string) bool { return strings.HasPrefix(name, "Nats-") && name != "Nats-Msg-Id" })
	return v
}

// wantFields asserts fields of an event's body, in pairs of name and value; nil
// means that the field must be absent.
func wantFields(t testing.TB, e event, pairs ...any) {
	t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		name := fmt.Sprint(pairs[i])
		got, found := e.body[name]
		switch {
		case pairs[i+1] == nil && found:
			t.Errorf("%s has %s %v; want none", e, name, got)
		case pairs[i+1] != nil && !found:
			t.Errorf("%s has no %s; want %v", e, name, pairs[i+1])
		case pairs[i+1] != nil && fmt.Sprint(got) != fmt.Sprint(pairs[i+1]):
			t.Errorf("%s has %s %v; want %v", e, name, got, pairs[i+1])
		}
	}
}
