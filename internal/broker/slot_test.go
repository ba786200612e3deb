package broker

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/telemetry"
)

func TestSettle(t *testing.T) {
	t.Parallel()
	log, text := newLog()
	metrics := telemetry.New(conversation.Names{}, func() float64 { return 0 })
	b, n := ready(t, Config{Log: log, Metrics: metrics})
	js := admin(t, n)
	advisories := make(chan *nats.Msg, 8)
	sub, err := js.Conn().ChanSubscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>", advisories)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	send(t, js, 4)
	w := start(t, b)
	all := w.take(4)
	if got := value(t, metrics.InFlight); got != 4 {
		t.Errorf("in flight = %v; want 4", got)
	}
	began := time.Now()
	all[0].Settle(done())
	all[1].Settle(bus.Outcome{Verdict: bus.Reject, Reason: conversation.ReasonInvalidCommand})
	all[2].Settle(bus.Outcome{Verdict: bus.Retry})
	all[3].Settle(bus.Outcome{Verdict: bus.Retry, Delay: 700 * time.Millisecond})

	if d := w.next(); d.Sequence != all[2].Sequence || d.Deliveries != 2 || time.Since(began) > 600*time.Millisecond {
		t.Errorf("first redelivery: %d for the %d. time after %v; want %d for the 2nd at once",
			d.Sequence, d.Deliveries, time.Since(began), all[2].Sequence)
	} else {
		d.Settle(done())
	}
	if d := w.next(); d.Sequence != all[3].Sequence || d.Deliveries != 2 || time.Since(began) < 700*time.Millisecond {
		t.Errorf("second redelivery: %d for the %d. time after %v; want %d for the 2nd after 700ms",
			d.Sequence, d.Deliveries, time.Since(began), all[3].Sequence)
	} else {
		d.Settle(done())
	}
	if m := <-advisories; !strings.Contains(string(m.Data), `"reason":"invalid_command"`) {
		t.Errorf("advisory = %s; want the reason", m.Data)
	}
	eventually(t, "the stream is empty", func() bool { return idle(t, b) })
	for verdict, want := range map[string]float64{"done": 3, "reject": 1, "retry": 2} {
		if got := value(t, metrics.Commands.WithLabelValues(verdict)); got != want {
			t.Errorf("commands %s = %v; want %v", verdict, got, want)
		}
	}
	if got := value(t, metrics.InFlight); got != 0 {
		t.Errorf("in flight = %v; want 0", got)
	}
	if got := strings.Count(text.String(), `msg="command settled"`); got != 6 {
		t.Errorf("%d log lines for 6 deliveries:\n%s", got, text)
	}
	if strings.Contains(text.String(), "command 0") {
		t.Errorf("a body stands in the log:\n%s", text)
	}
}

func TestSettlePanicsForABug(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	send(t, admin(t, n), 1)
	d := start(t, b).next()
	for _, v := range []bus.Verdict{0, -1, 99} {
		mustPanic(t, "BUG: ", func() { d.Settle(bus.Outcome{Verdict: v}) })
	}
	d.Settle(done())
	mustPanic(t, "settled twice: done, then retry", func() { d.Settle(bus.Outcome{Verdict: bus.Retry}) })
	d.Leave() // does nothing any more
	if free, _ := b.inFlight.room(); free != b.cfg.Slots {
		t.Errorf("%d slots free; want %d", free, b.cfg.Slots)
	}
}

func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got, _ := recover().(string); !strings.Contains(got, want) {
			t.Errorf("panic = %q; want %q", got, want)
		}
	}()
	f()
}

// Commands whose acknowledgement the server refuses come again and again; so no
// more are taken meanwhile.
func TestRefusedAcknowledgementsCloseTheGate(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t, users(&server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.ACK.>"}}}))
	setup(t, connect(t, Config{URL: as(n, "admin"), AckWait: time.Second}), SetupOptions{})
	gate := newGate()
	metrics := telemetry.New(conversation.Names{}, func() float64 { return 0 })
	b := connect(t, Config{URL: as(n, "worker"), Gate: gate, Metrics: metrics})
	w := start(t, b)
	send(t, admin(t, n, asAdmin), 1)
	w.next().Settle(done())
	gate.closedFor(t, causeAcks, "$JS.ACK.>", "allow it")
	if got := value(t, metrics.SettleErrors); got != 1 {
		t.Errorf("settle errors = %v; want 1", got)
	}
	gate.opened(t) // and tries again
}

func TestSettleAfterCloseIsCounted(t *testing.T) {
	t.Parallel()
	metrics := telemetry.New(conversation.Names{}, func() float64 { return 0 })
	b, n := ready(t, Config{Metrics: metrics})
	send(t, admin(t, n), 1)
	w := start(t, b)
	d := w.next()
	w.end()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	d.Settle(done())
	if got := value(t, metrics.SettleErrors); got != 1 {
		t.Errorf("settle errors = %v; want 1", got)
	}
	if err := b.Settled(t.Context()); err != nil {
		t.Errorf("Settled = %v; want nil: nothing is in flight", err)
	}
}

// BenchmarkSettlement makes the answer for one delivery.
func BenchmarkSettlement(b *testing.B) {
	for _, o := range []bus.Outcome{done(), {Verdict: bus.Retry, Delay: 700 * time.Millisecond}, {Verdict: bus.Reject, Reason: conversation.ReasonInvalidCommand}} {
		b.Run(o.Verdict.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				settlement(o)
			}
		})
	}
}

func TestLineage(t *testing.T) {
	t.Parallel()
	born := time.Unix(1, 0)
	for name, happen := range map[string]struct {
		then func(*lineage)
		gone bool
	}{
		"goes_on_with_the_same_consumer":            {func(l *lineage) { l.found(born); l.delivered(8) }, false},
		"ends_when_the_consumer_is_missing":         {func(l *lineage) { l.lost() }, true},
		"ends_when_the_consumer_was_created_anew":   {func(l *lineage) { l.found(born.Add(time.Second)) }, true},
		"ends_when_the_deliveries_count_from_start": {func(l *lineage) { l.delivered(1) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l lineage
			l.found(born)
			held := l.delivered(7)
			if err := l.gone(held); err != nil {
				t.Fatalf("gone at once: %v", err)
			}
			happen.then(&l)
			if err := l.gone(held); errors.Is(err, errConsumerGone) != happen.gone {
				t.Errorf("gone: %v; want %v", err, happen.gone)
			}
			if err := l.gone(l.delivered(9)); err != nil {
				t.Errorf("what comes next is %v", err)
			}
		})
	}
}
