package conversation_test

import (
	"context"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

func command(conversations ...string) conversation.Command {
	c := conversation.Command{AppID: "my.app", UserID: "al ice", DeviceID: "phone"}
	for _, id := range conversations {
		c.Conversations = append(c.Conversations, conversation.Target{ID: id})
	}
	return c
}

func forEveryone(conversations ...string) conversation.Command {
	c := command(conversations...)
	c.Scope = conversation.ScopeEveryone
	return c
}

// The scope alone decides on which of the app's subjects a command goes.
func TestDeleteForEveryoneHasASubjectOfItsOwn(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, nil))
	js := addStreams(t, nc, nil)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: conversation.Shard("eu").CommandsStream(), Subjects: []string{"conversation.shard.eu.*.*"}})
	if err != nil {
		t.Fatal(err)
	}
	sharded := newClient(t, nc, conversation.WithShard(func(conversation.Command) string { return "eu" }))
	self, all := command("c"), command()
	self.Scope, all.AllConversations = conversation.ScopeSelf, true
	for _, row := range []struct {
		client          *conversation.Client
		cmd             conversation.Command
		stream, subject string
	}{
		{newClient(t, nc), forEveryone("c"), "CONVERSATION_COMMANDS", "conversation.delete_everyone.my%2Eapp"},
		{newClient(t, nc), self, "CONVERSATION_COMMANDS", "conversation.delete.my%2Eapp"},
		{newClient(t, nc), all, "CONVERSATION_COMMANDS", "conversation.delete.my%2Eapp"},
		{sharded, forEveryone("c"), "CONVERSATION_COMMANDS_EU", "conversation.shard.eu.delete_everyone.my%2Eapp"},
	} {
		receipt, err := row.client.Delete(t.Context(), row.cmd)
		if err != nil {
			t.Errorf("%s: Delete = %v", row.subject, err)
			continue
		}
		stream, err := js.Stream(t.Context(), row.stream)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := stream.GetMsg(t.Context(), receipt.Sequence)
		if err != nil || msg.Subject != row.subject {
			t.Errorf("stored %+v, %v; want it on %s", msg, err, row.subject)
			continue
		}
		row.cmd.CommandID = receipt.CommandID
		if got, err := conversation.Decode(msg.Data); err != nil || !reflect.DeepEqual(got, row.cmd) {
			t.Errorf("Decode(%s) = %+v, %v; want %+v", msg.Data, got, err, row.cmd)
		}
	}
}

func TestDeletePublishesTheContractsMessage(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	cmd := command("c2c_bob", "*")
	cmd.CommandID = "1 2"
	cmd.Conversations[1].ThroughSeq = seq(7)
	cmd.RequestedAt = noon
	receipt, err := client.Delete(t.Context(), cmd, conversation.WithTrace(trace))
	if want := (conversation.Receipt{CommandID: "1 2", Stream: "CONVERSATION_COMMANDS", Sequence: 1}); err != nil || receipt != want {
		t.Fatalf("Delete = %+v, %v; want %+v", receipt, err, want)
	}
	stream, err := js.Stream(t.Context(), conversation.CommandsStream)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if msg.Subject != "conversation.delete.my%2Eapp" || msg.Header.Get("Nats-Msg-Id") != "" ||
		msg.Header["traceparent"][0] != trace.Parent || msg.Header["tracestate"][0] != trace.State {
		t.Errorf("stored on %s with %v", msg.Subject, msg.Header)
	}
	got, err := conversation.Decode(msg.Data)
	cmd.RequestedAt = cmd.RequestedAt.UTC()
	if err != nil || !reflect.DeepEqual(got, cmd) {
		t.Errorf("Decode(%s) = %+v, %v; want %+v", msg.Data, got, err, cmd)
	}
}

