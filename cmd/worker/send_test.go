package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// message is an event, ready to be published.
type message func() (*nats.Msg, error)

func deletedEvent(user, id string, change func(*conversation.Deleted)) message {
	e := conversation.Deleted{
		CommandID: "c1", AppID: "demo", UserID: user, ConversationID: id, ThroughSeq: 7, MessagesDeleted: 5, Erased: true, CompletedAt: time.Now(),
	}
	change(&e)
	return func() (*nats.Msg, error) { return e.Msg(conversation.Trace{}) }
}

func failedEvent(id string, reason conversation.Reason) message {
	e := conversation.DeleteFailed{CommandID: "c1", AppID: "demo", UserID: "alice", ConversationID: id, Reason: reason, Message: "why", FailedAt: time.Now()}
	return func() (*nats.Msg, error) { return e.Msg(1, conversation.Trace{}) }
}

func allDeletedEvent(done, failed int64) message {
	e := conversation.AllDeleted{
		CommandID: "c1", AppID: "demo", UserID: "alice", Conversations: done, Failed: failed, MessagesDeleted: 5 * done, CompletedAt: time.Now(),
	}
	return func() (*nats.Msg, error) { return e.Msg(conversation.Trace{}) }
}

// The test plays the worker: it publishes the events, and takes the command off the stream.
func TestSendWaitsForTheEndOfEachKindOfCommand(t *testing.T) {
	t.Parallel()
	same := func(*conversation.Deleted) {}
	hidden := func(e *conversation.Deleted) { e.Erased = false }
	everyone := func(e *conversation.Deleted) {
		e.Scope, e.RequestedBy, e.Erased, e.ConversationRemoved = conversation.ScopeEveryone, "alice", false, true
	}
	other := func(e *conversation.Deleted) { everyone(e); e.CommandID = "another" }
	for name, row := range map[string]struct {
		args       string
		subject    string
		events     []message
		code       int
		out        []string
		stderr     string
		unfinished bool // the command stays in the stream
	}{
		"everyone": {
			"--everyone --conversation group_42 --through-seq 7", "conversation.delete_everyone.demo",
			[]message{deletedEvent("alice", "group_42", everyone), deletedEvent("bob", "group_42", everyone), deletedEvent("bob", "group_42", everyone), deletedEvent("eve", "group_42", other)},
			exitOK,
			[]string{
				"deleted group_42 of alice: 5 messages through seq 7; hidden, not yet erased; conversation removed; for no device, as the command names none",
				"deleted group_42 of bob: 5 messages through seq 7; hidden, not yet erased; conversation removed; for all devices",
			},
			"", false,
		},
		"everyone, and one deletion fails": {
			"--everyone --keep-conversation --conversation group_42", "conversation.delete_everyone.demo",
			[]message{deletedEvent("bob", "group_42", everyone), failedEvent("group_42", conversation.ReasonAttemptsExhausted)},
			exitError,
			[]string{"deleted group_42 of bob: ", "delete_failed group_42: attempts_exhausted: why"},
			"1 of 2 deletions failed: see the events", false,
		},
		"everyone, and no end": {
			"--everyone --conversation group_42 --timeout 300ms", "conversation.delete_everyone.demo", nil,
			exitError, nil, "not finished within 300ms: the command for everyone: the command is stored and continues", true,
		},
		"all conversations": {
			"--all-conversations", "conversation.delete.demo",
			[]message{deletedEvent("alice", "a", same), deletedEvent("alice", "b", hidden), allDeletedEvent(2, 0)},
			exitOK,
			[]string{
				"deleted a: 5 messages through seq 7; conversation stays; for no device, as the command names none",
				"deleted b: 5 messages through seq 7; hidden, not yet erased; conversation stays; for no device, as the command names none",
				"all deleted: 2 conversations, 10 messages; for no device, as the command names none",
			},
			"", false,
		},
		"all conversations, as JSON": {
			"--all-conversations --json", "conversation.delete.demo",
			[]message{allDeletedEvent(2, 0)},
			exitOK,
			[]string{`{"type":"conversation.all_deleted","id":`, `"conversations":2,"failed":0,"messages_deleted":10,`},
			"", false,
		},
		"all conversations, of which one fails": {
			"--all-conversations", "conversation.delete.demo",
			[]message{deletedEvent("alice", "a", same), failedEvent("b", conversation.ReasonAttemptsExhausted), allDeletedEvent(1, 1)},
			exitError,
			[]string{"all deleted: 1 conversation, 5 messages; 1 conversation failed"},
			"1 of 2 conversations failed: see the events", false,
		},
		"all conversations, which the plan can't": {
			"--all-conversations", "conversation.delete.demo",
			[]message{failedEvent("", conversation.ReasonUnsupportedScope)},
			exitError,
			[]string{"delete_failed: unsupported_scope: why"},
			"the command failed: see its event", false,
		},
		"a conversation that isn't there": {
			"--conversation group_24", "conversation.delete.demo",
			[]message{deletedEvent("alice", "group_24", func(e *conversation.Deleted) { e.MessagesDeleted, e.ThroughSeq, e.ConversationRemoved = 0, 0, true })},
			exitOK,
			[]string{"deleted group_24: 0 messages through seq 0; conversation removed; no message was found: is it the right user and conversation?; for no device"},
			"", false,
		},
		"a conversation of a shared log": {
			"--conversation group_42", "conversation.delete.demo",
			[]message{deletedEvent("alice", "group_42", hidden)},
			exitOK,
			[]string{"deleted group_42: 5 messages through seq 7; hidden, not yet erased; conversation stays"},
			"", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stack{nats: localtest.NATS(t)}
			js := s.jetstream(t)
			commands := s.bareStreams(t, js)
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			out, stderr, code := newLines(), newLines(), make(chan int, 1)
			args := append([]string{"send", "--app", "demo", "--user", "alice", "--command-id", "c1", "--wait"}, strings.Fields(row.args)...)
			go func() { code <- run(ctx, args, s.env(), out, stderr) }()
			out.await(t, "c1")
			stored, err := commands.GetMsg(ctx, 1)
			if err != nil || stored.Subject != row.subject {
				t.Fatalf("stored %+v, %v; want it on %s", stored, err, row.subject)
			}
			for _, event := range row.events {
				msg, err := event()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := js.PublishMsg(ctx, msg); err != nil {
					t.Fatal(err)
				}
			}
			if !row.unfinished {
				if err := commands.DeleteMsg(ctx, 1); err != nil {
					t.Fatal(err)
				}
			}
			if got := <-code; got != row.code || !strings.Contains(stderr.String(), row.stderr) {
				t.Errorf("send = %d, %q; want %d, %q", got, stderr, row.code, row.stderr)
			}
			for _, text := range row.out {
				if n := strings.Count(out.String(), text); n != 1 {
					t.Errorf("send printed %q; want %q once", out, text)
				}
			}
			if strings.Contains(out.String(), "of eve") {
				t.Errorf("send printed %q; want nothing of another command", out)
			}
		})
	}
}

// bareStreams makes the streams of commands and events without a database, and returns the first.
func (s stack) bareStreams(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	commands, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: conversation.CommandsStream, Subjects: []string{"conversation.delete.*", "conversation.delete_everyone.*"}, Retention: jetstream.WorkQueuePolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: conversation.EventsStream, AllowDirect: true,
		Subjects: []string{"conversation.deleted.*.*", "conversation.delete_failed.*.*", "conversation.all_deleted.*.*"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return commands
}
