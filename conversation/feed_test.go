package conversation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// about is a finished deletion of alice's.
func about(command string) conversation.Deleted {
	return conversation.Deleted{CommandID: command, AppID: "demo", UserID: "alice", ConversationID: "c", ThroughSeq: 5, CompletedAt: noon}
}

// tell publishes events into the stream, and returns the last one's sequence.
func tell(t *testing.T, js jetstream.JetStream, events ...interface {
	Msg(conversation.Trace) (*nats.Msg, error)
},
) uint64 {
	t.Helper()
	last := uint64(0)
	for _, e := range events {
		msg, err := e.Msg(trace)
		if err != nil {
			t.Fatal(err)
		}
		ack, err := js.PublishMsg(t.Context(), msg)
		if err != nil {
			t.Fatal(err)
		}
		last = ack.Sequence
	}
	return last
}

func tellFailure(t *testing.T, js jetstream.JetStream, command string, streamSeq uint64) uint64 {
	t.Helper()
	f := failed
	f.CommandID = command
	msg, err := f.Msg(streamSeq, trace)
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.PublishMsg(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// tellAgain stores an event once more, as after the stream has forgotten its id.
func tellAgain(t *testing.T, js jetstream.JetStream, e conversation.Deleted) {
	t.Helper()
	msg, err := e.Msg(trace)
	if err != nil {
		t.Fatal(err)
	}
	delete(msg.Header, nats.MsgIdHdr)
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}

func tellProgress(t *testing.T, js jetstream.JetStream, command string, purged int64) {
	t.Helper()
	p := conversation.Deleting{CommandID: command, AppID: "demo", UserID: "alice", ConversationID: "c", PurgedThroughSeq: purged}
	msg, err := p.Msg(trace)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.Conn().PublishMsg(msg); err != nil {
		t.Fatal(err)
	}
}

func follow(t *testing.T, c *conversation.Client, opts ...conversation.FollowOption) *conversation.Feed {
	t.Helper()
	f, err := c.Follow(t.Context(), "demo", "alice", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// next is the next event, or the end of the test.
func next(t *testing.T, f *conversation.Feed) conversation.Event {
	t.Helper()
	e, err := f.Next(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// wantNext fails unless the next events are of these commands, in this order.
func wantNext(t *testing.T, f *conversation.Feed, commands ...string) {
	t.Helper()
	last := uint64(0)
	for _, want := range commands {
		e := next(t, f)
		if e.CommandID() != want || e.Sequence <= last {
			t.Fatalf("Next = %s of %s at %d after %d; want %s", e.Type, e.CommandID(), e.Sequence, last, want)
		}
		last = e.Sequence
	}
}

func wantNothing(t *testing.T, f *conversation.Feed) {
	t.Helper()
	if e, err := f.Next(within(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Next = %+v, %v; want nothing", e, err)
	}
}

func TestFollowThenDeleteMissesNothing(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	tell(t, js, about("before"))
	feed := follow(t, client)
	tellProgress(t, js, "1", 3)
	e := next(t, feed)
	if e.Deleting == nil || e.Deleting.PurgedThroughSeq != 3 || e.Sequence != 0 {
		t.Fatalf("Next = %+v; want progress", e)
	}
	seq := tell(t, js, about("1"))
	e = next(t, feed)
	if e.Deleted == nil || *e.Deleted != withMicroseconds(about("1")) || e.Sequence != seq || e.Trace != trace {
		t.Fatalf("Next = %+v; want command 1 at %d", e, seq)
	}
	seq = tellFailure(t, js, "2", 9)
	if e = next(t, feed); e.Failed == nil || e.Failed.CommandID != "2" || e.Sequence != seq {
		t.Fatalf("Next = %+v; want the failure of command 2 at %d", e, seq)
	}
	wantNothing(t, feed)
}

func withMicroseconds(e conversation.Deleted) conversation.Deleted {
	e.CompletedAt = micro(e.CompletedAt)
	return e
}

func TestFeedLeavesOutOtherUsers(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	feed := follow(t, client)
	bob, app := about("1"), about("2")
	bob.UserID, app.AppID = "bob", "other"
	tell(t, js, bob, app, about("3"))
	wantNext(t, feed, "3")
}

func TestFollowAUserNamedLikeAWildcardHearsNobodyElse(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	feed, err := client.Follow(t.Context(), "*", ">", conversation.WithAfter(0))
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	tell(t, js, about("1"))
	own := about("2")
	own.AppID, own.UserID = "*", ">"
	tell(t, js, own)
	wantNext(t, feed, "2")
}

func TestFeedCatchesUpFromACursor(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	cursor := tell(t, js, about("1"), about("2"))
	tellFailure(t, js, "3", 1)
	tell(t, js, about("4"))
	tellFailure(t, js, "5", 2)
	tell(t, js, erasedOf("6"), allOf("7"), about("8"))
	wantNext(t, follow(t, client, conversation.WithAfter(cursor)), "3", "4", "5", "6", "7", "8")
	feed := follow(t, client, conversation.WithAfter(0))
	wantNext(t, feed, "1", "2", "3", "4", "5", "6", "7", "8")
	tell(t, js, about("9"))
	wantNext(t, feed, "9")
}

// A stream that an earlier `worker setup` has made lacks the newer subjects.
func TestFeedOfAnOlderStream(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, nil))
	js := addStreams(t, nc, func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:2] })
	client := newClient(t, nc)
	cursor := tell(t, js, about("1"))
	tell(t, js, about("2"))
	tellFailure(t, js, "3", 1)
	feed := follow(t, client, conversation.WithAfter(cursor))
	wantNext(t, feed, "2", "3")
	tell(t, js, about("4"))
	wantNext(t, feed, "4")
	if got, err := missed(t, client, 0, 100); err != nil || !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("Missed = %v, %v; want 1 to 4", got, err)
	}
}

func erasedOf(command string) conversation.Erased {
	e := erased
	e.CommandID = command
	return e
}

func allOf(command string) conversation.AllDeleted {
	e := allGone
	e.CommandID = command
	return e
}

func TestFeedKeepsTheOrderOfTheStreamUnderLoad(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	feed := follow(t, client)
	const n = 900
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	go func() {
		for i := range n {
			var msg *nats.Msg
			switch id := fmt.Sprint(i); i % 6 {
			case 0, 3:
				f := failed
				f.CommandID = id
				msg, _ = f.Msg(uint64(i), trace)
			case 1:
				msg, _ = erasedOf(id).Msg(trace)
			case 2:
				msg, _ = allOf(id).Msg(trace)
			default:
				msg, _ = about(id).Msg(trace)
			}
			_, _ = js.PublishMsgAsync(msg)
		}
	}()
	wantNext(t, feed, want...)
	<-js.PublishAsyncComplete()
}

func TestFeedDropsWhatItHasDelivered(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	feed := follow(t, client)
	tell(t, js, about("1"))
	wantNext(t, feed, "1")
	tell(t, js, about("1")) // the stream drops it
	tellAgain(t, js, about("1"))
	tell(t, js, about("2"))
	wantNext(t, feed, "2")
	wantNothing(t, feed)
}

func TestFeedTellsAnEventAgainThatTheStreamHadBefore(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	tell(t, js, about("1"))
	feed := follow(t, client)
	tell(t, js, about("1")) // a repeated command: the stream stores no second copy
	if e := next(t, feed); e.CommandID() != "1" || e.Sequence != 0 {
		t.Errorf("Next = %+v; want command 1 without a sequence", e)
	}
	tell(t, js, about("1"))
	wantNothing(t, feed)
}

func TestFeedReadsInTheStreamWhatItHeardWhileNobodyAsked(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	feed := follow(t, client)
	wantNothing(t, feed)
	var want []string
	for i := range 400 { // more than are remembered live
		want = append(want, fmt.Sprint(i))
		tell(t, js, about(fmt.Sprint(i)))
	}
	conversation.AgeHints(feed)
	wantNext(t, feed, want...)
}

func TestFeedTellsNoProgressAfterTheEnd(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	feed := follow(t, client)
	tell(t, js, about("1"))
	wantNext(t, feed, "1")
	tellProgress(t, js, "1", 5)
	tellProgress(t, js, "2", 6)
	if e := next(t, feed); e.Deleting == nil || e.CommandID() != "2" {
		t.Errorf("Next = %+v; want the progress of 2", e)
	}
}

func TestFeedGoesOnAfterALostConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	js := addStreams(t, connect(t, s), nil)
	wire := &cutter{server: s}
	nc := connect(t, wire, nats.ReconnectWait(10*time.Millisecond), nats.MaxReconnects(-1))
	feed := follow(t, newClient(t, nc))
	tell(t, js, about("1"))
	wantNext(t, feed, "1")

	wire.set(true)
	tell(t, js, about("2"))
	tellFailure(t, js, "3", 1)
	if e, err := feed.Next(within(t, 700*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Next without a connection = %+v, %v; want the deadline", e, err)
	}
	wire.set(false)
	start := time.Now()
	wantNext(t, feed, "2", "3")
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("the feed took %v to go on; want about the time of a reconnect", took)
	}
	tell(t, js, about("4"))
	wantNext(t, feed, "4")
}

func TestFeedLooksAtOnceAfterAReconnect(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	js := addStreams(t, connect(t, s), nil)
	wire := &cutter{server: s}
	nc := connect(t, wire, nats.ReconnectWait(time.Millisecond), nats.MaxReconnects(-1))
	feed := follow(t, newClient(t, nc))
	wantNothing(t, feed) // from here on it waits to hear of something
	result := make(chan conversation.Event, 1)
	go func() {
		e, _ := feed.Next(context.Background())
		result <- e
	}()
	wire.set(true)
	tell(t, js, about("1"))
	wire.set(false)
	select {
	case e := <-result:
		if e.CommandID() != "1" || e.Sequence != 1 {
			t.Errorf("Next = %+v; want command 1", e)
		}
	case <-time.After(3 * time.Second): // the look without a reason comes after 5 s
		t.Error("nothing within 3 s of the reconnect")
		feed.Close()
		<-result
	}
}

func TestFeedHoldsBackWhatItCannotReadInTheStream(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	feed := follow(t, client)
	if err := js.DeleteStream(t.Context(), conversation.EventsStream); err != nil {
		t.Fatal(err)
	}
	msg, _ := about("1").Msg(trace)
	if err := js.Conn().PublishMsg(msg); err != nil {
		t.Fatal(err)
	}
	e, err := feed.Next(within(t, 600*time.Millisecond)) // longer than a live copy waits
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "could not be read") {
		t.Errorf("Next = %+v, %v; want the deadline and why", e, err)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	nc := connect(t, s)
	js := addStreams(t, nc, nil)
	client := newClient(t, nc)
	warm := follow(t, client) // the connection's own subscription for answers stays
	warm.Close()
	before := nc.NumSubscriptions()
	for range 20 {
		feed := follow(t, client, conversation.WithAfter(0))
		tell(t, js, about(conversation.NewCommandID()))
		next(t, feed)
		if n := consumers(t, js); n != 0 {
			t.Fatalf("%d consumers while a feed is open; want 0", n)
		}
		feed.Close()
		feed.Close()
	}
	if n := consumers(t, js); n != 0 || nc.NumSubscriptions() != before {
		t.Errorf("%d consumers and %d subscriptions; want 0 and %d", n, nc.NumSubscriptions(), before)
	}
}

func consumers(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	stream, err := js.Stream(t.Context(), conversation.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Consumers
}

func TestCloseInterruptsNext(t *testing.T) {
	t.Parallel()
	_, _, client := setUp(t)
	feed := follow(t, client)
	result := make(chan error)
	go func() {
		_, err := feed.Next(context.Background())
		result <- err
	}()
	feed.Close()
	if err := <-result; !errors.Is(err, conversation.ErrFeedClosed) {
		t.Errorf("Next = %v; want ErrFeedClosed", err)
	}
	if _, err := feed.Next(t.Context()); !errors.Is(err, conversation.ErrFeedClosed) {
		t.Errorf("Next after Close = %v; want ErrFeedClosed", err)
	}
}

func TestNextSaysThatTheConnectionIsClosed(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	addStreams(t, connect(t, s), nil)
	nc := connect(t, s)
	feed := follow(t, newClient(t, nc))
	result := make(chan error)
	go func() {
		_, err := feed.Next(context.Background())
		result <- err
	}()
	nc.Close()
	if err := <-result; !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Next = %v; want ErrConnectionClosed", err)
	}
}

func TestNextLeavesOutGarbageAndNewTypes(t *testing.T) {
	t.Parallel()
	_, js, client := setUp(t)
	feed := follow(t, client)
	if _, err := js.Publish(t.Context(), "conversation.deleted.demo.alice", []byte("x")); err != nil {
		t.Fatal(err)
	}
	newer, _ := about("x").Msg(trace)
	newer.Header["ce-type"] = []string{"conversation.archived"}
	newer.Header["Nats-Msg-Id"] = []string{"another"}
	if _, err := js.PublishMsg(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	tell(t, js, about("1"))
	wantNext(t, feed, "1")
}

func TestFollowRefusesACursorAfterWhichEventsMayBeGone(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, c *conversation.Client, after uint64) {
		t.Helper()
		_, err := c.Follow(t.Context(), "demo", "alice", conversation.WithAfter(after))
		if !errors.Is(err, conversation.ErrCursorExpired) {
			t.Errorf("Follow after %d = %v; want ErrCursorExpired", after, err)
		}
	}
	t.Run("by age", func(t *testing.T) {
		t.Parallel()
		_, js, client := setUp(t)
		tell(t, js, about("1"), about("2"), about("3"), about("4"))
		stream, err := js.Stream(t.Context(), conversation.EventsStream)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(4)); err != nil {
			t.Fatal(err)
		}
		refused(t, client, 2)
		wantNext(t, follow(t, client, conversation.WithAfter(3)), "4")
		wantNext(t, follow(t, client, conversation.WithAfter(0)), "4")
	})
	t.Run("by the limit for each subject", func(t *testing.T) {
		t.Parallel()
		nc := connect(t, startServer(t, nil))
		js := addStreams(t, nc, func(c *jetstream.StreamConfig) {
			if c.Name == conversation.EventsStream {
				c.MaxMsgsPerSubject, c.Discard = 2, jetstream.DiscardOld
			}
		})
		client := newClient(t, nc)
		other := about("0")
		other.UserID = "bob"
		tell(t, js, other, about("1"), about("2"), about("3"))
		refused(t, client, 1)
		wantNext(t, follow(t, client, conversation.WithAfter(2)), "2", "3")
		wantNext(t, follow(t, client, conversation.WithAfter(3)), "3")
	})
	t.Run("of another stream", func(t *testing.T) {
		t.Parallel()
		_, js, client := setUp(t)
		tell(t, js, about("1"))
		refused(t, client, 2)
		wantNothing(t, follow(t, client, conversation.WithAfter(1)))
	})
}

