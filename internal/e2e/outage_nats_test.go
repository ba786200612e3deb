package e2e

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
)

func TestAnOutageOfNATSCostsTimeAlone(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(r *rig) outage{
		"stopped":               natsStopped,
		"full_of_events":        eventsFull,
		"no_stream_for_events":  eventsGone,
		"consumer_gone":         consumerGone,
		"stream_of_events_gone": eventsMadeAgain,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			w := r.start(t, slowly...)
			l := newLoad(t, r)
			o := of(r)
			l.rideOut(t, w, o)
			l.done(t)
			w.term(t)
		})
	}
}

func natsStopped(r *rig) outage {
	return outage{
		strike: func(t *testing.T) { r.stopNATS(t) },
		mend:   func(t *testing.T) { r.startNATS(t) },
		reason: []string{"nats:"},
		silent: true,
	}
}

func eventsFull(r *rig) outage {
	return outage{
		strike: func(t *testing.T) { r.limit(t, conversation.EventsStream, 1) },
		mend:   func(t *testing.T) { r.limit(t, conversation.EventsStream, -1) },
		reason: []string{conversation.EventsStream + " is full"},
	}
}

// limit bounds a stream to some bytes; -1 for no bound.
func (r *rig) limit(t testing.TB, stream string, most int64) {
	t.Helper()
	s, err := r.js.Stream(t.Context(), stream)
	must(t, err)
	c := s.CachedInfo().Config
	c.MaxBytes = most
	_, err = r.js.UpdateStream(t.Context(), c)
	must(t, err)
}

// eventsGone takes the subjects away from the stream, which keeps what it has.
func eventsGone(r *rig) outage {
	subjects := func(t *testing.T, of ...string) {
		t.Helper()
		s, err := r.js.Stream(t.Context(), conversation.EventsStream)
		must(t, err)
		c := s.CachedInfo().Config
		c.Subjects = of
		_, err = r.js.UpdateStream(t.Context(), c)
		must(t, err)
	}
	return outage{
		strike: func(t *testing.T) { subjects(t, "elsewhere") },
		mend:   func(t *testing.T) { r.must(t, "setup") },
		reason: []string{conversation.EventsStream},
	}
}

func eventsMadeAgain(r *rig) outage {
	return outage{
		strike: func(t *testing.T) { must(t, r.js.DeleteStream(t.Context(), conversation.EventsStream)) },
		mend: func(t *testing.T) {
			r.must(t, "setup")
			r.record(t)
		},
		// Somebody listens to the events, if only this test: so it isn't told at once.
		reason: []string{conversation.EventsStream + " is missing", conversation.EventsStream + " doesn't answer"},
	}
}

func consumerGone(r *rig) outage {
	return outage{
		strike: func(t *testing.T) {
			must(t, r.js.DeleteConsumer(t.Context(), conversation.CommandsStream, conversation.WorkerConsumer))
		},
		mend:   func(t *testing.T) { r.must(t, "setup") },
		reason: []string{conversation.WorkerConsumer + " is missing"},
	}
}

// What the server's permissions forbid a worker, one after the other.
func TestWhatNATSForbidsAWorkerCostsTimeAlone(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var forbidden *server.Permissions
	n, err := localstack.StartNATS(localstack.NATSOptions{Configure: func(o *server.Options) {
		mu.Lock()
		defer mu.Unlock()
		o.Users = []*server.User{{Username: "all", Password: "all"}, {Username: "worker", Password: "worker", Permissions: forbidden}}
		o.NoAuthUser = "all"
	}})
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	r := newRig(t, onServer(n))
	w := r.start(t, append([]string{"NATS_URL=" + strings.Replace(n.URL(), "nats://", "nats://worker:worker@", 1)}, slowly...)...)
	l := newLoad(t, r)
	forbid := func(t *testing.T, p *server.Permissions) {
		t.Helper()
		mu.Lock()
		forbidden = p
		mu.Unlock()
		r.stopNATS(t)
		r.startNATS(t)
	}
	publish := func(subject string) *server.Permissions {
		return &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{subject}}}
	}
	for what, p := range map[string]*server.Permissions{
		"not allowed to publish on conversation.deleted":      publish("conversation.deleted.>"),
		"not allowed to publish on $JS.ACK":                   publish("$JS.ACK.>"),
		"not allowed to publish on $JS.API.CONSUMER.MSG.NEXT": publish("$JS.API.CONSUMER.MSG.NEXT.>"),
		"not allowed to subscribe to _INBOX":                  {Subscribe: &server.SubjectPermission{Deny: []string{"_INBOX.>"}}},
	} {
		l.rideOut(t, w, outage{
			strike: func(t *testing.T) { forbid(t, p) },
			mend:   func(t *testing.T) { forbid(t, nil) },
			reason: []string{what, "doesn't answer"}, // the second while it waits for events
		})
	}
	l.done(t)
	w.term(t)
}

