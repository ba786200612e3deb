package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// A user's story in each language, with the accounts and permissions of deploy/nats: what the gateway publishes is
// deleted, and presence hands it over to the right devices, each event once, also what it has missed.
func TestFromTheGatewayToTheDevices(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.setUp(t)
	s.startWorker(t)
	cursors := t.TempDir()
	user := func(l language) string { return "alice." + l.name + "/1" } // a token with escapes
	cursor := func(l language) string { return filepath.Join(cursors, l.name) }

	t.Run("the device that asked", func(t *testing.T) { // before the switch, so not parallel
		for _, l := range languages {
			t.Run(l.name, func(t *testing.T) {
				t.Parallel()
				s.fill(t, user(l), "c2c_bob", "group_42", "group_43")
				p := s.presence(t, l, user(l), cursor(l))
				s.delete(t, l, user(l), "phone", "c2c_bob", "4", "first-"+l.name)
				p.wants(t, "phone conversation.deleted", `"command_id":"first-`+l.name, `"conversation_id":"c2c_bob"`, `"through_seq":4`, `"messages_deleted":4`)
				if n := s.messages(t, user(l)); n != 11 {
					t.Errorf("%d messages are left; want all but c2c_bob's first 4", n)
				}
				s.delete(t, l, user(l), "phone", "c2c_bob", "4", "first-"+l.name)  // again: nothing new
				s.repeat(t, conversation.DeletedSubject("demo", user(l)))          // as a worker does after a crash
				s.delete(t, l, user(l), "phone", "group_42", "9", "first-"+l.name) // the id of another deletion
				p.wants(t, "phone conversation.delete_failed", `"command_id":"first-`+l.name, `"reason":"command_id_reused"`)
				s.await(t, cursor(l), conversation.DeleteFailedSubject("demo", user(l)))
			})
		}
	})
	s.worker(t, "settings", "set", "--app", "demo", "--multi-client-sync=true")
	t.Run("all devices", func(t *testing.T) { // after the switch
		for _, l := range languages {
			t.Run(l.name, func(t *testing.T) {
				t.Parallel()
				s.junk(t, conversation.DeletedSubject("demo", user(l)))
				s.delete(t, l, user(l), "laptop", "group_42", "9", "missed-"+l.name) // nobody follows
				p := s.presence(t, l, user(l), cursor(l))
				p.wants(t, "phone conversation.deleted", `"command_id":"missed-`+l.name)
				p.wants(t, "laptop conversation.deleted", `"command_id":"missed-`+l.name)
				s.await(t, cursor(l), conversation.DeletedSubject("demo", user(l)))
				p.stop()
				p = s.presence(t, l, user(l), cursor(l))
				s.delete(t, l, user(l), "phone", "group_43", "9", "last-"+l.name)
				p.wants(t, "phone conversation.deleted", `"command_id":"last-`+l.name)
				p.wants(t, "laptop conversation.deleted", `"command_id":"last-`+l.name)
			})
		}
	})
}

// Where nothing is set up, both say so and fail.
func TestAMissingStreamIsAnError(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			_, stderr, err := s.gateway(t, l, "demo", "alice", "phone", "c2c_bob", "9")
			if code := exitCode(err); code != 1 || !strings.Contains(stderr, "worker setup") {
				t.Errorf("gateway: exit code %d, %q; want 1 and the advice to set up", code, stderr)
			}
			p := s.presence(t, l, "alice", filepath.Join(t.TempDir(), "cursor"))
			for line := range p.lines {
				t.Errorf("presence prints %q", line)
			}
			if code := exitCode(p.cmd.Wait()); code != 1 || !strings.Contains(p.stderr.String(), conversation.EventsStream) {
				t.Errorf("presence: exit code %d, %q; want 1 and the stream's name", code, p.stderr)
			}
		})
	}
}

// Called without what they need, they say what that is.
func TestMissingArgumentsAreNamed(t *testing.T) {
	t.Parallel()
	s := newPlainStack(t)
	for _, l := range languages {
		for _, program := range []string{"gateway", "presence"} {
			out, err := s.client(t, l, program, "demo", "alice").CombinedOutput()
			if code := exitCode(err); code != 1 || !strings.HasPrefix(string(out), program+": expected APP USER ") {
				t.Errorf("%s's %s: exit code %d, %s; want 1 and its arguments", l.name, program, code, out)
			}
		}
	}
}

// fill gives a user five messages in each conversation.
func (s *stack) fill(t *testing.T, user string, conversations ...string) {
	t.Helper()
	conn := s.open(t)
	for _, id := range conversations {
		_, err := conn.Exec(t.Context(), `insert into chat.conversations (app_id, user_id, conversation_id, last_seq) values ('demo', $1, $2, 5)`, user, id)
		must(t, err)
		_, err = conn.Exec(t.Context(), `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
			select 'demo', $1, $2, seq, now() - interval '1 minute' from generate_series(1, 5) seq`, user, id)
		must(t, err)
	}
}

