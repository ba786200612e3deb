package broker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/natserr"
)

// streamOf returns a stream's configuration as the server has it.
func streamOf(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().Config
}

func consumerOf(t *testing.T, js jetstream.JetStream) jetstream.ConsumerConfig {
	t.Helper()
	c, err := js.Consumer(t.Context(), conversation.CommandsStream, conversation.WorkerConsumer)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo().Config
}

// actions are what a setup did, in order.
func actions(r SetupReport) string {
	var all []string
	for _, p := range r.Parts {
		all = append(all, p.Action)
	}
	return strings.Join(all, " ")
}

func TestSetupCreatesWhatTheContractNames(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	b := connect(t, Config{URL: n.URL()})
	report := setup(t, b, SetupOptions{})
	js := admin(t, n)

	c := streamOf(t, js, "CONVERSATION_COMMANDS")
	if c.Retention != jetstream.WorkQueuePolicy || c.Storage != jetstream.FileStorage || c.Discard != jetstream.DiscardNew ||
		c.MaxBytes != 1<<30 || c.MaxMsgSize != 1<<20-64<<10 || c.Duplicates != 100*time.Millisecond || c.MaxAge != 0 ||
		c.MaxMsgsPerSubject != 50_000 || !c.DiscardNewPerSubject ||
		!slices.Equal(c.Subjects, []string{"conversation.delete", "conversation.delete.*", "conversation.delete_everyone.*"}) {
		t.Errorf("commands = %+v", c)
	}
	e := streamOf(t, js, "CONVERSATION_EVENTS")
	if e.Retention != jetstream.LimitsPolicy || e.Storage != jetstream.FileStorage || e.Discard != jetstream.DiscardNew ||
		e.MaxAge != 30*24*time.Hour || e.MaxMsgsPerSubject != 100_000 || e.DiscardNewPerSubject || e.Duplicates != time.Hour ||
		!e.AllowDirect || e.MaxConsumers < 1000 ||
		!slices.Equal(e.Subjects, []string{
			"conversation.deleted.*.*", "conversation.delete_failed.*.*", "conversation.erased.*.*", "conversation.all_deleted.*.*",
		}) {
		t.Errorf("events = %+v", e)
	}
	l := streamOf(t, js, "CONVERSATION_DEAD_LETTERS")
	if l.Retention != jetstream.LimitsPolicy || l.Storage != jetstream.FileStorage || l.Discard != jetstream.DiscardNew ||
		l.MaxAge != 0 || l.MaxBytes != 1<<30 || !l.AllowDirect || !slices.Equal(l.Subjects, []string{"conversation.dead_letter.*"}) {
		t.Errorf("dead letters = %+v", l)
	}
	w := consumerOf(t, js)
	if w.Durable != "deletion-worker" || w.AckPolicy != jetstream.AckExplicitPolicy || w.AckWait != 30*time.Second ||
		w.MaxAckPending != 200_000 || w.MaxDeliver != -1 || len(w.BackOff) != 0 || w.DeliverSubject != "" {
		t.Errorf("consumer = %+v", w)
	}
	if got := actions(report); got != "created created created created" {
		t.Errorf("first setup: %s; want all created", got)
	}
	again := setup(t, b, SetupOptions{})
	if got := actions(again); got != "unchanged unchanged unchanged unchanged" {
		t.Errorf("second setup: %+v; want all unchanged", again)
	}
}

