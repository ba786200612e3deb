package conversation_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

func namesWith(t *testing.T, prefix string) conversation.Names {
	t.Helper()
	n, err := conversation.NewNames(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEveryNameHasThePrefix(t *testing.T) {
	t.Parallel()
	n := namesWith(t, "Acme.chat-1")
	eu := n.InShard("eu-1")
	for got, want := range map[string]string{
		n.Prefix():                                       "Acme.chat-1",
		n.CommandSubject("a.b"):                          "Acme.chat-1.conversation.delete.a%2Eb",
		n.CommandSubject(""):                             "Acme.chat-1.conversation.delete",
		n.DeleteEveryoneSubject("demo"):                  "Acme.chat-1.conversation.delete_everyone.demo",
		n.Subject(conversation.DeletedSubject("a", "u")): "Acme.chat-1.conversation.deleted.a.u",
		eu.CommandSubject("demo"):                        "Acme.chat-1.conversation.shard.eu-1.delete.demo",
		eu.DeleteEveryoneSubject("demo"):                 "Acme.chat-1.conversation.shard.eu-1.delete_everyone.demo",
		n.CommandsStream():                               "ACME_CHAT_1_CONVERSATION_COMMANDS",
		eu.CommandsStream():                              "ACME_CHAT_1_CONVERSATION_COMMANDS_EU_1",
		eu.EventsStream():                                "ACME_CHAT_1_CONVERSATION_EVENTS",
		eu.DeadLettersStream():                           "ACME_CHAT_1_CONVERSATION_DEAD_LETTERS",
		eu.WorkerConsumer():                              "Acme_chat-1_deletion-worker",
		n.Unprefixed("Acme.chat-1.conversation.delete"):  "conversation.delete",
		n.Unprefixed("acme.conversation.delete"):         "acme.conversation.delete",
	} {
		if got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
	for stream, want := range map[string]bool{
		"ACME_CHAT_1_CONVERSATION_COMMANDS": true, "ACME_CHAT_1_CONVERSATION_COMMANDS_B": true, "ACME_CHAT_1_CONVERSATION_EVENTS": false,
		"CONVERSATION_COMMANDS": false, "OTHER_CONVERSATION_COMMANDS": false,
	} {
		if got := n.IsCommandsStream(stream); got != want {
			t.Errorf("IsCommandsStream(%s) = %v; want %v", stream, got, want)
		}
	}
}

func TestWithoutAPrefixNamesAreThePackages(t *testing.T) {
	t.Parallel()
	n := namesWith(t, "")
	if n != (conversation.Names{}) {
		t.Errorf("NewNames of no prefix = %+v; want the zero value", n)
	}
	for got, want := range map[string]string{
		n.CommandSubject("a"):               conversation.CommandSubject("a"),
		n.DeleteEveryoneSubject("a"):        conversation.DeleteEveryoneSubject("a"),
		n.CommandsStream():                  conversation.CommandsStream,
		n.EventsStream():                    conversation.EventsStream,
		n.DeadLettersStream():               conversation.DeadLettersStream,
		n.WorkerConsumer():                  conversation.WorkerConsumer,
		n.Subject("conversation.x"):         "conversation.x",
		n.Unprefixed("conversation.x"):      "conversation.x",
		n.InShard("eu").CommandSubject("a"): conversation.Shard("eu").CommandSubject("a"),
	} {
		if got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}

func TestAPrefixIsOneToThreeTokens(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "A_b-9", "a.b.c", "conversations", "a.conversation", strings.Repeat("x", conversation.MaxPrefix)} {
		if _, err := conversation.NewNames(good); err != nil {
			t.Errorf("NewNames(%q) = %v; want nil", good, err)
		}
	}
	for bad, says := range map[string]string{
		"$JS": "'$'", "a.>": "'>'", "*": "'*'", "a b": "' '", "a%2E": "'%'", "é": "byte", "a/b": "'/'",
		".": "empty token", "a.": "empty token", ".a": "empty token", "a..b": "empty token", "a.b.c.d": "4 of the tokens",
		strings.Repeat("x", conversation.MaxPrefix+1): "65 bytes", "conversation": "expected another word", "conversation.x": "expected another word",
	} {
		if _, err := conversation.NewNames(bad); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("NewNames(%q) = %v; want one line with %q", bad, err, says)
		}
	}
	if _, err := conversation.NewClient(connect(t, startServer(t, nil)), conversation.WithPrefix("a.*")); err == nil {
		t.Error("NewClient with the prefix a.* = nil; want an error")
	}
}

// addPrefixed creates the streams of an installation with a prefix beside those of one
// without.
func addPrefixed(t *testing.T, js jetstream.JetStream, n conversation.Names) {
	t.Helper()
	for _, name := range []string{conversation.CommandsStream, conversation.EventsStream} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		config := s.CachedInfo().Config
		config.Name = n.Stream(config.Name)
		for i, subject := range config.Subjects {
			config.Subjects[i] = n.Subject(subject)
		}
		if _, err := js.CreateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
}

// tellAs publishes the event of a command as a worker of the installation does.
func tellAs(t *testing.T, js jetstream.JetStream, n conversation.Names, d conversation.Deleted) {
	t.Helper()
	m, err := d.Msg(conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	m.Subject = n.Subject(m.Subject)
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func TestAClientWithAPrefixSeesItsInstallationAlone(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, nil))
	js := addStreams(t, nc, nil)
	acme := namesWith(t, "acme.chat")
	addPrefixed(t, js, acme)
	for _, row := range []struct {
		names conversation.Names
		other conversation.Names
	}{{acme, conversation.Names{}}, {conversation.Names{}, acme}} {
		client := newClient(t, nc, conversation.WithPrefix(row.names.Prefix()))
		feed, err := client.Follow(t.Context(), "demo", "alice")
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Close()
		receipt, err := client.Delete(t.Context(), command("c"))
		if err != nil || receipt.Stream != row.names.CommandsStream() {
			t.Fatalf("Delete = %+v, %v; want it in %s", receipt, err, row.names.CommandsStream())
		}
		if there, err := client.Unfinished(t.Context(), receipt); err != nil || !there {
			t.Errorf("Unfinished = %v, %v; want true", there, err)
		}
		tellAs(t, js, row.other, about("theirs"))
		tellAs(t, js, row.names, about("ours"))
		e, err := feed.Next(within(t, 20*time.Second))
		if err != nil || e.CommandID() != "ours" || e.Sequence == 0 {
			t.Errorf("Next = %+v, %v; want ours as it is stored", e, err)
		}
		got, err := missed(t, client, 0, e.Sequence)
		if err != nil || len(got) == 0 || got[len(got)-1] != "ours" {
			t.Errorf("Missed = %v, %v; want ours at the end", got, err)
		}
	}
	_, err := newClient(t, nc, conversation.WithPrefix("other")).Delete(t.Context(), command("c"))
	if !errors.Is(err, conversation.ErrNoStream) || !strings.Contains(err.Error(), "other.conversation.delete.my%2Eapp") {
		t.Errorf("Delete where no setup was run = %v; want ErrNoStream and the subject", err)
	}
}

func TestAnEventOfAnotherPrefixIsNone(t *testing.T) {
	t.Parallel()
	acme := namesWith(t, "acme")
	m, err := about("1").Msg(conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := acme.ParseEvent("acme."+m.Subject, m.Header, m.Data); err != nil || e.CommandID() != "1" {
		t.Errorf("ParseEvent = %+v, %v; want the event", e, err)
	}
	for _, subject := range []string{m.Subject, "other." + m.Subject, "acme.acme." + m.Subject} {
		if _, err := acme.ParseEvent(subject, m.Header, m.Data); err == nil || !strings.Contains(err.Error(), "expected \"acme.conversation.deleted.demo.alice\"") {
			t.Errorf("ParseEvent on %s = %v; want an error with the right subject", subject, err)
		}
	}
	if _, err := conversation.ParseEvent("acme."+m.Subject, m.Header, m.Data); err == nil {
		t.Error("ParseEvent without a prefix takes one on a subject with a prefix")
	}
}

// A refusal names the subject as this server sees it: without the domain on a server that has
// it.
func TestADomainIsInRequestsAndInRefusals(t *testing.T) {
	t.Parallel()
	s := startServer(t, func(o *server.Options) {
		o.JetStreamDomain = "hub"
		withPermissions([]string{"conversation.delete.*"}, []string{"_INBOX.>", "conversation.>"})(o)
	})
	addStreams(t, connect(t, s, nats.UserInfo("admin", "x")), nil)
	client := newClient(t, connect(t, s, nats.UserInfo("user", "x")), conversation.WithDomain("hub"), conversation.WithTimeout(20*time.Second))
	if _, err := client.Delete(t.Context(), command("c")); err != nil {
		t.Errorf("Delete = %v; want nil", err)
	}
	if _, err := client.Follow(t.Context(), "demo", "alice"); !errors.Is(err, conversation.ErrNotPermitted) {
		t.Errorf("Follow = %v; want ErrNotPermitted", err)
	}
	elsewhere := newClient(t, connect(t, s, nats.UserInfo("admin", "x")), conversation.WithDomain("elsewhere"))
	if _, err := elsewhere.Follow(t.Context(), "demo", "alice"); !errors.Is(err, conversation.ErrNoStream) || !strings.Contains(err.Error(), "domain") {
		t.Errorf("Follow in another domain = %v; want ErrNoStream and the domain", err)
	}
}
