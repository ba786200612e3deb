package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// restored is a stack in which a worker has deleted a conversation c2c_bob of
// forty messages, and which then was brought back to the time before that, as far as
// a replay can see.
func restored(t *testing.T) (s stack, since time.Time) {
	t.Helper()
	s = newReadyStack(t)
	since = time.Now()
	w := s.startWorking(t)
	s.deleteAndForget(t, "c2c_bob", 40)
	w.stop(t)
	return s, since
}

// deleteAndForget has a conversation deleted, and brings it back as a restore
// does: the rows are there, and the ledger knows nothing.
func (s stack) deleteAndForget(t *testing.T, id string, n int) {
	t.Helper()
	s.addConversation(t, id, n)
	s.send("--conversation", id, "--command-id", "of "+id, "--wait").mustSucceed(t)
	for _, sql := range []string{"delete from lethe.deletions", "delete from lethe.commands"} {
		s.exec(t, sql)
	}
	s.addConversation(t, id, n)
}

func (s stack) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := s.connect(t).Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// replay runs `worker replay`.
func (s stack) replay(since time.Time, args ...string) outcome {
	return s.command(append([]string{"replay", "--since", since.UTC().Format(time.RFC3339Nano)}, args...)...)
}

// wantReplay wants the exit code, and fields of the summary in pairs of name and
// value.
func (s stack) wantReplay(t *testing.T, code int, since time.Time, fields ...any) outcome {
	t.Helper()
	o := s.replay(since, "--json")
	if o.code != code {
		t.Fatalf("worker replay = %d; want %d\nstdout: %s\nstderr: %s", o.code, code, o.stdout, o.stderr)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		wantField(t, o.objects(t)[0], fields[i].(string), fields[i+1])
	}
	return o
}

func TestReplaySaysWhatItWantsOfSince(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	const example = "such as 2026-11-23T09:00:00Z"
	s.command("replay").mustFail(t, exitUsage, "--since: is missing", example)
	s.command("replay", "--since", "yesterday").mustFail(t, exitUsage, `--since: \"yesterday\" is not a time`, example)
	s.command("replay", "--since", "2026-11-23 09:00:00").mustFail(t, exitUsage, "is not a time", example)
	s.replay(time.Now().Add(time.Hour)).mustFail(t, exitUsage, "is in the future", example)
}

func TestReplayPrintsForPeople(t *testing.T) {
	t.Parallel()
	s, since := restored(t)
	dry := s.replay(since, "--dry-run").mustSucceed(t).stdout
	for _, want := range []string{"dry_run                nothing was changed\n", "messages_deleted       40\n", "replayed               1\n"} {
		if !strings.Contains(dry, want) {
			t.Errorf("dry run printed\n%s; want %q in it", dry, want)
		}
	}
	if n := s.messages(t, "c2c_bob"); n != 40 {
		t.Fatalf("%d messages left after a dry run; want 40", n)
	}
	text := s.replay(since).mustSucceed(t).stdout
	for _, want := range []string{"events                 1\n", "messages_deleted       40\n", "rows_deleted           41\n", "conversations_removed  1\n", "failed                 0\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("replay printed\n%s; want %q in it", text, want)
		}
	}
	if n := s.messages(t, "c2c_bob"); n != 0 {
		t.Errorf("%d messages left", n)
	}
	s.wantReplay(t, exitOK, time.Now(), "events", 0, "complete", true)
}