func TestUnfinishedUntilTheCommandLeavesItsStream(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	stream, err := js.Stream(t.Context(), conversation.CommandsStream)
	if err != nil {
		t.Fatal(err)
	}
	var receipts [3]conversation.Receipt
	for i := range receipts {
		if receipts[i], err = client.Delete(t.Context(), forEveryone("group_42")); err != nil {
			t.Fatal(err)
		}
	}
	want := func(there ...bool) {
		t.Helper()
		for i, r := range receipts {
			if got, err := client.Unfinished(t.Context(), r); err != nil || got != there[i] {
				t.Errorf("Unfinished(%d) = %v, %v; want %v", r.Sequence, got, err, there[i])
			}
		}
	}
	want(true, true, true)
	for i, seq := range []uint64{2, 1, 3} {
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
		want(i < 1, false, i < 2)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: conversation.CommandsStream + "_FRONT"})
	if err != nil {
		t.Fatal(err)
	}
	for stream, says := range map[string]string{"CONVERSATION_COMMANDS_FRONT": "keeps finished commands", "CONVERSATION_COMMANDS_GONE": "worker setup"} {
		if _, err := client.Unfinished(t.Context(), conversation.Receipt{Stream: stream, Sequence: 1}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Unfinished in %s = %v; want %q", stream, err, says)
		}
	}
}

// The ids of messages are one name space for all apps of a stream: one that knows
// or guesses another's command id must not make the stream drop the command.
func TestNoAppCanMakeTheStreamDropAnothersCommand(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	cmd := command("c")
	cmd.CommandID = "42"
	attack := nats.NewMsg(conversation.CommandSubject("attacker"))
	for _, id := range []string{cmd.AppID + ".42", "42", ""} {
		attack.Header.Set("Nats-Msg-Id", id)
		if _, err := js.PublishMsg(t.Context(), attack); err != nil {
			t.Fatal(err)
		}
	}
	for _, sequence := range []uint64{4, 5} { // and the same again is stored again
		receipt, err := client.Delete(t.Context(), cmd)
		if want := (conversation.Receipt{CommandID: "42", Stream: "CONVERSATION_COMMANDS", Sequence: sequence}); err != nil || receipt != want {
			t.Errorf("Delete = %+v, %v; want %+v", receipt, err, want)
		}
	}
	if receipt, err := client.Delete(t.Context(), command("c")); err != nil || len(receipt.CommandID) != 26 {
		t.Errorf("Delete without an id = %+v, %v; want a new one", receipt, err)
	}
}

func TestAnAppsLimitIsNotTheStreams(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	stream, err := js.Stream(t.Context(), conversation.CommandsStream)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxMsgsPerSubject, config.DiscardNewPerSubject = 1, true
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Delete(t.Context(), command("c")); err != nil {
		t.Fatal(err)
	}
	_, err = client.Delete(t.Context(), command("c"))
	if !errors.Is(err, conversation.ErrAppFull) || errors.Is(err, conversation.ErrStreamFull) || !strings.Contains(err.Error(), "send again later") {
		t.Errorf("Delete beyond the limit = %v; want ErrAppFull with what to do", err)
	}
	other := command("c")
	other.AppID = "other"
	if _, err := client.Delete(t.Context(), other); err != nil {
		t.Errorf("Delete of another app = %v; want nil", err)
	}
	if _, err := client.Delete(t.Context(), forEveryone("c")); err != nil {
		t.Errorf("Delete for everyone, which counts apart, = %v; want nil", err)
	}
}

func TestDeleteRefusesAnInvalidCommandBeforePublishing(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	client := newClient(t, connect(t, s)) // without streams, so that a publish would fail otherwise
	_, err := client.Delete(t.Context(), command("c", "c"))
	var invalid *conversation.InvalidError
	if !errors.As(err, &invalid) || invalid.Field != "conversations[1].id" {
		t.Errorf("Delete = %v; want an InvalidError of conversations[1].id", err)
	}
}