func TestSetupTakesOptions(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	b := connect(t, Config{URL: n.URL(), AckWait: 12 * time.Second})
	o := SetupOptions{Replicas: 1, CommandsMaxBytes: 2 << 20, EventsMaxBytes: 3 << 20, DeadLettersMaxBytes: 8 << 20, EventsMaxAge: 10 * time.Minute, CommandsMaxPerApp: new(int64(7))}
	setup(t, b, o)
	js := admin(t, n)
	e := streamOf(t, js, conversation.EventsStream)
	if got := streamOf(t, js, conversation.CommandsStream); got.MaxBytes != 2<<20 || got.MaxMsgsPerSubject != 7 || !got.DiscardNewPerSubject {
		t.Errorf("commands = %+v; want 2 MiB, and 7 an app", got)
	}
	if e.MaxBytes != 3<<20 || e.MaxAge != 10*time.Minute || e.Duplicates != 10*time.Minute {
		t.Errorf("events = %+v; want the options, and a duplicate window that the server takes", e)
	}
	for _, subject := range []string{"conversation.delete.demo", "conversation.delete_everyone.demo", "conversation.delete_everyone.other"} {
		for i := range 8 { // each counts apart
			if _, err := js.Publish(t.Context(), subject, nil); (err == nil) != (i < 7) {
				t.Errorf("%s: command %d: %v; want 7 stored", subject, i+1, err)
			}
		}
	}
	if got := streamOf(t, js, conversation.DeadLettersStream).MaxBytes; got != 8<<20 {
		t.Errorf("dead letters max bytes = %d", got)
	}
	if got := consumerOf(t, js).AckWait; got != 12*time.Second {
		t.Errorf("ack wait = %v", got)
	}
	if got := actions(setup(t, b, o)); strings.Contains(got, "updated") {
		t.Errorf("the same options again: %s; want all unchanged", got)
	}
	// Without options what was set stays, also where it isn't the default.
	if got := actions(setup(t, connect(t, Config{URL: n.URL()}), SetupOptions{})); strings.Contains(got, "updated") {
		t.Errorf("no options: %s; want all unchanged", got)
	}
	report := setup(t, connect(t, Config{URL: n.URL(), AckWait: 20 * time.Second}), SetupOptions{EventsMaxAge: 48 * time.Hour, CommandsMaxPerApp: new(int64(0))})
	if got := actions(report); got != "updated updated unchanged updated" {
		t.Errorf("other options: %s", got)
	}
	if c := streamOf(t, js, conversation.CommandsStream); c.MaxMsgsPerSubject != -1 || c.DiscardNewPerSubject || c.MaxBytes != 2<<20 {
		t.Errorf("commands = %+v; want no limit per app, and the old size", c)
	}
	if e := streamOf(t, js, conversation.EventsStream); e.MaxAge != 48*time.Hour || e.Duplicates != time.Hour || e.MaxBytes != 3<<20 {
		t.Errorf("events = %+v; want the new age, the full window and the old size", e)
	}
}

