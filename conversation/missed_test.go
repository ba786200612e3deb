package conversation_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// missed returns the commands of what alice missed, and the error.
func missed(t *testing.T, c *conversation.Client, after, through uint64) (commands []string, err error) {
	t.Helper()
	last := after
	for e, err := range c.Missed(t.Context(), "demo", "alice", after, through) {
		if err != nil {
			return commands, err
		}
		if e.Sequence <= last || e.Sequence > through {
			t.Errorf("event %d after %d, through %d", e.Sequence, last, through)
		}
		last = e.Sequence
		commands = append(commands, e.CommandID())
	}
	return commands, nil
}

func TestMissedYieldsWhatCameBetweenTwoCursors(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	bobs := about("bob's")
	bobs.UserID = "bob"
	tell(t, js, about("1"), bobs)
	tellFailure(t, js, "3", 9)
	tell(t, js, about("4"))
	if _, err := js.Publish(t.Context(), conversation.DeletedSubject("demo", "alice"), []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	tell(t, js, allOf("6"))
	for _, c := range []struct {
		after, through uint64
		want           []string
	}{
		{0, 100, []string{"1", "3", "4", "6"}},
		{0, 4, []string{"1", "3", "4"}},
		{1, 3, []string{"3"}},
		{2, 2, nil},
		{4, 100, []string{"6"}},
		{6, 100, nil},
	} {
		got, err := missed(t, client, c.after, c.through)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("after %d through %d: %v, %v; want %v", c.after, c.through, got, err, c.want)
		}
	}
	if n := consumers(t, js); n != 0 {
		t.Errorf("%d consumers; want none", n)
	}
}

func TestMissedMayBeLeftEarly(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	tell(t, js, about("1"), about("2"))
	for e, err := range client.Missed(t.Context(), "demo", "alice", 0, 100) {
		if err != nil || e.CommandID() != "1" {
			t.Fatalf("%v, %v; want 1", e.CommandID(), err)
		}
		break
	}
}

func TestMissedRefusesACursorAfterWhichEventsMayBeGone(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, nil))
	js := addStreams(t, nc, func(c *jetstream.StreamConfig) {
		if c.Name == conversation.EventsStream {
			c.MaxMsgsPerSubject, c.Discard = 2, jetstream.DiscardOld
		}
	})
	client := newClient(t, nc)
	bobs := about("bob's")
	bobs.UserID = "bob"
	tell(t, js, bobs, about("1"), about("2"), about("3"))
	refused := func(after uint64) {
		t.Helper()
		if got, err := missed(t, client, after, 100); !errors.Is(err, conversation.ErrCursorExpired) || len(got) > 0 {
			t.Errorf("after %d: %v, %v; want ErrCursorExpired alone", after, got, err)
		}
	}
	refused(1) // by the limit of the subject
	refused(5) // past the end
	if got, err := missed(t, client, 2, 100); err != nil || !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("after 2: %v, %v; want 2 and 3", got, err)
	}
	stream, err := js.Stream(t.Context(), conversation.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(4)); err != nil {
		t.Fatal(err)
	}
	refused(2) // by age
}

func TestMissedSaysWhatToDo(t *testing.T) {
	t.Parallel()
	client := newClient(t, connect(t, startServer(t, nil)))
	if _, err := missed(t, client, 0, 1); !errors.Is(err, conversation.ErrNoStream) {
		t.Errorf("without a stream: %v; want ErrNoStream", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range client.Missed(ctx, "demo", "alice", 0, 1) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v; want the context's error", err)
		}
	}
	for _, err := range client.Missed(t.Context(), "demo", "", 0, 1) {
		var invalid *conversation.InvalidError
		if !errors.As(err, &invalid) {
			t.Errorf("without a user: %v; want an InvalidError", err)
		}
	}
}

func TestMissedSaysWhichPermissionIsLacking(t *testing.T) {
	t.Parallel()
	s := startServer(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "x"},
			{Username: "gateway", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"conversation.delete.demo"}}}},
		}
	})
	addStreams(t, connect(t, s, nats.UserInfo("admin", "x")), nil)
	client := newClient(t, connect(t, s, nats.UserInfo("gateway", "x")), conversation.WithTimeout(300*time.Millisecond))
	if _, err := missed(t, client, 0, 1); !errors.Is(err, conversation.ErrNotPermitted) {
		t.Errorf("%v; want ErrNotPermitted", err)
	}
}
