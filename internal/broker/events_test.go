package broker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/natserr"
	"github.com/lethe-im/lethe/internal/purge"
)

// storeEvents publishes n messages to the stream of events, and returns when each
// was stored.
func storeEvents(t *testing.T, b *Broker, js jetstream.JetStream, n int) []time.Time {
	t.Helper()
	for i := range n {
		m := &nats.Msg{Subject: conversation.DeletedSubject("demo", "alice"), Data: fmt.Append(nil, i+1), Header: nats.Header{"n": {fmt.Sprint(i + 1)}}}
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	all, err := b.EventsFrom(t.Context(), 1, n)
	if err != nil || len(all) != n {
		t.Fatalf("EventsFrom = %d messages, %v; want %d", len(all), err, n)
	}
	times := make([]time.Time, n)
	for i, m := range all {
		times[i] = m.StoredAt
	}
	return times
}

// sequences are those of the messages, which must be what storeEvents stored.
func sequences(t *testing.T, found []bus.Stored, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	all := []uint64{}
	for _, m := range found {
		all = append(all, m.Sequence)
		n := fmt.Sprint(m.Sequence)
		if string(m.Data) != n || nats.Header(m.Header).Get("n") != n || m.Subject != "conversation.deleted.demo.alice" || time.Since(m.StoredAt) > time.Hour {
			t.Errorf("message %+v; want the one of sequence %s", m, n)
		}
	}
	return fmt.Sprint(all)
}

func TestEventsAreReadInOrderFromATimeOrASequence(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	if found, err := b.EventsSince(t.Context(), time.Time{}, 10); len(found) > 0 || err != nil {
		t.Errorf("of an empty stream: %v, %v; want nothing", found, err)
	}
	at := storeEvents(t, b, js, 9)
	stream, err := js.Stream(t.Context(), conversation.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{1, 4, 5} {
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	for want, read := range map[string]func() ([]bus.Stored, error){
		"[2 3 6 7 8 9]": func() ([]bus.Stored, error) { return b.EventsSince(t.Context(), at[0].Add(-time.Hour), 100) },
		"[2 3 6]":       func() ([]bus.Stored, error) { return b.EventsSince(t.Context(), at[0].Add(-time.Hour), 3) },
		"[7 8 9]":       func() ([]bus.Stored, error) { return b.EventsSince(t.Context(), at[6], 100) },
		"[6 7]":         func() ([]bus.Stored, error) { return b.EventsFrom(t.Context(), 4, 2) },
		"[9]":           func() ([]bus.Stored, error) { return b.EventsFrom(t.Context(), 9, 1) },
		"[]":            func() ([]bus.Stored, error) { return b.EventsFrom(t.Context(), 10, 1) },
	} {
		found, err := read()
		if got := sequences(t, found, err); got != want {
			t.Errorf("read %s; want %s", got, want)
		}
	}
	for seq, want := range map[uint64]bool{3: true, 4: false, 9: true, 10: false} {
		if has, err := b.HasEvent(t.Context(), seq); has != want || err != nil {
			t.Errorf("HasEvent(%d) = %t, %v; want %t", seq, has, err, want)
		}
	}
	s, err := b.EventsState(t.Context())
	if err != nil || s.First != 2 || s.Last != 9 || s.Messages != 6 || !s.FirstAt.Equal(at[1]) || !s.LastAt.Equal(at[8]) || s.Created.After(at[0]) || s.Created.IsZero() {
		t.Errorf("EventsState = %+v, %v", s, err)
	}
}

// A page ends with some megabytes, and the next one goes on.
func TestLargeEventsComeInSmallerPages(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	for range 12 {
		if _, err := js.Publish(t.Context(), conversation.DeletedSubject("demo", "alice"), make([]byte, 900_000)); err != nil {
			t.Fatal(err)
		}
	}
	pages, next := 0, uint64(1)
	for next <= 12 {
		found, err := b.EventsFrom(t.Context(), next, 100)
		if err != nil || len(found) == 0 || found[0].Sequence != next {
			t.Fatalf("from %d: %d messages, %v", next, len(found), err)
		}
		pages++
		next = found[len(found)-1].Sequence + 1
	}
	if pages < 2 || pages > 6 {
		t.Errorf("%d pages; want some", pages)
	}
}

func TestWhyEventsCannotBeRead(t *testing.T) {
	t.Parallel()
	cause := func(t *testing.T, err error) string {
		t.Helper()
		fault, cause := purge.FaultOf(err)
		if fault != purge.Infrastructure {
			t.Errorf("fault of %v is %v; want the infrastructure'", err, fault)
		}
		return cause
	}
	t.Run("the stream is missing", func(t *testing.T) {
		t.Parallel()
		b, n := ready(t, Config{})
		if err := admin(t, n).DeleteStream(t.Context(), conversation.EventsStream); err != nil {
			t.Fatal(err)
		}
		_, err := b.EventsState(t.Context())
		if got := cause(t, err); got != causeNoStream {
			t.Errorf("cause of %v is %s", err, got)
		}
		_, err = b.EventsFrom(t.Context(), 1, 10)
		if got := cause(t, err); got != causeNoStream {
			t.Errorf("cause of %v is %s", err, got)
		}
	})
	t.Run("the user may not", func(t *testing.T) {
		t.Parallel()
		n := localtest.NATS(t, users(&server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{"$JS.API.STREAM.INFO.CONVERSATION_EVENTS"}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}))
		b := connect(t, Config{URL: as(n, "worker")})
		_, err := b.EventsFrom(t.Context(), 1, 10)
		var d *natserr.Denial
		if got := cause(t, err); got != causeDenied || !errors.As(err, &d) || d.Subject != "$JS.API.DIRECT.GET.CONVERSATION_EVENTS" {
			t.Errorf("cause of %v is %s; want the denial", err, got)
		}
	})
}