func TestSetupUpgradesAndKeepsWhatWasTuned(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	js := admin(t, n)
	for _, cfg := range []jetstream.StreamConfig{
		{
			Name: conversation.CommandsStream, Subjects: []string{"conversation.delete.demo", "own.subject"}, Retention: jetstream.WorkQueuePolicy,
			MaxBytes: 10 << 20, MaxAge: time.Hour, MaxMsgsPerSubject: 5, MaxMsgSize: 1000, Duplicates: 10 * time.Minute,
			Metadata: map[string]string{"team": "chat"}, Compression: jetstream.S2Compression,
		},
		{
			Name: conversation.EventsStream, Subjects: []string{"conversation.deleted.>"}, MaxAge: 24 * time.Hour, MaxMsgsPerSubject: 500_000,
			MaxBytes: 20 << 20, Duplicates: time.Minute, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxConsumers: 77, NoAck: true,
		},
		{
			Name: conversation.DeadLettersStream, Subjects: []string{"conversation.dead_letter.>"}, MaxAge: 99 * time.Hour, Discard: jetstream.DiscardNew,
			AllowDirect: true, MaxBytes: 9 << 20, Duplicates: 2 * time.Hour,
		},
	} {
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateConsumer(t.Context(), conversation.CommandsStream, jetstream.ConsumerConfig{
		Durable: conversation.WorkerConsumer, AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 5, BackOff: []time.Duration{time.Second, time.Minute},
		FilterSubject: "conversation.delete.demo", MaxAckPending: 234_567, MaxRequestBatch: 1, MaxRequestExpires: 2 * time.Millisecond,
		InactiveThreshold: time.Hour, HeadersOnly: true,
	}); err != nil {
		t.Fatal(err)
	}
	report := setup(t, connect(t, Config{URL: n.URL()}), SetupOptions{})
	if got := actions(report); got != "updated updated unchanged updated" {
		t.Errorf("setup: %+v", report)
	}
	c := streamOf(t, js, conversation.CommandsStream)
	if !slices.Equal(c.Subjects, []string{"own.subject", "conversation.delete", "conversation.delete.*", "conversation.delete_everyone.*"}) || c.MaxAge != 0 ||
		!c.DiscardNewPerSubject || c.MaxMsgSize != 1<<20-64<<10 || c.Discard != jetstream.DiscardNew || c.Duplicates != 100*time.Millisecond {
		t.Errorf("commands = %+v; want what the contract requires", c)
	}
	if c.MaxBytes != 10<<20 || c.MaxMsgsPerSubject != 5 || c.Metadata["team"] != "chat" || c.Compression != jetstream.S2Compression {
		t.Errorf("commands = %+v; want what was tuned", c)
	}
	e := streamOf(t, js, conversation.EventsStream)
	if !slices.Equal(e.Subjects, []string{
		"conversation.deleted.>", "conversation.delete_failed.*.*", "conversation.erased.*.*", "conversation.all_deleted.*.*",
	}) || e.DiscardNewPerSubject || !e.AllowDirect || e.Duplicates != time.Hour || e.NoAck {
		t.Errorf("events = %+v; want what the contract requires", e)
	}
	if e.MaxAge != 24*time.Hour || e.MaxMsgsPerSubject != 500_000 || e.MaxBytes != 20<<20 || e.MaxConsumers != 77 {
		t.Errorf("events = %+v; want what was tuned", e)
	}
	if l := streamOf(t, js, conversation.DeadLettersStream); l.MaxAge != 99*time.Hour || l.MaxBytes != 9<<20 {
		t.Errorf("dead letters = %+v; want what was tuned", l)
	}
	w := consumerOf(t, js)
	if w.MaxDeliver != -1 || len(w.BackOff) != 0 || w.FilterSubject != "" || w.MaxRequestBatch != 0 || w.MaxRequestExpires != 0 ||
		w.InactiveThreshold != 0 || w.HeadersOnly || w.AckWait != 30*time.Second || w.MaxAckPending != 234_567 {
		t.Errorf("consumer = %+v", w)
	}
	if again := setup(t, connect(t, Config{URL: n.URL()}), SetupOptions{}); strings.Contains(actions(again), "updated") {
		t.Errorf("second setup: %+v; want all unchanged", again)
	}
}

// What a server refuses, be it old or limited, keeps setup from nothing else.
func TestSetupDoesWhatTheServerLets(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
		o.JetStreamLimits = server.JSLimitOpts{Duplicates: time.Minute, MaxAckPending: 1000}
	}})
	js := admin(t, n)
	for _, fresh := range newStreams(goal{}) {
		fresh.Subjects, fresh.Duplicates, fresh.NoAck = subjectsOf(conversation.Names{}, fresh.Name), time.Minute, true
		if _, err := js.CreateStream(t.Context(), fresh); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateConsumer(t.Context(), conversation.CommandsStream, consumerConfig{
		Durable: conversation.WorkerConsumer, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10, MaxDeliver: 3,
	}); err != nil {
		t.Fatal(err)
	}
	b := connect(t, Config{URL: n.URL()})
	report, err := b.Setup(t.Context(), SetupOptions{})
	if err == nil {
		t.Fatal("Setup = nil; want an error for what the server refuses")
	}
	var left []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		of, what, _ := strings.Cut(line, ": ")
		name, _, _ := strings.Cut(what, " stays ")
		left = append(left, of+" "+name)
	}
	slices.Sort(left)
	want := []string{"consumer deletion-worker max_ack_pending", "stream CONVERSATION_DEAD_LETTERS duplicate_window", "stream CONVERSATION_EVENTS duplicate_window"}
	if !localtest.NATSHas("2.12.7") {
		want = append(want, "stream CONVERSATION_EVENTS max_consumers")
	}
	if !slices.Equal(left, want) {
		t.Errorf("Setup = %v; want %v left", err, want)
	}
	if got := actions(report); got != "updated updated updated updated" {
		t.Errorf("setup: %s; want the rest updated", got)
	}
	if e := streamOf(t, js, conversation.EventsStream); e.NoAck || e.MaxMsgsPerSubject != eventsPerSubject || consumerOf(t, js).MaxDeliver != -1 {
		t.Errorf("events = %+v; want all corrected that the server lets", e)
	}
	if stays := (deviation[streamConfig]{property: property[streamConfig]{name: "max_consumers"}}).stays(errors.New("no")); !strings.Contains(stays.Error(), "2.12.7") {
		t.Errorf("max_consumers: %v; want the version that can", stays)
	}
}