func TestDeletePublishesToTheShardOfTheCommand(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, nil))
	js := addStreams(t, nc, nil)
	for _, shard := range []conversation.Shard{"eu", "us-1"} {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: shard.CommandsStream(), Subjects: []string{shard.CommandSubject("") + ".*"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	client := newClient(t, nc, conversation.WithShard(func(cmd conversation.Command) string {
		return map[string]string{"eu-app": "eu", "us-app": "us-1", "wrong": "No_Shard", "missing": "missing"}[cmd.AppID]
	}))
	for app, want := range map[string]string{
		"eu-app": "CONVERSATION_COMMANDS_EU", "us-app": "CONVERSATION_COMMANDS_US_1", "other": "CONVERSATION_COMMANDS",
	} {
		cmd := command("c")
		cmd.AppID = app
		receipt, err := client.Delete(t.Context(), cmd)
		if err != nil {
			t.Errorf("%s: Delete = %v", app, err)
			continue
		}
		stream, err := js.Stream(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.GetMsg(t.Context(), receipt.Sequence); err != nil {
			t.Errorf("%s: command %d of %s: %v", app, receipt.Sequence, want, err)
		}
	}
	for app, says := range map[string]string{"wrong": "expected a-z", "missing": "conversation.shard.missing.delete.missing"} {
		cmd := command("c")
		cmd.AppID = app
		receipt, err := client.Delete(t.Context(), cmd)
		if err == nil || !strings.Contains(err.Error(), says) || receipt.CommandID == "" {
			t.Errorf("%s: Delete = %+v, %v; want the command's id and %q", app, receipt, err, says)
		}
	}
}

// An operator may map the subject of who doesn't know the shard to that of a shard.
func TestACommandMayBeStoredInTheStreamOfAnyShard(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	if err := s.GlobalAccount().AddMapping("conversation.delete.*", "conversation.shard.eu.delete.{{wildcard(1)}}"); err != nil {
		t.Fatal(err)
	}
	nc := connect(t, s)
	addStreams(t, nc, func(c *jetstream.StreamConfig) {
		if c.Name == conversation.CommandsStream {
			c.Name, c.Subjects = conversation.Shard("eu").CommandsStream(), []string{"conversation.shard.eu.delete.*"}
		}
	})
	if receipt, err := newClient(t, nc).Delete(t.Context(), command("c")); err != nil || receipt.Sequence != 1 {
		t.Errorf("Delete = %+v, %v; want it stored", receipt, err)
	}
}

// unbounded are the nats-servers that take more than they have room for. Some between weren't tried.
var unbounded = regexp.MustCompile(`^2\.(\d|1[01])\.|^2\.12\.(\d|1[0-4])$|^2\.14\.\d$`)

func TestDeleteSaysWhatToDo(t *testing.T) {
	t.Parallel()
	limit := func(change func(*jetstream.StreamConfig)) func(*testing.T, *nats.Conn) {
		return func(t *testing.T, nc *nats.Conn) {
			t.Helper()
			addStreams(t, nc, change)
		}
	}
	for name, row := range map[string]struct {
		server  func(*server.Options)
		streams func(*testing.T, *nats.Conn)
		is      error
		says    string
	}{
		"without a stream": {nil, func(*testing.T, *nats.Conn) {}, conversation.ErrNoStream, "worker setup"},
		"without JetStream": {
			func(o *server.Options) { o.JetStream = false },
			func(*testing.T, *nats.Conn) {}, conversation.ErrNoStream, "enable JetStream",
		},
		"another stream takes the subject": {
			nil, limit(func(c *jetstream.StreamConfig) { c.Name = strings.ToLower(c.Name) }), conversation.ErrNoStream, "remove the subject there",
		},
		"a stream full by count": {
			nil, limit(func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 }), conversation.ErrStreamFull, "let workers empty it",
		},
		"a stream full by bytes": {
			nil, limit(func(c *jetstream.StreamConfig) { c.MaxBytes = 20_000 }), conversation.ErrStreamFull, "raise its limits",
		},
		"a command larger than the stream takes": {
			nil, limit(func(c *jetstream.StreamConfig) { c.MaxMsgSize = 5000 }), conversation.ErrTooLarge, "fewer conversations",
		},
		"a command larger than the server takes": {
			func(o *server.Options) { o.MaxPayload = 5000 },
			limit(nil), conversation.ErrTooLarge, "of 5000 that the server takes",
		},
		"a server without room": {
			func(o *server.Options) { o.JetStreamMaxStore = 10_000 },
			limit(nil), conversation.ErrStreamFull, "raise its limits",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "a server without room" && unbounded.MatchString(server.VERSION) {
				t.Skip("needs nats-server 2.12.15 or 2.14.10")
			}
			nc := connect(t, startServer(t, row.server))
			row.streams(t, nc)
			client := newClient(t, nc)
			var err error
			for range 5 {
				if err != nil {
					break
				}
				_, err = client.Delete(t.Context(), command(bigIDs(60)...))
			}
			if !errors.Is(err, row.is) || !strings.Contains(err.Error(), row.says) {
				t.Fatalf("Delete = %v; want %v with %q", err, row.is, row.says)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("Delete = %q; want one line", err)
			}
		})
	}
}

