package broker

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// sourcing makes stream name, which keeps what is published on its subject, and has the
// commands' stream source it.
func sourcing(t *testing.T, js jetstream.JetStream, name, subject string) jetstream.Stream {
	t.Helper()
	front, err := js.CreateStream(t.Context(), streamConfig{Name: name, Subjects: []string{subject}, AllowDirect: true})
	if err != nil {
		t.Fatal(err)
	}
	update(t, js, conversation.CommandsStream, func(c *streamConfig) { c.Sources = append(c.Sources, sourceOf(name, subject)) })
	return front
}

func sourceOf(name, subject string) *jetstream.StreamSource {
	return &jetstream.StreamSource{Name: name, OptStartSeq: 1, SubjectTransforms: []jetstream.SubjectTransformConfig{{Source: subject, Destination: "conversation.delete.{{wildcard(1)}}"}}}
}

func publish(t *testing.T, js jetstream.JetStream, subject string) time.Time {
	t.Helper()
	ack, err := js.Publish(t.Context(), subject, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), ack.Stream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), ack.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	return m.Time
}

// Commands that waited in another stream, or in two, are dated by the first; those that it
// has no longer are undated. Direct commands don't wait for any of that.
func TestASourcedCommandHasTheTimeAtWhichItWasFirstStored(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	if _, err := js.CreateStream(t.Context(), streamConfig{Name: "GATE", Subjects: []string{"gate.*"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	early := publish(t, js, "gate.early")
	front := sourcing(t, js, "FRONT", "front.*")
	update(t, js, "FRONT", func(c *streamConfig) {
		c.Sources = []*jetstream.StreamSource{{Name: "GATE", SubjectTransforms: []jetstream.SubjectTransformConfig{{Source: "gate.*", Destination: "front.{{wildcard(1)}}"}}}}
	})
	lateApp := publish(t, js, "front.late")
	publish(t, js, "front.gone")
	publish(t, js, conversation.CommandSubject("direct"))
	eventually(t, "sourced", func() bool { return count(t, js, conversation.CommandsStream) == 4 })
	info, err := front.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		if m, err := front.GetMsg(t.Context(), seq); err == nil && m.Subject == "front.gone" {
			if err := front.DeleteMsg(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	w := start(t, b)
	got := map[string]delivered{}
	for _, d := range w.take(4) {
		got[strings.TrimPrefix(d.Subject, "conversation.delete.")] = d
		d.Settle(done())
	}
	for app, want := range map[string]time.Time{"early": early, "late": lateApp} {
		if d := got[app]; !d.StoredAt.Equal(want) || d.Undated {
			t.Errorf("%s: stored at %v, undated %v; want %v", app, d.StoredAt, d.Undated, want)
		}
	}
	if d := got["gone"]; !d.Undated || d.StoredAt.IsZero() || d.Deliveries != originTries {
		t.Errorf("gone: undated %v, stored at %v, delivery %d; want it undated at delivery %d", d.Undated, d.StoredAt, d.Deliveries, originTries)
	}
	if d := got["direct"]; d.Undated || d.Deliveries != 1 {
		t.Errorf("direct: undated %v, delivery %d; want neither", d.Undated, d.Deliveries)
	}
}

func TestTheServerRefusesAForgedSource(t *testing.T) {
	t.Parallel()
	localtest.NeedsNATS(t, "2.15.0")
	_, n := ready(t, Config{})
	msg := nats.NewMsg(conversation.CommandSubject("demo"))
	msg.Header.Set(headerSource, "FRONT 1 > > front.demo")
	var api *jetstream.APIError
	if _, err := admin(t, n).PublishMsg(t.Context(), msg); !errors.As(err, &api) {
		t.Errorf("publish = %v; want it refused", err)
	}
}

// A producer can name any stream where the server lets it forge a source.
func TestACommandWhoseOriginIsSilentHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	log, text := newLog()
	b, n := ready(t, Config{Log: log})
	js := admin(t, n)
	sourcing(t, js, "FRONT", "front.*")
	silent := sourcing(t, js, "SILENT", "silent.*")
	config := silent.CachedInfo().Config
	config.AllowDirect = false
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	publish(t, js, "silent.waits")
	for range 3 {
		publish(t, js, "front.comes")
	}
	eventually(t, "sourced", func() bool { return count(t, js, conversation.CommandsStream) == 4 })
	w := start(t, b)
	for _, d := range w.take(3) {
		if d.Subject != conversation.CommandSubject("comes") || d.Undated {
			t.Errorf("%s, undated %v; want those of the stream that answers", d.Subject, d.Undated)
		}
		d.Settle(done())
	}
	if !strings.Contains(text.String(), "stream SILENT is missing, has no leader, or allows no direct get") {
		t.Errorf("log = %s; want the stream that doesn't answer", text)
	}
}

// While the worker may not read the origin, it defers what came from there, says why, and
// works on everything else.
func TestACommandWaitsUntilItsOriginCanBeRead(t *testing.T) {
	t.Parallel()
	log, text := newLog()
	allowed := []string{"$JS.API.STREAM.>", "$JS.API.CONSUMER.>", "$JS.ACK.>"}
	n := localtest.NATS(t, users(&server.Permissions{Publish: &server.SubjectPermission{Allow: allowed}}))
	b := connect(t, Config{URL: as(n, "worker"), Log: log})
	setup(t, b, SetupOptions{})
	js := admin(t, n, asAdmin)
	sourcing(t, js, "FRONT", "front.*")
	publish(t, js, "front.waits")
	eventually(t, "sourced", func() bool { return count(t, js, conversation.CommandsStream) == 1 })
	w := start(t, b)
	eventually(t, "it is said", func() bool { return strings.Contains(text.String(), "origins of sourced commands can't be read") })
	send(t, js, 3)
	for _, d := range w.take(3) {
		d.Settle(done())
	}
	if said := text.String(); !strings.Contains(said, "not allowed to publish on $JS.API.DIRECT.GET.FRONT") || strings.Count(said, "can't be read") != 1 {
		t.Errorf("log = %s; want the missing permission, once", said)
	}
	if f := value(t, b.metrics.Retries.WithLabelValues("origin")); f < 1 {
		t.Errorf("%v retries for the origin; want it deferred", f)
	}
	eventually(t, "it stays, and nothing else", func() bool { return count(t, js, conversation.CommandsStream) == 1 })
}