func TestSetupGivesUnlimitedDeadLettersALimit(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	update(t, js, conversation.DeadLettersStream, func(c *streamConfig) { c.MaxBytes = -1 })
	l := letter(1)
	l.Delivery.Data = make([]byte, 900_000)
	if err := b.Publish(t.Context(), []bus.Announcement{{Letter: l}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		stored uint64
		want   int64
	}{{900_000, 1 << 30}, {3 << 30, 6 << 30}} {
		corrected, _ := compare(streamProperties, conversation.DeadLettersStream, streamOf(t, js, conversation.DeadLettersStream), goal{stored: tt.stored})
		if corrected.MaxBytes != tt.want {
			t.Errorf("with %d bytes stored: max_bytes %d; want %d", tt.stored, corrected.MaxBytes, tt.want)
		}
	}
	setup(t, b, SetupOptions{})
	if got := streamOf(t, js, conversation.DeadLettersStream).MaxBytes; got != 1<<30 || count(t, js, conversation.DeadLettersStream) != 1 {
		t.Errorf("max_bytes = %d; want 1 GiB, and the letter kept", got)
	}
}

func TestSetupSaysWhatTheServerLacks(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		server localstack.NATSOptions
		o      SetupOptions
		want   string
	}{
		"max payload": {localstack.NATSOptions{MaxPayload: 512 << 10}, SetupOptions{}, "raise its max_payload"},
		"JetStream":   {localstack.NATSOptions{Configure: func(o *server.Options) { o.JetStream = false }}, SetupOptions{}, "enable it on the server"},
		"room":        {localstack.NATSOptions{MaxStore: 1 << 20}, SetupOptions{}, "ask for less max bytes"},
		"replicas":    {localstack.NATSOptions{}, SetupOptions{Replicas: 3}, "use 1 replica"},
		"sense":       {localstack.NATSOptions{}, SetupOptions{Replicas: -1}, "negative"},
		"letters":     {localstack.NATSOptions{}, SetupOptions{DeadLettersMaxBytes: 4 << 20}, "too few for the dead letters"},
		"right to create": {
			denying("$JS.API.STREAM.CREATE.>"),
			SetupOptions{},
			"not allowed to publish on $JS.API.STREAM.CREATE.CONVERSATION_",
		},
		"right to create consumers": {denying("$JS.API.CONSUMER.CREATE.>"), SetupOptions{}, "not allowed to publish on $JS.API.CONSUMER.CREATE."},
		"right to look":             {denying("$JS.API.STREAM.INFO.>"), SetupOptions{}, "not allowed to publish on $JS.API.STREAM.INFO."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "room" { // others make such a stream
				localtest.NeedsNATS(t, "2.12.15", "2.14.10")
			}
			n := localtest.NATS(t, tt.server)
			url := n.URL()
			if strings.HasPrefix(name, "right") {
				url = as(n, "worker")
			}
			_, err := connect(t, Config{URL: url}).Setup(t.Context(), tt.o)
			if err == nil {
				t.Fatal("Setup = nil; want an error")
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.Contains(line, tt.want) {
					t.Errorf("Setup = %v; want each line with %q", err, tt.want)
				}
			}
		})
	}
}

func denying(subject string) localstack.NATSOptions {
	return users(&server.Permissions{Publish: &server.SubjectPermission{Deny: []string{subject}}})
}

func TestSetupNeedsNoRightToCreateWhereAllIsAsWanted(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t, users(&server.Permissions{Publish: &server.SubjectPermission{
		Allow: []string{"$JS.API.STREAM.INFO.>", "$JS.API.CONSUMER.INFO.>"},
	}}))
	setup(t, connect(t, Config{URL: as(n, "admin")}), SetupOptions{})
	report := setup(t, connect(t, Config{URL: as(n, "worker")}), SetupOptions{})
	if got := actions(report); got != "unchanged unchanged unchanged unchanged" {
		t.Errorf("setup: %s; want all unchanged", got)
	}
}