// Where dead letters have no room, those wait that need one and can be retried.
// Everything else goes on, and garbage ends without a letter.
func TestAFullStreamOfDeadLettersHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.start(t, append([]string{"--max-attempts", "1"}, slowly...)...)
	broken := chat{"demo", "broken", "g"}
	r.fill(t, broken, 20)
	mend := r.breakDeletes(t, broken)
	const most = 8 << 20
	r.limit(t, conversation.DeadLettersStream, most)
	garbage := func(n int) {
		for range n {
			r.publish(t, "conversation.delete.demo", make([]byte, 500_000))
		}
	}
	garbage(20)
	r.settled(t)
	if n := len(r.letters(t)); n < 7 || n > 9 { // each is known by what is stored before
		t.Errorf("%d letters about malformed commands; want half of 8 MiB full of them", n)
	}
	if omitted := metric(t, "lethe_dead_letters_omitted_total", `reason="invalid_command"`, w); omitted < 11 || omitted > 13 {
		t.Errorf("%v letters omitted; want the others", omitted)
	}
	r.limit(t, conversation.DeadLettersStream, 1)
	cmd := broken.ask()
	waits := r.send(t, cmd).Sequence
	r.failed(t, cmd.CommandID, "g") // the devices are told nevertheless
	good := r.crowd(t, "demo", "u", 50, 20)
	var cmds []conversation.Command
	for _, c := range good {
		cmds = append(cmds, c.ask())
	}
	r.flood(t, cmds)
	garbage(1)
	r.awaitStored(t, len(cmds), typed(conversation.TypeDeleted))
	eventually(t, timeout, "all but one are settled", func() bool {
		info, err := r.streamInfo(t, conversation.CommandsStream)
		return err == nil && info.State.Msgs == 1 && metric(t, "lethe_retries_total", `reason="letters_full"`, w) > 0
	})
	if _, found := r.streamMessage(t, conversation.CommandsStream, waits); !found {
		t.Error("a command that can be retried has left the stream without a dead letter")
	}
	w.awaitReady(t, time.Second)
	mend()
	w.term(t)
}

// A full stream of commands refuses producers, and loses nothing that it took.
func TestAFullStreamOfCommandsRefusesNewOnesAndIsEmptied(t *testing.T) {
	t.Parallel()
	const most = 16 << 10
	r := newRig(t)
	r.limit(t, conversation.CommandsStream, most)
	l := &load{r: r, want: map[deletionKey]int{}}
	cmds := l.small(t, 300)
	taken := 0
	for _, cmd := range cmds {
		_, err := r.client.Delete(t.Context(), cmd)
		if errors.Is(err, conversation.ErrStreamFull) {
			break
		}
		must(t, err)
		taken++
	}
	if taken < 10 || taken == len(cmds) {
		t.Fatalf("%d of %d commands were taken; want some to be refused", taken, len(cmds))
	}
	w := r.start(t)
	r.awaitStored(t, taken)
	r.settled(t)
	r.limit(t, conversation.CommandsStream, -1)
	r.flood(t, cmds[taken:])
	l.done(t)
	w.term(t)
}

// A stream that is deleted takes its commands with it. Those in flight are finished
// nevertheless, and their acknowledgements don't hit others, which now bear
// their numbers.
func TestCommandsOfANewStreamAreNotTakenForThoseOfTheOld(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.start(t, slowly...)
	old, young := chat{"demo", "old", "g"}, chat{"demo", "young", "g"}
	r.huge(t, old, 2000)
	r.fill(t, young, 20)
	releaseOld := r.hold(t, `select from chat.messages where user_id = 'old' and seq = 1000 for update`)
	releaseYoung := r.hold(t, `select from chat.messages where user_id = 'young' for update`)
	first, second := old.ask(), young.ask()
	if seq := r.send(t, first).Sequence; seq != 1 {
		t.Fatalf("the first command has number %d", seq)
	}
	eventually(t, timeout, "the old one is under way", func() bool { _, cursor, _, _ := r.ledger(t, first.CommandID, "g"); return cursor > 0 })
	must(t, r.js.DeleteStream(t.Context(), conversation.CommandsStream))
	w.awaitNotReady(t, conversation.CommandsStream+" is missing")
	r.must(t, "setup")
	if seq := r.send(t, second).Sequence; seq != 1 {
		t.Fatalf("the first command of the new stream has number %d", seq)
	}
	w.awaitReady(t, timeout)
	eventually(t, timeout, "the young one is under way", func() bool { state, _, _, _ := r.ledger(t, second.CommandID, "g"); return state != "" })
	releaseOld()
	r.deleted(t, first.CommandID, "g")
	never(t, 500*time.Millisecond, "the young one leaves the stream undone", func() bool {
		_, found := r.streamMessage(t, conversation.CommandsStream, 1)
		return !found
	})
	releaseYoung()
	r.deleted(t, second.CommandID, "g")
	r.settled(t)
	r.wantEmpty(t)
	w.term(t)
}
