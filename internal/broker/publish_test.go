package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/telemetry"
)

var completed = time.Date(2026, 11, 23, 9, 0, 0, 12000, time.UTC)

// deletedEvents are n events, each of a user of its own.
func deletedEvents(n int) []bus.Announcement {
	as := make([]bus.Announcement, n)
	for i := range as {
		as[i] = bus.Announcement{
			Deleted: &conversation.Deleted{
				CommandID: fmt.Sprintf("c%d", i), AppID: "demo", UserID: fmt.Sprintf("user %d", i), ConversationID: "c2c_bob",
				ThroughSeq: 7, MessagesDeleted: 7, CompletedAt: completed,
			},
			Sequence: 5,
			Trace:    conversation.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		}
	}
	return as
}

func failedEvent() bus.Announcement {
	return bus.Announcement{
		Failed:   &conversation.DeleteFailed{CommandID: "c", AppID: "demo", UserID: "alice", Reason: conversation.ReasonInvalidCommand, Message: "m", FailedAt: completed},
		Sequence: 5,
	}
}

// sharedEvents are those of a shared log and of a command for all conversations.
func sharedEvents() []bus.Announcement {
	return []bus.Announcement{
		{Erased: &conversation.Erased{CommandID: "c", AppID: "demo", UserID: "alice", ConversationID: "group_42", ThroughSeq: 7, ErasedAt: completed}},
		{AllDeleted: &conversation.AllDeleted{CommandID: "c", AppID: "demo", UserID: "alice", Conversations: 3, CompletedAt: completed}},
	}
}

func letter(sequence uint64) *bus.Letter {
	return &bus.Letter{
		Delivery: bus.Delivery{
			Subject: conversation.CommandSubject("demo"), Data: []byte(`{"junk`), Sequence: sequence,
			StoredAt: completed, Deliveries: 3, Header: map[string][]string{"X-Own": {"kept"}},
		},
		App: "demo", Reason: conversation.ReasonInvalidCommand, Error: "command: is not valid JSON",
		StoredAt: completed, FailedAt: completed.Add(time.Second),
	}
}

func letters(sequences ...uint64) []bus.Announcement {
	as := make([]bus.Announcement, len(sequences))
	for i, s := range sequences {
		as[i] = bus.Announcement{Letter: letter(s), Sequence: s}
	}
	return as
}

// count returns how many messages a stream has.
func count(t *testing.T, js jetstream.JetStream, stream string) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// update changes a stream as an operator would.
func update(t *testing.T, js jetstream.JetStream, stream string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	c := streamOf(t, js, stream)
	change(&c)
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// wantFault checks an error's fault, cause and text.
func wantFault(t *testing.T, err error, fault purge.Fault, cause string, parts ...string) {
	t.Helper()
	if f, c := purge.FaultOf(err); err == nil || f != fault || c != cause {
		t.Errorf("error = %v (%v, %s); want %v, %s", err, f, c, fault, cause)
		return
	}
	for _, part := range append(parts, "") {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error = %v; want %q in it", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error = %q; want one line", err)
	}
}