func TestSetupMayRace(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	const racers = 8
	brokers := make([]*Broker, racers)
	for i := range brokers {
		brokers[i] = connect(t, Config{URL: n.URL()})
	}
	var wg sync.WaitGroup
	errs := make([]error, racers)
	begin := make(chan struct{})
	for i, b := range brokers {
		wg.Go(func() {
			<-begin
			// Half of them want something else, so that some updates meet too.
			_, errs[i] = b.Setup(t.Context(), SetupOptions{CommandsMaxBytes: int64(i%2) << 24})
		})
	}
	close(begin)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	js := admin(t, n)
	if got := streamOf(t, js, conversation.CommandsStream).MaxBytes; got != 1<<24 {
		t.Errorf("max bytes = %d; want what some asked for and nobody else did", got)
	}
	consumerOf(t, js)
}

func TestSetupWaitsForAServerThatIsStarting(t *testing.T) {
	t.Parallel()
	port := unusedPort(t)
	b := connect(t, Config{URL: fmt.Sprintf("nats://127.0.0.1:%d", port)})
	result := make(chan error, 1)
	go func() { _, err := b.Setup(t.Context(), SetupOptions{}); result <- err }()
	localtest.NATS(t, localstack.NATSOptions{Port: port})
	if err := <-result; err != nil {
		t.Errorf("Setup = %v; want nil once the server is there", err)
	}
}

// The events' stream refuses new events when it is full, but lets a user's
// oldest go when a subject has its most: a busy user must not stop the worker.
func TestTheOldestEventOfASubjectGoes(t *testing.T) {
	t.Parallel()
	const most = 20
	_, n := ready(t, Config{})
	js := admin(t, n)
	update(t, js, conversation.EventsStream, func(c *streamConfig) { c.MaxMsgsPerSubject = most })
	subject := conversation.DeletedSubject("demo", "alice")
	for range most + 1 {
		if _, err := js.PublishAsync(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	ack, err := js.Publish(t.Context(), subject, []byte("{}"))
	if err != nil {
		t.Fatalf("publish of one event more = %v; want nil", err)
	}
	s, err := js.Stream(t.Context(), conversation.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	if state := s.CachedInfo().State; state.Msgs != most || state.FirstSeq != 3 || ack.Sequence != most+2 {
		t.Errorf("%d events from %d; want the last %d", state.Msgs, state.FirstSeq, most)
	}
}

func TestCommandsAreRefusedByAFullStreamAndByTheirSize(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	setup(t, connect(t, Config{URL: n.URL()}), SetupOptions{CommandsMaxBytes: 2 << 20})
	js := admin(t, n)
	subject := conversation.CommandSubject("demo")
	if _, err := js.Publish(t.Context(), subject, make([]byte, 1<<20-64<<10+1)); natserr.Code(err) != jetstream.JSErrCodeStreamMessageExceedsMaximum {
		t.Errorf("publish of a command that is too large = %v; want it refused", err)
	}
	for range 2 {
		if _, err := js.Publish(t.Context(), subject, make([]byte, minCommand)); err != nil {
			t.Fatalf("publish of 900 KB = %v; want nil", err)
		}
	}
	if _, err := js.Publish(t.Context(), subject, make([]byte, minCommand)); natserr.Code(err) != natserr.StoreRefused {
		t.Errorf("publish to a full stream = %v; want it refused", err)
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		wide, narrow string
		want         bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a.*", "a.b", true},
		{"a.*", "a.*", true},
		{"a.b", "a.*", false},
		{"a.>", "a.*", true},
		{"a.>", "a", false},
		{"a.>", "a.*.*", true},
		{">", "a.b", true},
		{"a.*", "a.>", false},
		{"a.>", "a.>", true},
		{"a.*.*", "a.*", false},
		{"a.*", "a.b.c", false},
		{"*.b", "a.b", true},
	} {
		if got := covers(tt.wide, tt.narrow); got != tt.want {
			t.Errorf("covers(%q, %q) = %t; want %t", tt.wide, tt.narrow, got, tt.want)
		}
	}
}
