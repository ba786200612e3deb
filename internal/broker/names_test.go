package broker

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func namesWith(t *testing.T, prefix string) conversation.Names {
	t.Helper()
	n, err := conversation.NewNames(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSetupNamesTheStreamThatHasItsSubjects(t *testing.T) {
	t.Parallel()
	const listing = "$JS.API.STREAM.NAMES"
	n := localtest.NATS(t, denying(listing))
	js := admin(t, n, asAdmin)
	if _, err := js.CreateStream(t.Context(), streamConfig{Name: "CHAT", Subjects: []string{"conversation.>"}}); err != nil {
		t.Fatal(err)
	}
	refused := func(cfg Config, about ...string) {
		t.Helper()
		report, err := connect(t, cfg).Setup(t.Context(), SetupOptions{})
		if got := actions(report); got != "failed failed failed" || err == nil {
			t.Fatalf("setup: %s, %v; want no stream made", got, err)
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != 3 {
			t.Errorf("Setup = %v; want a line for each stream", err)
		}
		for _, part := range about {
			if !strings.Contains(lines[0], part) {
				t.Errorf("Setup = %s; want %q", lines[0], part)
			}
		}
	}
	refused(Config{URL: as(n, "admin")}, "stream CONVERSATION_COMMANDS: stream CHAT has some of its subjects", "set --subject-prefix")
	refused(Config{URL: as(n, "worker")}, "find it with `nats stream ls --subject 'conversation.>'`", "set --subject-prefix")

	setup(t, connect(t, Config{URL: as(n, "worker"), Names: namesWith(t, "acme")}), SetupOptions{})
	if _, err := js.CreateStream(t.Context(), streamConfig{Name: "LOG", Subjects: []string{"other.>"}}); err != nil {
		t.Fatal(err)
	}
	refused(Config{URL: as(n, "admin"), Names: namesWith(t, "other")}, "stream OTHER_CONVERSATION_COMMANDS: stream LOG has", "set another --subject-prefix than other")
}

// Two prefixes of which one name is made must not become one installation.
func TestSetupLeavesAnotherInstallationsStreams(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	setup(t, connect(t, Config{URL: n.URL(), Names: namesWith(t, "acme-chat")}), SetupOptions{})
	js := admin(t, n)
	before := streamOf(t, js, "ACME_CHAT_CONVERSATION_COMMANDS")
	for _, prefix := range []string{"acme.chat", "acme_chat", "ACME-chat"} {
		b := connect(t, Config{URL: n.URL(), Names: namesWith(t, prefix)})
		report, err := b.Setup(t.Context(), SetupOptions{CommandsMaxBytes: 10 << 20})
		want := "stream ACME_CHAT_CONVERSATION_COMMANDS is not this installation's, but of one with the prefix acme-chat: set another --subject-prefix than " + prefix
		if err == nil || err.Error() != want || actions(report) != "failed" {
			t.Errorf("setup of %s: %s, %v; want %s", prefix, actions(report), err, want)
		}
		if _, err := b.Check(t.Context(), SetupOptions{}); err == nil || err.Error() != want {
			t.Errorf("check of %s = %v; want %s", prefix, err, want)
		}
	}
	if after := streamOf(t, js, "ACME_CHAT_CONVERSATION_COMMANDS"); !slices.Equal(after.Subjects, before.Subjects) || after.MaxBytes != before.MaxBytes {
		t.Errorf("the stream is %+v; want it as before, %+v", after, before)
	}
	// An operator may have it take what others publish without the prefix.
	changed := streamOf(t, js, "ACME_CHAT_CONVERSATION_COMMANDS")
	changed.Subjects = append(changed.Subjects, "conversation.delete.*", "other.conversation.delete.*")
	if _, err := js.UpdateStream(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if got := actions(setup(t, connect(t, Config{URL: n.URL(), Names: namesWith(t, "acme-chat")}), SetupOptions{})); got != "unchanged unchanged unchanged unchanged" {
		t.Errorf("setup with more subjects: %s; want all unchanged", got)
	}
}

// A company may have streams of the contract's names for something else.
func TestSetupLeavesACompanysStreamOfTheSameName(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	js := admin(t, n)
	for _, own := range []streamConfig{
		{Name: conversation.EventsStream, Subjects: []string{"crm.talks.>", "conversation.opened"}},
		{Name: conversation.DeadLettersStream, Sources: []*jetstream.StreamSource{{Name: conversation.EventsStream}}},
	} {
		if _, err := js.CreateStream(t.Context(), own); err != nil {
			t.Fatal(err)
		}
		before := streamOf(t, js, own.Name)
		b := connect(t, Config{URL: n.URL()})
		report, err := b.Setup(t.Context(), SetupOptions{})
		for _, part := range []string{"stream " + own.Name + " is not this installation's: ", "set --subject-prefix, which begins all names of this installation, or give that stream another name"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("Setup = %v; want %q", err, part)
			}
		}
		if actions(report) != "failed" || report.Parts[0].Name != own.Name {
			t.Errorf("setup: %+v; want that stream alone", report)
		}
		if _, err := b.Check(t.Context(), SetupOptions{}); !errors.Is(err, errOthers) {
			t.Errorf("Check = %v; want the same", err)
		}
		if diff := cmp.Diff(before, streamOf(t, js, own.Name)); diff != "" {
			t.Errorf("the company's stream has changed (-before +after):\n%s", diff)
		}
		if _, err := js.Stream(t.Context(), conversation.CommandsStream); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("stream of commands: %v; want none made", err)
		}
		if err := js.DeleteStream(t.Context(), own.Name); err != nil {
			t.Fatal(err)
		}
	}
}

// Two prefixes make one name, also where one of them has the contract's first word in it.
func TestSetupLeavesStreamsOfAPrefixWithTheContractsWord(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	setup(t, connect(t, Config{URL: n.URL(), Names: namesWith(t, "acme.conversation")}), SetupOptions{})
	js := admin(t, n)
	changed := streamOf(t, js, "ACME_CONVERSATION_CONVERSATION_COMMANDS")
	changed.Subjects = append(changed.Subjects, "acme_conversation") // one word more is no installation's
	if _, err := js.UpdateStream(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if got := actions(setup(t, connect(t, Config{URL: n.URL(), Names: namesWith(t, "acme.conversation")}), SetupOptions{})); got != "unchanged unchanged unchanged unchanged" {
		t.Errorf("setup again: %s; want all unchanged", got)
	}
	report, err := connect(t, Config{URL: n.URL(), Names: namesWith(t, "acme-conversation")}).Setup(t.Context(), SetupOptions{})
	if !errors.Is(err, errOthers) || actions(report) != "failed" {
		t.Errorf("setup of acme-conversation: %s, %v; want the other's streams left", actions(report), err)
	}
}

// A worker whose prefix is spelled like another's, acme_chat for acme.chat, finds a stream and a consumer of its names. It takes no command from them.
func TestAWorkerTakesNoCommandOfAnotherInstallation(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	right := connect(t, Config{URL: n.URL(), Names: namesWith(t, "acme.chat")})
	setup(t, right, SetupOptions{})
	gate := newGate()
	wrong := connect(t, Config{URL: n.URL(), Names: namesWith(t, "acme_chat"), Gate: gate})
	w := start(t, wrong)
	publish(t, admin(t, n), "acme.chat.conversation.delete.demo")
	eventually(t, "the gate is closed, or a command is taken", func() bool {
		gate.mu.Lock()
		defer gate.mu.Unlock()
		return len(w.in) > 0 || gate.reasons[causeStreams] != ""
	})
	if len(w.in) > 0 {
		t.Fatalf("took %s", w.next().Subject)
	}
	d := start(t, right).next()
	d.Settle(done())
}

func TestACommandGoesItsWayWithPrefixDomainAndShard(t *testing.T) {
	t.Parallel()
	names := namesWith(t, "acme.chat").InShard("eu")
	b, n := ready(t, Config{Names: names, Domain: "hub"}, localstack.NATSOptions{Configure: func(o *server.Options) { o.JetStreamDomain = "hub" }})
	js := admin(t, n)
	if got := actions(setup(t, b, SetupOptions{})); got != "unchanged unchanged unchanged unchanged" {
		t.Errorf("second setup: %s; want all unchanged", got)
	}
	lines, err := b.Check(t.Context(), SetupOptions{})
	if err != nil || slices.ContainsFunc(lines, func(l PropertyState) bool { return !l.Right }) || lines[0].Of != "ACME_CHAT_CONVERSATION_COMMANDS_EU" {
		t.Errorf("Check = %+v, %v; want all right", lines, err)
	}
	publish(t, js, "acme.chat.conversation.shard.eu.delete.demo")
	w := start(t, b)
	d := w.next()
	if d.Subject != "acme.chat.conversation.shard.eu.delete.demo" {
		t.Errorf("delivered on %s", d.Subject)
	}
	l := &bus.Letter{Delivery: d.Delivery, App: "demo", Reason: conversation.ReasonAttemptsExhausted, StoredAt: d.StoredAt, FailedAt: time.Now()}
	event := bus.Announcement{Deleted: &conversation.Deleted{AppID: "demo", UserID: "alice", CommandID: "1", ConversationID: "c", CompletedAt: time.Now()}}
	if err := b.Publish(t.Context(), []bus.Announcement{event, {Letter: l, Sequence: d.Sequence}}); err != nil {
		t.Fatal(err)
	}
	d.Settle(bus.Outcome{Verdict: bus.Reject, Reason: l.Reason})
	events, err := b.EventsFrom(t.Context(), 1, 10)
	if err != nil || len(events) != 1 || events[0].Subject != "acme.chat.conversation.deleted.demo.alice" || events[0].Header["ce-source"][0] != "lethe/demo" {
		t.Errorf("events = %+v, %v; want one, on the subject with the prefix", events, err)
	}
	for l, err := range b.Letters(t.Context(), LetterFilter{App: "demo", Shard: "eu"}) {
		if err != nil || l.App != "demo" || l.Subject != d.Subject || l.Shard != "eu" {
			t.Errorf("letter = %+v, %v", l, err)
		}
	}
	eventually(t, "the command is settled", func() bool { return idle(t, b) })
	if err := connect(t, Config{URL: n.URL(), Domain: "hub", Names: namesWith(t, "acme.chat")}).RetryLetter(t.Context(), 1); err != nil {
		t.Errorf("RetryLetter = %v; want nil", err)
	}
	again := w.next()
	if again.Subject != d.Subject || again.Header["Lethe-Retry"][0] != "1" {
		t.Errorf("retried %+v", again.Delivery)
	}
	again.Settle(done())
	if state, err := b.EventsState(t.Context()); err != nil || state.Name != "ACME_CHAT_CONVERSATION_EVENTS" || state.Messages != 1 {
		t.Errorf("EventsState = %+v, %v", state, err)
	}
}

// Published, it would be a command of the other installation.
func TestALetterOfAnotherInstallationIsNotRetried(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{Names: namesWith(t, "acme.chat")})
	setup(t, connect(t, Config{URL: n.URL()}), SetupOptions{})
	if err := b.Publish(t.Context(), []bus.Announcement{{Letter: letter(1)}}); err != nil { // of conversation.delete.demo
		t.Fatal(err)
	}
	err := b.RetryLetter(t.Context(), 1)
	if err == nil || !strings.Contains(err.Error(), "dead letter 1 stays: it came on conversation.delete.demo, and not on a subject of this installation, which begins with acme.chat.: publish") {
		t.Errorf("RetryLetter = %v; want it to refuse, and to say what to do", err)
	}
	js := admin(t, n)
	if got := count(t, js, conversation.CommandsStream); got != 0 {
		t.Errorf("the other installation has %d commands; want none", got)
	}
	if got := count(t, js, "ACME_CHAT_CONVERSATION_DEAD_LETTERS"); got != 1 {
		t.Errorf("%d letters; want it kept", got)
	}
}

func TestADomainThatIsNotThereIsNamed(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	_, err := connect(t, Config{URL: n.URL(), Domain: "hub"}).Setup(t.Context(), SetupOptions{})
	if err == nil || !strings.Contains(err.Error(), "--nats-domain") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Setup = %v; want one line with the setting", err)
	}
}