func TestPublishStoresAllAndRepeatsAreTheSame(t *testing.T) {
	t.Parallel()
	metrics := telemetry.New(conversation.Names{}, func() float64 { return 0 })
	b, n := ready(t, Config{Metrics: metrics})
	js := admin(t, n)
	as := slices.Concat(deletedEvents(3), []bus.Announcement{failedEvent(), letters(5)[0]}, sharedEvents())
	for range 2 {
		if err := b.Publish(t.Context(), as); err != nil {
			t.Fatalf("Publish = %v; want nil", err)
		}
	}
	if got := count(t, js, conversation.EventsStream); got != 6 {
		t.Errorf("%d events; want 6: those repeated have the same ids", got)
	}
	if got := count(t, js, conversation.DeadLettersStream); got != 1 {
		t.Errorf("%d dead letters; want 1", got)
	}
	s, err := js.Stream(t.Context(), conversation.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(t.Context(), conversation.DeletedSubject("demo", "user 1"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := conversation.ParseEvent(m.Subject, m.Header, m.Data)
	if err != nil || *e.Deleted != *as[1].Deleted || e.Trace != as[1].Trace {
		t.Errorf("event = %+v, %v; want %+v", e.Deleted, err, as[1].Deleted)
	}
	if err := b.Publish(t.Context(), nil); err != nil {
		t.Errorf("Publish of nothing = %v; want nil", err)
	}
}

func TestPublishTakesMoreThanOneWave(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	const events = 2*waveMessages + 1
	if err := b.Publish(t.Context(), deletedEvents(events)); err != nil {
		t.Fatal(err)
	}
	if got := count(t, admin(t, n), conversation.EventsStream); got != events {
		t.Errorf("%d events; want %d", got, events)
	}
	large := letters(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
	for _, a := range large {
		a.Letter.Delivery.Data = make([]byte, 980_000)
	}
	if err := b.Publish(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	if got := count(t, admin(t, n), conversation.DeadLettersStream); got != 12 {
		t.Errorf("%d letters; want 12", got)
	}
}

func TestPublishReportsWhatAFullStreamNeeds(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	for _, stream := range notCommands {
		update(t, js, stream, func(c *streamConfig) { c.MaxBytes = 1 << 10 })
	}
	err := b.Publish(t.Context(), deletedEvents(10))
	wantFault(t, err, purge.Infrastructure, "events_full", conversation.EventsStream, "raise its max_bytes")
	err = b.Publish(t.Context(), letters(1, 2, 3))
	wantFault(t, err, purge.Infrastructure, "letters_full", conversation.DeadLettersStream, "worker dead-letters")

	setup(t, b, SetupOptions{EventsMaxBytes: 1 << 20, DeadLettersMaxBytes: 8 << 20})
	if err := errors.Join(b.Publish(t.Context(), deletedEvents(10)), b.Publish(t.Context(), letters(1, 2, 3))); err != nil {
		t.Errorf("Publish once there is room = %v; want nil", err)
	}
	if e, l := count(t, js, conversation.EventsStream), count(t, js, conversation.DeadLettersStream); e != 10 || l != 3 {
		t.Errorf("%d events, %d letters; want 10, 3", e, l)
	}
}

// One error code stands for a full stream and for a full subject; the advice
// differs.
func TestPublishDistinguishesAFullSubjectFromAFullStream(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	update(t, admin(t, n), conversation.EventsStream, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject, c.DiscardNewPerSubject = 1, true })
	as := deletedEvents(1)
	second := *as[0].Deleted
	second.CommandID = "another"
	as = append(as, bus.Announcement{Deleted: &second})
	wantFault(t, b.Publish(t.Context(), as), purge.Infrastructure, "events_full", "on this subject", "worker setup")
	setup(t, b, SetupOptions{})
	if err := b.Publish(t.Context(), as); err != nil {
		t.Errorf("Publish after setup = %v; want nil", err)
	}
}

func TestPublishSaysThatAStreamIsMissing(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	if err := js.DeleteStream(t.Context(), conversation.EventsStream); err != nil {
		t.Fatal(err)
	}
	wantFault(t, b.Publish(t.Context(), deletedEvents(2)), purge.Infrastructure, "no_stream", conversation.EventsStream, "worker setup")

	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"conversation.deleted.>"}}); err != nil {
		t.Fatal(err)
	}
	wantFault(t, b.Publish(t.Context(), deletedEvents(2)), purge.Infrastructure, "no_stream", "another stream", "OTHER")
}

func TestPublishSaysWhichPermissionIsMissing(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		deny *server.Permissions
		as   []bus.Announcement
		want string
	}{
		"events": {
			&server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"conversation.deleted.>"}}},
			deletedEvents(2), "publish on conversation.deleted.demo.user%20",
		},
		"letters": {
			&server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"conversation.dead_letter.>"}}},
			letters(1), "publish on conversation.dead_letter.demo",
		},
		"answers": {
			&server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"_INBOX.>"}}},
			deletedEvents(2), "subscribe to _INBOX.",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := localtest.NATS(t, users(tt.deny))
			setup(t, connect(t, Config{URL: as(n, "admin")}), SetupOptions{})
			b := connect(t, Config{URL: as(n, "worker")})
			for range 2 {
				began := time.Now()
				wantFault(t, b.Publish(t.Context(), tt.as), purge.Infrastructure, "publish_denied", "not allowed to "+tt.want, "permissions")
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("said after %v; want at once", took)
				}
			}
		})
	}
}

func TestPublishWaitsForTheConnectionAsLongAsItMay(t *testing.T) {
	t.Parallel()
	gate := newGate()
	b, n := ready(t, Config{Gate: gate})
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	gate.closedFor(t, causeLink)
	wantFault(t, b.Publish(t.Context(), deletedEvents(1)), purge.Infrastructure, "connection", "no connection to NATS")

	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	wantFault(t, b.Publish(short, deletedEvents(1)), purge.Infrastructure, "connection")

	stop, cancelStop := context.WithCancel(t.Context())
	cancelStop()
	wantFault(t, b.Publish(stop, deletedEvents(1)), purge.Stopping, "stopping")

	result := make(chan error, 1)
	go func() { result <- b.Publish(t.Context(), deletedEvents(1)) }()
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("Publish across the outage = %v; want nil", err)
	}
}

func TestPublishRefusesWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	b, _ := ready(t, Config{})
	bad := deletedEvents(1)
	bad[0].Deleted.UserID = ""
	if fault, _ := purge.FaultOf(b.Publish(t.Context(), bad)); fault != purge.Command {
		t.Errorf("event without a user: fault %v; want %v", fault, purge.Command)
	}
	bad[0].Deleted.UserID = strings.Repeat("~", 4000) // the server would end the connection
	if err := b.Publish(t.Context(), bad); err == nil || !b.nc.IsConnected() {
		t.Errorf("event with an endless subject: %v; want an error, and the connection kept", err)
	}
	mustPanic(t, "BUG: ", func() { _ = b.Publish(t.Context(), []bus.Announcement{{}}) })
}

// The app of a refused command may be whatever stood in its subject.
func TestPublishLeavesOutAFailureThatHasNoAddress(t *testing.T) {
	t.Parallel()
	log, text := newLog()
	b, n := ready(t, Config{Log: log})
	js := admin(t, n)
	as := []bus.Announcement{failedEvent(), failedEvent(), letters(1)[0]}
	endless := *as[0].Failed
	endless.AppID = strings.Repeat("~", 1800)
	as[0].Failed, as[2].Letter.App = &endless, endless.AppID
	if err := b.Publish(t.Context(), as); err != nil {
		t.Fatalf("Publish = %v; want nil", err)
	}
	if e, l := count(t, js, conversation.EventsStream), count(t, js, conversation.DeadLettersStream); e != 1 || l != 1 {
		t.Errorf("%d events, %d letters; want 1, 1", e, l)
	}
	if !strings.Contains(text.String(), "event left out") || !b.nc.IsConnected() {
		t.Errorf("log = %s; want it to say so, and the connection kept", text)
	}
}

func TestPublishOfALetterTooLargeForTheServer(t *testing.T) {
	t.Parallel()
	b, _ := ready(t, Config{})
	as := letters(1)
	as[0].Letter.Delivery.Data = make([]byte, 1<<20)
	wantFault(t, b.Publish(t.Context(), as), purge.Infrastructure, "too_large", "max_payload")
}

func TestPublishSaysThatTheStreamDoesNotAnswer(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	// Nobody confirms what a stream takes that doesn't acknowledge.
	update(t, js, conversation.EventsStream, func(c *jetstream.StreamConfig) { c.NoAck = true })
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantFault(t, b.Publish(short, deletedEvents(1)), purge.Infrastructure, "timeout", "doesn't answer")
}

func TestProgressReachesThoseWhoListenAndNeverWaits(t *testing.T) {
	t.Parallel()
	gate := newGate()
	b, n := ready(t, Config{Gate: gate})
	js := admin(t, n)
	heard := make(chan *nats.Msg, 1)
	sub, err := js.Conn().ChanSubscribe(conversation.DeletingSubject("demo", "alice"), heard)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	d := conversation.Deleting{CommandID: "c", AppID: "demo", UserID: "alice", ConversationID: "g", ThroughSeq: 9, PurgedThroughSeq: 4, MessagesDeleted: 4}
	trace := conversation.Trace{Parent: "p"}
	b.Progress(d, trace)
	m := <-heard
	if e, err := conversation.ParseEvent(m.Subject, m.Header, m.Data); err != nil || *e.Deleting != d || e.Trace != trace {
		t.Errorf("heard %+v, %v; want %+v", e.Deleting, err, d)
	}
	b.Progress(conversation.Deleting{}, trace) // can't be written; nobody minds
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	gate.closedFor(t, causeLink)
	b.Progress(d, trace)
}

func TestPublishSurvivesARestartInTheMiddle(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{}, localstack.NATSOptions{})
	as := deletedEvents(500)
	stopped := make(chan error, 1)
	go func() { stopped <- errors.Join(n.Stop(), n.Start()) }()
	for attempt := 0; ; attempt++ {
		err := b.Publish(t.Context(), as)
		if err == nil && attempt > 0 && len(stopped) > 0 {
			break
		}
		if err != nil {
			if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure {
				t.Fatalf("Publish = %v (%v, %s); want a fault of the infrastructure", err, fault, cause)
			}
		}
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	js := admin(t, n)
	seen := map[string]bool{}
	s, err := js.Stream(t.Context(), conversation.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		seen[m.Header.Get(nats.MsgIdHdr)] = true
		if !bytes.Contains(m.Data, []byte("c2c_bob")) {
			t.Errorf("event %d = %s", seq, m.Data)
		}
	}
	if len(seen) != len(as) {
		t.Errorf("%d different events; want %d", len(seen), len(as))
	}
}
