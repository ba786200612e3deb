package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// beyond is a seq that a float64 rounds.
const beyond = 1<<53 + 1

// odd is an id with all that an escape may get wrong.
const odd = `A-z_0 .!~*'()/?#%+>"\é😀`

// What a gateway publishes is the command, to the digit and the byte, on the app's subject, without Nats-Msg-Id.
func TestAGatewayPublishesTheCommand(t *testing.T) {
	t.Parallel()
	s := newPlainStack(t)
	commands, err := s.jetStream(t).CreateStream(t.Context(), jetstream.StreamConfig{Name: conversation.CommandsStream, Subjects: []string{"conversation.delete.*"}})
	must(t, err)
	for i, l := range languages {
		id := `","through_seq":"7` // looks like the field that follows it
		stdout, stderr, err := s.gateway(t, l, odd, odd, odd, id, strconv.Itoa(beyond), "id-"+l.name)
		if err != nil {
			t.Fatalf("%s: %v, %q\n%s", l.name, err, stdout, stderr)
		}
		msg, err := commands.GetMsg(t.Context(), uint64(i+1))
		must(t, err)
		if want := conversation.CommandSubject(odd); msg.Subject != want {
			t.Errorf("%s publishes on %s; want %s", l.name, msg.Subject, want)
		}
		if msg.Header.Get(jetstream.MsgIDHeader) != "" {
			t.Errorf("%s sets %s: another app could make the stream drop the command", l.name, jetstream.MsgIDHeader)
		}
		cmd, err := conversation.Decode(msg.Data)
		if err != nil || cmd.CommandID != "id-"+l.name || cmd.AppID != odd || cmd.UserID != odd || cmd.DeviceID != odd || cmd.RequestedAt.IsZero() ||
			len(cmd.Conversations) != 1 || cmd.Conversations[0].ID != id || cmd.Conversations[0].ThroughSeq == nil || *cmd.Conversations[0].ThroughSeq != beyond {
			t.Errorf("%s publishes %s (%v); want what it was told", l.name, msg.Data, err)
		}
	}
}

// A gateway whose app is at its limit publishes again, with the same id, until there is room.
func TestAGatewayWaitsWhileItsAppIsAtItsLimit(t *testing.T) {
	t.Parallel()
	s := newPlainStack(t)
	js := s.jetStream(t)
	commands, err := js.CreateStream(t.Context(), jetstream.StreamConfig{ // as setup makes it with --commands-max-per-app 1
		Name: conversation.CommandsStream, Subjects: []string{"conversation.delete.*"}, Retention: jetstream.WorkQueuePolicy,
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
	})
	must(t, err)
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			subject := conversation.CommandSubject(l.name)
			_, err := js.Publish(t.Context(), subject, nil)
			must(t, err)
			cmd := s.client(t, l, "gateway", l.name, "alice", "phone", "c2c_bob", "9", "limited")
			var stdout, stderr text
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			must(t, cmd.Start())
			until(t, func() error {
				if text := stderr.String(); !strings.Contains(text, "maximum messages per subject exceeded") || !strings.Contains(text, "publishing limited again") {
					return fmt.Errorf("the gateway prints %q; want why it waits", text)
				}
				return nil
			})
			must(t, commands.Purge(t.Context(), jetstream.WithPurgeSubject(subject)))
			if err := cmd.Wait(); err != nil || !strings.HasPrefix(stdout.String(), "stored limited in ") {
				t.Errorf("the gateway: %v, %q\n%s; want it stored in the end", err, &stdout, &stderr)
			}
		})
	}
}