// messages counts a user's.
func (s *stack) messages(t *testing.T, user string) (n int) {
	t.Helper()
	must(t, s.open(t).QueryRow(t.Context(), `select count(*) from chat.messages where app_id = 'demo' and user_id = $1`, user).Scan(&n))
	return n
}

// open connects to the database.
func (s *stack) open(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.db)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

// events is the stream of an account.
func (s *stack) events(t *testing.T, account string) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(s.connect(t, account))
	must(t, err)
	stream, err := js.Stream(t.Context(), conversation.EventsStream)
	must(t, err)
	return stream
}

// repeat stores the latest event of a subject once more, in spite of the stream's
// window for duplicates.
func (s *stack) repeat(t *testing.T, subject string) {
	t.Helper()
	stored, err := s.events(t, "LETHE").GetLastMsgForSubject(t.Context(), subject)
	must(t, err)
	msg := nats.NewMsg(subject)
	msg.Data = stored.Data
	for name, values := range stored.Header {
		if !strings.HasPrefix(name, "Nats-") {
			msg.Header[name] = values
		}
	}
	_, err = s.connect(t, "LETHE").RequestMsg(msg, timeout)
	must(t, err)
}

// junk stores what is no event on a subject.
func (s *stack) junk(t *testing.T, subject string) {
	t.Helper()
	nc := s.connect(t, "LETHE")
	for _, data := range []string{"x", "null", "\xff", "{}"} {
		for _, header := range []nats.Header{nil, {"ce-type": {"conversation.deleted"}}} {
			_, err := nc.RequestMsg(&nats.Msg{Subject: subject, Data: []byte(data), Header: header}, timeout)
			must(t, err)
		}
	}
}

// await waits until a presence service has confirmed the latest event of a subject.
func (s *stack) await(t *testing.T, cursor, subject string) {
	t.Helper()
	last, err := s.events(t, "demo").GetLastMsgForSubject(t.Context(), subject)
	must(t, err)
	until(t, func() error {
		if got, err := os.ReadFile(cursor); err != nil || string(got) != strconv.FormatUint(last.Sequence, 10) {
			return fmt.Errorf("the cursor is %q, %w; want %d", got, err, last.Sequence)
		}
		return nil
	})
}

// wants reads the next line, which begins with a device and a type.
func (p *presence) wants(t *testing.T, begin string, parts ...string) {
	t.Helper()
	line := p.next(t)
	ok := strings.HasPrefix(line, begin+" {")
	for _, part := range parts {
		ok = ok && strings.Contains(line, part)
	}
	if !ok {
		t.Fatalf("presence prints %s; want %s with %s", line, begin, parts)
	}
}

// until waits until a condition holds.
func until(t *testing.T, condition func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(timeout); ; <-tick.C {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// An outage of NATS is no reason to miss an event, or to end.
func TestPresenceGoesOnAfterAnOutage(t *testing.T) {
	t.Parallel()
	s := newPlainStack(t)
	services := s.follow(t, languages)
	must(t, s.nats.Stop())
	must(t, s.nats.Start())
	s.store(t, "after")
	for name, p := range services {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.wants(t, "phone conversation.deleted", `"command_id":"after"`)
		})
	}
}

// A presence service that NATS has closed for good hears nothing more, so that it fails. Python's client tries again.
func TestPresenceFailsWhereNATSRefusesIt(t *testing.T) {
	t.Parallel()
	build(t)
	var refuses atomic.Bool
	s := &stack{log: &text{}, nats: localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
		if refuses.Load() {
			o.Authorization = "another"
		}
	}})}
	services := s.follow(t, slices.DeleteFunc(slices.Clone(languages), func(l language) bool { return l.name == "python" }))
	must(t, s.nats.Stop())
	refuses.Store(true)
	must(t, s.nats.Start())
	for name, p := range services {
		for line := range p.lines {
			t.Errorf("%s prints %q", name, line)
		}
		if code := exitCode(p.cmd.Wait()); code != 1 || !strings.Contains(p.stderr.String(), "presence: ") {
			t.Errorf("%s: exit code %d, %q; want 1 and why", name, code, p.stderr)
		}
	}
}

// follow starts a presence service in each language on a plain stack, and waits until it has handed an event over.
func (s *stack) follow(t *testing.T, languages []language) map[string]*presence {
	t.Helper()
	s.store(t, "before")
	services := map[string]*presence{}
	for _, l := range languages {
		p := s.presence(t, l, "alice", filepath.Join(t.TempDir(), "cursor"))
		p.wants(t, "phone conversation.deleted", `"command_id":"before"`)
		services[l.name] = p
	}
	return services
}

// store stores an event of alice's phone in the stream of a plain stack.
func (s *stack) store(t *testing.T, command string) {
	t.Helper()
	js := s.jetStream(t)
	_, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: conversation.EventsStream, Subjects: []string{"conversation.*.*.*"}, AllowDirect: true})
	must(t, err)
	msg, err := conversation.Deleted{CommandID: command, AppID: "demo", UserID: "alice", ConversationID: "c", OriginDeviceID: "phone"}.Msg(conversation.Trace{})
	must(t, err)
	_, err = js.PublishMsg(t.Context(), msg)
	must(t, err)
}
