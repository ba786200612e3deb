package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/telemetry"
)

func TestTheBacklogHasTheOldestCommandAndHowFullTheStreamsAre(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{Slots: 2})
	js := admin(t, n)
	if got, err := b.Backlog(t.Context()); err != nil || got.Oldest != 0 {
		t.Errorf("Backlog of an empty stream = %v, %v; want no oldest", got.Oldest, err)
	}
	send(t, js, 3)
	if err := b.Publish(t.Context(), letters(1)); err != nil {
		t.Fatal(err)
	}
	got, err := b.Backlog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Oldest <= 0 || got.Oldest > time.Minute {
		t.Errorf("the oldest command is %v old; want just now", got.Oldest)
	}
	for i, want := range []struct {
		name     string
		messages uint64
	}{{conversation.CommandsStream, 3}, {conversation.EventsStream, 0}, {conversation.DeadLettersStream, 1}} {
		s := got.Streams[i]
		if s.Name != want.name || s.Messages != want.messages || (s.Bytes > 0) != (want.messages > 0) {
			t.Errorf("stream %d = %+v; want %s with %d messages", i, s, want.name, want.messages)
		}
	}
	if most := got.Streams[0].MaxBytes; most != 1<<30 {
		t.Errorf("the commands' stream holds %d bytes at most; want 1 GiB", most)
	}
}

func TestTheBacklogOfEachApp(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "acme.chat"} {
		names := namesWith(t, prefix)
		b, n := ready(t, Config{Names: names})
		js := admin(t, n)
		for _, subject := range []string{
			names.CommandSubject("b"), names.CommandSubject("acme"), names.DeleteEveryoneSubject("acme"), names.CommandSubject("a.b"), names.CommandSubject(""), names.CommandSubject("acme"),
		} {
			if _, err := js.Publish(t.Context(), subject, []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		got, err := b.AppBacklogs(t.Context())
		if want := fmt.Sprint([]bus.AppBacklog{{App: "acme", Commands: 3}, {App: "", Commands: 1}, {App: "a.b", Commands: 1}, {App: "b", Commands: 1}}); err != nil || fmt.Sprint(got) != want {
			t.Errorf("with the prefix %q: AppBacklogs = %v, %v; want %v", prefix, got, err, want)
		}
	}
}

func TestTheBacklogSaysWhetherAnybodyPulls(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	if got, err := b.Backlog(t.Context()); err != nil || got.Pulls != 0 {
		t.Errorf("Pulls = %d, %v; want 0, since no worker runs", got.Pulls, err)
	}
	start(t, b)
	eventually(t, "a worker pulls", func() bool {
		got, err := b.Backlog(t.Context())
		return err == nil && got.Pulls > 0
	})
	if err := admin(t, n).DeleteConsumer(t.Context(), conversation.CommandsStream, conversation.WorkerConsumer); err != nil {
		t.Fatal(err)
	}
	got, err := b.Backlog(t.Context())
	if err == nil || len(got.Streams) != 3 {
		t.Errorf("without the consumer: %+v, %v; want an error, and what the streams say", got, err)
	}
}

func TestWhatIsStuckIsNeverMistakenForWhatHasJustCome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ messages, added, known, want uint64 }{
		{10, 0, 10, 0}, {10, 0, 7, 3}, {10, 3, 7, 0}, {10, 2, 7, 1}, {5, 0, 9, 0}, {0, 0, 0, 0},
	} {
		if got := stuck(c.messages, c.added, c.known); got != c.want {
			t.Errorf("stuck(%d messages, %d added, %d known) = %d; want %d", c.messages, c.added, c.known, got, c.want)
		}
	}
}

func TestTheAgeOfACommandIsNeverNegative(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for stored, want := range map[time.Time]time.Duration{now: 0, now.Add(-time.Minute): time.Minute, now.Add(time.Minute): 0} {
		if got := age(stored, now); got != want {
			t.Errorf("stored at %v, at %v: age %v; want %v", stored, now, got, want)
		}
	}
}

func TestCommandsThatNobodyWillSeeAreStuck(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	consumer, err := js.Consumer(t.Context(), conversation.CommandsStream, conversation.WorkerConsumer)
	if err != nil {
		t.Fatal(err)
	}
	config := consumer.CachedInfo().Config
	config.MaxDeliver, config.AckWait = 1, time.Second
	if _, err := js.UpdateConsumer(t.Context(), conversation.CommandsStream, config); err != nil {
		t.Fatal(err)
	}
	send(t, js, 1)
	if _, err := consumer.Next(jetstream.FetchMaxWait(timeout)); err != nil { // and never acknowledged
		t.Fatal(err)
	}
	eventually(t, "the command is stuck", func() bool { l, err := b.Backlog(t.Context()); return err == nil && l.Stuck == 1 })
}

func TestDeliveriesAreCountedByWhetherTheyAreTheFirst(t *testing.T) {
	t.Parallel()
	metrics := telemetry.New(conversation.Names{}, func() float64 { return 0 })
	b, n := ready(t, Config{Metrics: metrics})
	send(t, admin(t, n), 2)
	w := start(t, b)
	for _, d := range w.take(2) {
		d.Settle(bus.Outcome{Verdict: bus.Retry})
	}
	for _, d := range w.take(2) {
		d.Settle(done())
	}
	if got := value(t, metrics.Redeliveries); got != 2 {
		t.Errorf("%v redeliveries; want 2", got)
	}
	if got := observed(t, metrics.WaitSeconds); got != 2 {
		t.Errorf("%d waits of first deliveries; want 2", got)
	}
	if got := observed(t, metrics.CommandSeconds); got != 2 {
		t.Errorf("%d commands finished; want 2", got)
	}
}

// observed is how many observations a histogram has.
func observed(t *testing.T, h prometheus.Metric) uint64 {
	t.Helper()
	var d dto.Metric
	if err := h.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetHistogram().GetSampleCount()
}

func TestBacklogCountsTheWork(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{Slots: 2})
	js := admin(t, n)
	send(t, js, 5)
	w := start(t, b)
	w.take(2)
	if err := b.Publish(t.Context(), letters(1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the backlog", func() bool {
		got, err := b.Backlog(t.Context())
		return err == nil && got.Waiting == 3 && got.InFlight == 2 && got.Stuck == 0 && got.Streams[2].Messages == 3
	})
	if err := js.DeleteStream(t.Context(), conversation.CommandsStream); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Backlog(t.Context()); err == nil {
		t.Error("Backlog without a stream = nil; want an error")
	}
}