// For each event there are the devices that hear of it, and what is handed over is the event, to the digit.
func TestPresenceChoosesTheDevices(t *testing.T) {
	t.Parallel()
	s := newPlainStack(t)
	js := s.jetStream(t)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: conversation.EventsStream, Subjects: []string{"conversation.*.*.*"}, AllowDirect: true})
	must(t, err)
	member := conversation.Deleted{AppID: "demo", UserID: odd, ConversationID: "c", ThroughSeq: beyond, OriginDeviceID: "phone"}
	all := conversation.AllDeleted{AppID: "demo", UserID: odd, OriginDeviceID: "laptop"}
	var want []string
	publish := func(msg *nats.Msg, err error, devices ...string) {
		t.Helper()
		must(t, err)
		_, err = js.PublishMsg(t.Context(), msg)
		must(t, err)
		for _, device := range devices {
			want = append(want, device+" "+msg.Header.Get("ce-type")+" "+string(msg.Data))
		}
	}
	deleted := func(id string, change func(*conversation.Deleted), devices ...string) {
		t.Helper()
		d := member
		d.CommandID = id
		change(&d)
		msg, err := d.Msg(conversation.Trace{})
		publish(msg, err, devices...)
	}
	deleted("1", func(*conversation.Deleted) {}, "phone")
	deleted("2", func(d *conversation.Deleted) { d.MultiClientSync = true }, "phone", "laptop")
	deleted("3", func(d *conversation.Deleted) { d.OriginDeviceID = "" })
	deleted("4", func(d *conversation.Deleted) { d.OriginDeviceID = "tablet" })
	deleted("5", func(d *conversation.Deleted) { d.Scope, d.RequestedBy = conversation.ScopeEveryone, odd }, "phone")
	deleted("6", func(d *conversation.Deleted) { d.Scope, d.RequestedBy = conversation.ScopeEveryone, "bob" }, "phone", "laptop")
	erased, err := conversation.Erased{CommandID: "1", AppID: "demo", UserID: odd, ConversationID: "c"}.Msg(conversation.Trace{})
	publish(erased, err)
	failed, err := conversation.DeleteFailed{CommandID: "7", AppID: "demo", UserID: odd, ConversationID: "c", Reason: conversation.ReasonBoundaryRequired, OriginDeviceID: "laptop"}.Msg(1, conversation.Trace{})
	publish(failed, err, "laptop")
	unknown := nats.NewMsg("conversation.archived.demo." + conversation.EscapeToken(odd))
	unknown.Header.Set("ce-type", "conversation.archived")
	unknown.Data = []byte(`{"origin_device_id":"phone"}`)
	publish(unknown, nil)
	finished, err := all.Msg(conversation.Trace{})
	publish(finished, err, "laptop")

	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			p := s.presence(t, l, odd, filepath.Join(t.TempDir(), "cursor"))
			for _, line := range want {
				if got := p.next(t); got != line {
					t.Errorf("presence prints\n%s; want\n%s", got, line)
				}
			}
		})
	}
}

// A device whose cursor is so old that it may have missed something loads its list, and no other does.
func TestPresenceKnowsWhenACursorIsTooOld(t *testing.T) {
	t.Parallel()
	s := newPlainStack(t)
	js := s.jetStream(t)
	events, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: conversation.EventsStream, Subjects: []string{"conversation.*.*.*"}, AllowDirect: true, MaxMsgsPerSubject: 4})
	must(t, err)
	for seq, user := range []string{1: "bob", 2: "bob", 3: "bob", 4: "carol", 5: "alice", 6: "alice", 7: "alice", 8: "alice", 9: "alice", 10: "carol"} {
		if seq == 0 {
			continue
		}
		msg, err := conversation.Deleted{CommandID: strconv.Itoa(seq), AppID: "demo", UserID: user, ConversationID: "c", OriginDeviceID: "phone"}.Msg(conversation.Trace{})
		must(t, err)
		_, err = js.PublishMsg(t.Context(), msg)
		must(t, err)
	}
	must(t, events.Purge(t.Context(), jetstream.WithPurgeSequence(4))) // the stream begins at 4, and 5 is over alice's limit
	for _, c := range []struct {
		user   string
		cursor int
		first  string // line
	}{
		{"carol", 0, "command_id\":\"4"}, // nothing was handed over yet
		{"carol", 2, "reload"},           // 3 may have been carol's
		{"carol", 3, "command_id\":\"4"},
		{"carol", 4, "command_id\":\"10"},
		{"carol", 11, "reload"}, // the cursor is another stream's
		{"alice", 4, "reload"},  // 5 was alice's
		{"alice", 5, "command_id\":\"6"},
	} {
		for _, l := range languages {
			t.Run(l.name+" of "+c.user+" after "+strconv.Itoa(c.cursor), func(t *testing.T) {
				t.Parallel()
				cursor := filepath.Join(t.TempDir(), "cursor")
				if c.cursor > 0 {
					must(t, os.WriteFile(cursor, []byte(strconv.Itoa(c.cursor)), 0o600))
				}
				line := s.presence(t, l, c.user, cursor).next(t)
				if !strings.HasPrefix(line, "phone ") || !strings.Contains(line, c.first) {
					t.Errorf("presence prints %s; want %s", line, c.first)
				}
			})
		}
	}
}

// newPlainStack has a server without accounts, and no worker.
func newPlainStack(t *testing.T) *stack {
	t.Helper()
	build(t)
	return &stack{nats: localtest.NATS(t), log: &text{}}
}

// jetStream is that of a plain stack.
func (s *stack) jetStream(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, err := s.nats.Connect()
	must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(t, err)
	return js
}