// bigIDs are n different conversations of 200 bytes each.
func bigIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = strings.Repeat("x", 199) + string(rune('A'+i))
	}
	return ids
}

// withPermissions gives the only user of a server these permissions.
func withPermissions(publish, subscribe []string) func(*server.Options) {
	return func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "x"},
			{Username: "user", Password: "x", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe},
			}},
		}
	}
}

func TestDeleteNamesAMissingPermission(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		cmd                conversation.Command
		publish, subscribe []string
		says               string
	}{
		"to publish":             {command("c"), []string{"conversation.delete.other"}, []string{"_INBOX.>"}, `Publish to "conversation.delete.my%2Eapp"`},
		"to delete for everyone": {forEveryone("c"), []string{"conversation.delete.*"}, []string{"_INBOX.>"}, `Publish to "conversation.delete_everyone.my%2Eapp"`},
		"to receive the answers": {command("c"), []string{"conversation.delete.*"}, []string{"x"}, `Subscription to "_INBOX.`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, withPermissions(row.publish, row.subscribe))
			addStreams(t, connect(t, s, nats.UserInfo("admin", "x")), nil)
			client := newClient(t, connect(t, s, nats.UserInfo("user", "x")), conversation.WithTimeout(300*time.Millisecond))
			_, err := client.Delete(t.Context(), row.cmd)
			if !errors.Is(err, conversation.ErrNotPermitted) || !strings.Contains(err.Error(), row.says) {
				t.Errorf("Delete = %v; want ErrNotPermitted with %q", err, row.says)
			}
		})
	}
}

func TestDeleteWithoutAnAnswerKeepsTheIDForAnotherTry(t *testing.T) {
	t.Parallel()
	wire := &cutter{server: startServer(t, nil)}
	nc := connect(t, wire, nats.ReconnectWait(10*time.Millisecond), nats.MaxReconnects(-1))
	addStreams(t, nc, nil)
	client := newClient(t, nc, conversation.WithTimeout(200*time.Millisecond))
	wire.set(true)
	receipt, err := client.Delete(t.Context(), command("c"))
	if !errors.Is(err, conversation.ErrUnconfirmed) || !errors.Is(err, context.DeadlineExceeded) || receipt.CommandID == "" {
		t.Fatalf("Delete = %+v, %v; want an id and ErrUnconfirmed", receipt, err)
	}
	wire.set(false)
	cmd := command("c")
	cmd.CommandID = receipt.CommandID
	if _, err := client.Delete(within(t, 10*time.Second), cmd); err != nil {
		t.Errorf("Delete after the connection was mended = %v; want nil", err)
	}
}

func TestDeleteEndsWithItsContext(t *testing.T) {
	t.Parallel()
	_, _, client := setUp(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Delete(ctx, command("c")); !errors.Is(err, context.Canceled) {
		t.Errorf("Delete = %v; want context.Canceled", err)
	}
}

func TestNewClientNeedsAConnection(t *testing.T) {
	t.Parallel()
	if _, err := conversation.NewClient(nil); err == nil {
		t.Error("NewClient(nil) = nil; want an error")
	}
}
