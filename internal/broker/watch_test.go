package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/telemetry"
)

// watchedWorker is a running worker whose gate, log and metrics can be seen.
type watchedWorker struct {
	*worker
	js      jetstream.JetStream
	gate    *fakeGate
	log     *logText
	metrics *telemetry.Metrics
}

func watch(t *testing.T) watchedWorker {
	t.Helper()
	log, text := newLog()
	gate, metrics := newGate(), telemetry.New(conversation.Names{}, func() float64 { return 0 })
	b, n := ready(t, Config{Gate: gate, Log: log, Metrics: metrics})
	b.seen.every = 100 * time.Millisecond
	return watchedWorker{start(t, b), admin(t, n), gate, text, metrics}
}

// alterConsumer changes the workers' consumer.
func (w watchedWorker) alterConsumer(change func(*consumerConfig)) {
	w.t.Helper()
	config := consumerOf(w.t, w.js)
	change(&config)
	if _, err := w.js.UpdateConsumer(w.t.Context(), conversation.CommandsStream, config); err != nil {
		w.t.Fatal(err)
	}
}

func (w watchedWorker) altered(of string) prometheus.Metric {
	return w.metrics.Altered.WithLabelValues(of)
}

func TestAWorkerSaysThatTheConsumerIsPausedAndGoesOn(t *testing.T) {
	t.Parallel()
	for name, resume := range map[string]func(watchedWorker) error{
		"by nats": func(w watchedWorker) error {
			_, err := w.js.ResumeConsumer(t.Context(), conversation.CommandsStream, conversation.WorkerConsumer)
			return err
		},
		"by setup": func(w watchedWorker) error { _, err := w.b.Setup(t.Context(), SetupOptions{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			if _, err := w.js.PauseConsumer(t.Context(), conversation.CommandsStream, conversation.WorkerConsumer, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			w.gate.closedFor(t, "streams", "consumer deletion-worker: pause_until is ", "`worker setup` corrects it")
			send(t, w.js, 1)
			if got := value(t, w.altered(conversation.WorkerConsumer)); got != 1 || !strings.Contains(w.log.String(), "not pulling commands") {
				t.Errorf("altered = %v, log %s; want it counted and said", got, w.log)
			}
			if err := resume(w); err != nil {
				t.Fatal(err)
			}
			w.next().Settle(done())
			w.gate.opened(t)
		})
	}
}

func TestAWorkerSaysThatMaxAckPendingIsLowAndWorksOn(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.alterConsumer(func(c *consumerConfig) { c.MaxAckPending = 1 })
	eventually(t, "it is said", func() bool { return strings.Contains(w.b.Notice(), "max_ack_pending is 1, expected 200,000 or more") })
	send(t, w.js, 3)
	for range 3 {
		w.next().Settle(done())
	}
	setup(t, w.b, SetupOptions{})
	eventually(t, "it is corrected", func() bool { return w.b.Notice() == "" && value(t, w.altered(conversation.WorkerConsumer)) == 0 })
	if text := w.log.String(); strings.Count(text, "streams or consumer altered") != 1 || !strings.Contains(text, "no longer altered") {
		t.Errorf("log = %s; want it said once, and that it is over", text)
	}
}

// A body that the consumer leaves out must not look like an empty command, which
// would be given up, and a producer's header must not look like that.
func TestNoCommandIsTakenWithoutItsBody(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.alterConsumer(func(c *consumerConfig) { c.HeadersOnly = true })
	send(t, w.js, 1)
	w.gate.closedFor(t, "streams", "headers_only is true")
	if len(w.in) != 0 {
		d := w.next()
		t.Fatalf("a command was handed over without its body: %+v", d.Delivery)
	}
	setup(t, w.b, SetupOptions{})
	d := w.next()
	if string(d.Data) != "command 0" {
		t.Errorf("body = %q at delivery %d with %v; want the command's", d.Data, d.Deliveries, d.Header)
	}
	d.Settle(done())
	msg := nats.NewMsg(conversation.CommandSubject("demo"))
	msg.Header.Set("Nats-Msg-Size", "9")
	if _, err := w.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	if d := w.next(); len(d.Data) != 0 || d.Deliveries < 2 {
		t.Errorf("delivery %d = %q; want the empty command, not at once", d.Deliveries, d.Data)
	}
}

// Headers of an app's producer must not make another app's commands wait for an
// inspection each: that took 4 s and more for these, where other headers take 0.2 s.
func TestAProducersHeadersDontHoldUpOthers(t *testing.T) {
	t.Parallel()
	usual, took := behind(t, "Size"), behind(t, "Nats-Msg-Size")
	t.Logf("another app's command waited for %v, and for %v where the headers were no words of the server", took, usual)
	if took > 5*usual+time.Second {
		t.Errorf("another app's command waited for %v; want about %v", took, usual)
	}
}

// behind is how long a command waits behind thousands of another app's, without bodies and with this header.
func behind(t *testing.T, header string) time.Duration {
	t.Helper()
	b, n := ready(t, Config{Slots: 256})
	js := admin(t, n)
	for range 3000 {
		msg := nats.NewMsg(conversation.CommandSubject("evil"))
		msg.Header.Set(header, "9")
		if _, err := js.PublishMsgAsync(msg); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	send(t, js, 1)
	w, began := start(t, b), time.Now()
	for d := w.next(); d.Subject != conversation.CommandSubject("demo"); d = w.next() {
		d.Settle(done())
	}
	return time.Since(began)
}