func TestFollowSaysWhatToDo(t *testing.T) {
	t.Parallel()
	t.Run("without a stream", func(t *testing.T) {
		t.Parallel()
		client := newClient(t, connect(t, startServer(t, nil)))
		if _, err := client.Follow(t.Context(), "demo", "alice"); !errors.Is(err, conversation.ErrNoStream) || !strings.Contains(err.Error(), "worker setup") {
			t.Errorf("Follow = %v; want ErrNoStream with `worker setup`", err)
		}
	})
	t.Run("with an invalid user", func(t *testing.T) {
		t.Parallel()
		client := newClient(t, connect(t, startServer(t, nil)))
		var invalid *conversation.InvalidError
		if _, err := client.Follow(t.Context(), "demo", ""); !errors.As(err, &invalid) || invalid.Field != "user_id" {
			t.Errorf("Follow = %v; want an InvalidError of user_id", err)
		}
	})
	const inbox, all = "_INBOX.>", "conversation.*.demo.alice"
	for name, row := range map[string]struct {
		publish, subscribe []string
		says               string
	}{
		"without the events": {[]string{"$JS.API.>"}, []string{inbox, "conversation.deleted.demo.alice"}, `Subscription to "conversation.delet`},
		"without the reads":  {[]string{"$JS.API.STREAM.INFO.*"}, []string{inbox, all}, `Publish to "$JS.API.DIRECT.GET.CONVERSATION_EVENTS`},
		"without an inbox":   {[]string{"$JS.API.>"}, []string{all}, `Subscription to "_INBOX.`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, withPermissions(row.publish, row.subscribe))
			addStreams(t, connect(t, s, nats.UserInfo("admin", "x")), nil)
			client := newClient(t, connect(t, s, nats.UserInfo("user", "x")), conversation.WithTimeout(300*time.Millisecond))
			if _, err := client.Follow(t.Context(), "demo", "alice"); !errors.Is(err, conversation.ErrNotPermitted) || !strings.Contains(err.Error(), row.says) {
				t.Errorf("Follow = %v; want ErrNotPermitted with %q", err, row.says)
			}
		})
	}
	t.Run("with the least permissions", func(t *testing.T) {
		t.Parallel()
		s := startServer(t, withPermissions(
			[]string{"$JS.API.STREAM.INFO.CONVERSATION_EVENTS", "$JS.API.DIRECT.GET.CONVERSATION_EVENTS"}, []string{inbox, all}))
		js := addStreams(t, connect(t, s, nats.UserInfo("admin", "x")), nil)
		feed := follow(t, newClient(t, connect(t, s, nats.UserInfo("user", "x"))))
		tell(t, js, about("1"))
		wantNext(t, feed, "1")
	})
}