func TestReplaySaysWhenEventsMayBeMissing(t *testing.T) {
	t.Parallel()
	t.Run("since a time before the stream", func(t *testing.T) {
		t.Parallel()
		s, since := restored(t)
		o := s.wantReplay(t, exitMissing, since.Add(-time.Hour), "complete", false, "messages_deleted", 40)
		for _, want := range []string{"--since is older than the stream", `"msg":"failed","error":"everything in CONVERSATION_EVENTS is replayed, but`} {
			if !strings.Contains(o.stderr, want) {
				t.Errorf("stderr is %q; want %q in it", o.stderr, want)
			}
		}
		s.wantReplay(t, exitOK, since, "complete", true, "messages_deleted", 0)
	})
	t.Run("in front, in the middle, and at the end", func(t *testing.T) {
		t.Parallel()
		s := newReadyStack(t)
		since := time.Now()
		w := s.startWorking(t)
		for i := range 4 {
			s.deleteAndForget(t, fmt.Sprint("c", i), 10)
		}
		w.stop(t)
		stream := s.events(t)
		if err := stream.DeleteMsg(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		o := s.wantReplay(t, exitMissing, since, "messages_deleted", 30, "events", 3)
		if want := "messages 2 to 2 are gone"; !strings.Contains(o.stdout, want) || !strings.Contains(o.stderr, want) {
			t.Errorf("printed %q and %q; want %q", o.stdout, o.stderr, want)
		}
		if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(4)); err != nil {
			t.Fatal(err)
		}
		o = s.wantReplay(t, exitMissing, since, "messages_deleted", 0, "events", 1)
		if want := "--since is older than the stream's first event, 4 of"; !strings.Contains(o.stderr, want) {
			t.Errorf("stderr is %q; want %q in it", o.stderr, want)
		}
		if err := stream.DeleteMsg(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		s.wantReplay(t, exitMissing, since, "events", 0)
		s.wantReplay(t, exitOK, time.Now(), "events", 0)
	})
	t.Run("in a stream that was made again", func(t *testing.T) {
		t.Parallel()
		s, since := restored(t)
		s.deleteEvents(t)
		s.replay(since).mustFail(t, exitError, "stream CONVERSATION_EVENTS is missing")
		s.command("setup").mustSucceed(t)
		s.wantReplay(t, exitMissing, since, "messages_deleted", 0)
		if n := s.messages(t, "c2c_bob"); n != 40 {
			t.Errorf("%d messages left; want all 40", n)
		}
	})
}

// events is the stream of events.
func (s stack) events(t *testing.T) jetstream.Stream {
	t.Helper()
	stream, err := s.jetstream(t).Stream(t.Context(), conversation.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func (s stack) deleteEvents(t *testing.T) {
	t.Helper()
	if err := s.jetstream(t).DeleteStream(t.Context(), conversation.EventsStream); err != nil {
		t.Fatal(err)
	}
}

func (s stack) jetstream(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, err := s.nats.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestReplayLeavesOutWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	since := time.Now()
	event := conversation.Deleted{
		CommandID: "forged", AppID: "demo", UserID: "alice", ConversationID: "c2c_bob", ThroughSeq: 40, CompletedAt: time.Now().Add(time.Hour),
	}
	good, err := event.Msg(conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	change := func(what func(*nats.Msg)) *nats.Msg {
		m := &nats.Msg{Subject: good.Subject, Data: good.Data, Header: nats.Header{}}
		for name, values := range good.Header {
			if name != nats.MsgIdHdr {
				m.Header[name] = values
			}
		}
		what(m)
		return m
	}
	without := func(field string) func(*nats.Msg) {
		return func(m *nats.Msg) { m.Data = []byte(strings.Replace(string(m.Data), `"`+field+`"`, `"x"`, 1)) }
	}
	js := s.jetstream(t)
	bad := []*nats.Msg{
		{Subject: good.Subject, Data: []byte("garbage")},
		{Subject: good.Subject, Header: nats.Header{"Status": {"404"}, "Nats-Sequence": {"99"}}},
		change(func(m *nats.Msg) { m.Subject = conversation.DeletedSubject("demo", "bob") }),
		change(func(m *nats.Msg) { m.Header.Set(conversation.HeaderEventID, "another") }),
		change(func(m *nats.Msg) { m.Header.Set(conversation.HeaderEventType, "conversation.restored") }),
		change(without("history_kept")), change(without("through_seq")), change(without("completed_at")), change(without("command_id")),
	}
	for _, m := range bad {
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	s.publishRaw(t, good.Subject)
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: conversation.DeleteFailedSubject("demo", "alice"), Data: []byte("tells of no deletion")}); err != nil {
		t.Fatal(err)
	}
	s.addConversation(t, "c2c_bob", 40)
	s.wantReplay(t, exitError, since, "events", 0, "malformed", len(bad)+1)
	if n := s.messages(t, "c2c_bob"); n != 40 {
		t.Fatalf("%d messages left; want all 40", n)
	}
	w := s.startWorking(t)
	s.deleteAndForget(t, "c2c_eve", 10)
	w.stop(t)
	o := s.wantReplay(t, exitError, since, "events", 1, "malformed", len(bad)+1, "messages_deleted", 10)
	for _, want := range []string{"history_kept: is missing", `"sequence":1,`, fmt.Sprintf(`"sequence":%d,`, len(bad)+1), "its headers can't be read", "10 events could not be read"} {
		if !strings.Contains(o.stderr, want) {
			t.Errorf("stderr is %q; want %q in it", o.stderr, want)
		}
	}
}

// publishRaw stores a message whose headers no client reads.
func (s stack) publishRaw(t *testing.T, subject string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.nats.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	last := s.events(t).CachedInfo().State.LastSeq
	const header = "NATS/1.0\r\nno colon here\r\n\r\n"
	fmt.Fprintf(conn, "CONNECT {\"headers\":true,\"verbose\":false}\r\nHPUB %s %d %d\r\n%s{}\r\nPING\r\n", subject, len(header), len(header)+2, header)
	deadline := time.Now().Add(timeout)
	for s.events(t).CachedInfo().State.LastSeq == last {
		if time.Now().After(deadline) {
			t.Fatal("the message was not stored")
		}
	}
}

// background runs `worker replay` beside the test.
type background struct {
	log  *lines
	stop context.CancelFunc
	code chan int
}

func (s stack) replayBeside(t *testing.T, since time.Time) *background {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	b := &background{log: newLines(), stop: cancel, code: make(chan int, 1)}
	go func() {
		b.code <- run(ctx, []string{"replay", "--since", since.UTC().Format(time.RFC3339Nano)}, s.env(), newLines(), b.log)
	}()
	return b
}

func (b *background) want(t *testing.T, code int) {
	t.Helper()
	if got := <-b.code; got != code {
		t.Errorf("worker replay = %d; want %d\n%s", got, code, b.log)
	}
}

func TestReplayIsThrottled(t *testing.T) {
	t.Parallel()
	t.Run("by a pause, until the resume", func(t *testing.T) {
		t.Parallel()
		s, since := restored(t)
		s.command("pause", "--lane", "long").mustSucceed(t)
		b := s.replayBeside(t, since)
		b.log.await(t, "throttled", "paused")
		if n := s.messages(t, "c2c_bob"); n != 40 {
			t.Errorf("%d messages left while it is paused; want 40", n)
		}
		s.command("resume").mustSucceed(t)
		b.want(t, exitOK)
		if n := s.messages(t, "c2c_bob"); n != 0 {
			t.Errorf("%d messages left", n)
		}
	})
	t.Run("by a locked row, until it is free", func(t *testing.T) {
		t.Parallel()
		s, since := restored(t)
		tx, err := s.connect(t).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "select from chat.messages where seq = 7 for update"); err != nil {
			t.Fatal(err)
		}
		b := s.replayBeside(t, since)
		b.log.await(t, "waiting for a locked row")
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.want(t, exitOK)
		if n := s.messages(t, "c2c_bob"); n != 0 {
			t.Errorf("%d messages left", n)
		}
	})
	t.Run("by somebody who holds the permits, until they are free", func(t *testing.T) {
		t.Parallel()
		s, since := restored(t)
		other := s.connect(t)
		if _, err := other.Exec(t.Context(), "set application_name = 'cron'; select pg_advisory_lock(1818588264, n) from generate_series(1, 64) n"); err != nil {
			t.Fatal(err)
		}
		b := s.replayBeside(t, since)
		b.log.await(t, "throttled", "permits_held", "application cron")
		if _, err := other.Exec(t.Context(), "select pg_advisory_unlock_all()"); err != nil {
			t.Fatal(err)
		}
		b.want(t, exitOK)
	})
	t.Run("and a stop says how to continue", func(t *testing.T) {
		t.Parallel()
		s, since := restored(t)
		s.command("pause").mustSucceed(t)
		b := s.replayBeside(t, since)
		b.log.await(t, "throttled", "paused")
		b.stop()
		b.want(t, exitError)
		b.log.await(t, `"error":"stopped (`, "run it again to continue")
		s.command("resume").mustSucceed(t)
		s.wantReplay(t, exitOK, since, "messages_deleted", 40)
	})
}

func TestReplayGoesOnAfterADeletionThatFails(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	since := time.Now()
	w := s.startWorking(t)
	for _, id := range []string{"a", "b", "c"} {
		s.deleteAndForget(t, id, 10)
	}
	w.stop(t)
	s.exec(t, `create function public.refuse() returns trigger language plpgsql as $$ begin
		if old.conversation_id = 'b' then raise exception 'this conversation is on legal hold'; end if; return old; end $$;
		create trigger refuse before delete on chat.messages for each row execute function public.refuse();`)
	o := s.wantReplay(t, exitError, since, "events", 3, "replayed", 2, "failed", 1, "messages_deleted", 20, "complete", false)
	if !strings.Contains(o.stderr, "legal hold") || !strings.Contains(o.stderr, "1 deletion could not be replayed") {
		t.Errorf("stderr is %q; want the reason and the count", o.stderr)
	}
	if n := s.messages(t, "b"); n != 10 {
		t.Errorf("%d messages left of b; want 10", n)
	}
	s.exec(t, `drop trigger refuse on chat.messages`)
	s.wantReplay(t, exitOK, since, "replayed", 1, "messages_deleted", 10)
}
