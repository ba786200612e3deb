package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/lethe-im/lethe/conversation"
)

// What traceparent names.
const traceID, producerSpan = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

const (
	processSpan = "process conversation.delete"
	deletedSpan = "publish conversation.deleted"
	failedSpan  = "publish conversation.delete_failed"
	letterSpan  = "publish conversation.dead_letter"
)

// traceparent is that of a message which the span has published.
func (s span) traceparent() string { return "00-" + s.trace() + "-" + s.id() + "-01" }

// tellsNot asserts that no span tells any of these words.
func (rc *receiver) tellsNot(t testing.TB, words ...string) {
	t.Helper()
	all, _ := rc.seen("")
	for _, s := range all {
		for _, word := range words {
			if strings.Contains(s.text(), word) {
				t.Errorf("a span tells %q:\n%s", word, s.text())
			}
		}
	}
}

// wantTraceID waits for a line of the log with this text, and asserts that each
// such line names the trace.
func (w *worker) wantTraceID(t testing.TB, text, id string) {
	t.Helper()
	eventually(t, timeout, "the log says "+text, func() bool { return strings.Contains(w.log.String(), text) })
	for line := range strings.SplitSeq(w.log.String(), "\n") {
		if strings.Contains(line, text) && !strings.Contains(line, `"trace_id":"`+id+`"`) {
			t.Errorf("log line without the trace %s: %s", id, line)
		}
	}
}

func TestATraceGoesFromTheProducerToTheEvent(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t, http.StatusOK)
	r := newRig(t, withEnv(rc.env()...))
	w := r.start(t, "OTEL_SERVICE_NAME=deleter", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test",
		"OTEL_EXPORTER_OTLP_HEADERS=api-key=a%20key", "LOG_FORMAT=json")
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 5)
	cmd := c.ask()
	send := func() {
		r.publish(t, "conversation.delete.demo", encode(t, cmd), "traceparent", traceparent, "tracestate", "x=y")
	}
	send()
	e := r.deleted(t, cmd.CommandID, c.id)

	process := rc.await(t, processSpan, 1)[0]
	wantSpan(t, process, traceID, producerSpan, "messaging.system", "nats", "messaging.operation.type", "process",
		"messaging.destination.name", "conversation.delete", "messaging.consumer.group.name", "deletion-worker", "lethe.app_id", "demo",
		"lethe.command_id", cmd.CommandID, "lethe.conversations", 1, "lethe.deliveries", 1, "lethe.outcome", "done")
	batch := rc.await(t, "express batch", 1)[0]
	wantSpan(t, batch, traceID, process.id(), "lethe.deletions", 1)
	told := rc.await(t, deletedSpan, 1)[0]
	wantSpan(t, told, traceID, process.id(), "messaging.system", "nats", "messaging.operation.type", "send",
		"messaging.destination.name", "conversation.deleted", "messaging.message.id", e.id())
	if process.GetKind() != otlp.Span_SPAN_KIND_CONSUMER || told.GetKind() != otlp.Span_SPAN_KIND_PRODUCER || process.failed() || batch.failed() || told.failed() {
		t.Errorf("spans of a wrong kind or failed:\n%s", spanLines([]span{process, batch, told}))
	}
	if got := e.header["traceparent"]; len(got) != 1 || got[0] != told.traceparent() {
		t.Errorf("the event's traceparent = %q; want %s, which published it", got, told.traceparent())
	}
	if got := e.header.Get("tracestate"); got != "x=y" {
		t.Errorf("the event's tracestate = %q; want the producer's", got)
	}
	if name, place := attrOf(process.resource, "service.name"), attrOf(process.resource, "deployment.environment.name"); name != "deleter" || place != "test" {
		t.Errorf("the spans are of the service %q in %q", name, place)
	}
	if got := rc.sent("api-key"); got != "a key" {
		t.Errorf("the header api-key = %q", got)
	}
	r.settled(t)
	w.wantTraceID(t, "deletion finished", traceID)
	w.wantTraceID(t, "command settled", traceID)

	send() // the same command again: re-emitted, in the same trace
	again := r.awaitHeard(t, 2, of(cmd.CommandID))[1]
	process = rc.await(t, processSpan, 2)[1]
	wantSpan(t, process, traceID, producerSpan, "lethe.outcome", "done")
	told = rc.await(t, deletedSpan, 2)[1]
	wantSpan(t, told, traceID, process.id(), "messaging.message.id", e.id())
	if again.id() != e.id() || again.header.Get("traceparent") != told.traceparent() || string(again.data) != string(e.data) {
		t.Errorf("re-emitted: %s with %s; want the same event with %s", again, again.header.Get("traceparent"), told.traceparent())
	}
	rc.tellsNot(t, "alice", "c2c_bob")
}

func TestACommandWithoutATraceBeginsOne(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t, http.StatusOK)
	r := newRig(t, withEnv(rc.env()...), inShard("eu"))
	w := r.start(t, "LOG_FORMAT=json")
	cmd := chat{"demo", "alice", "a"}.ask("b", "c")
	r.again(t, cmd)
	process := rc.await(t, processSpan, 1)[0]
	wantSpan(t, process, process.trace(), "", "lethe.conversations", 3)
	told := map[string]bool{}
	for _, s := range rc.await(t, deletedSpan, 3) {
		wantSpan(t, s, process.trace(), process.id())
		told[s.traceparent()] = true
	}
	for _, e := range r.awaitStored(t, 3, of(cmd.CommandID)) {
		if got := e.header.Get("traceparent"); !told[got] {
			t.Errorf("%s comes from %q, which is no span that published", e, got)
		}
		delete(told, e.header.Get("traceparent"))
	}
	r.settled(t)
	w.wantTraceID(t, "deletion finished", process.trace())
	w.wantTraceID(t, "command settled", process.trace())
	if name, shard := attrOf(process.resource, "service.name"), attrOf(process.resource, "lethe.shard"); name != "lethe-worker" || shard != "eu" {
		t.Errorf("service.name = %q, lethe.shard = %q; want lethe-worker and eu", name, shard)
	}
}

func TestAFailureIsTheStatusOfItsSpans(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t, http.StatusOK)
	r := newRig(t, withEnv(rc.env()...))
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 5)
	r.breakDeletes(t, c)
	r.start(t, "--max-attempts=2")
	cmd := c.ask()
	seq := r.publish(t, "conversation.delete.demo", encode(t, cmd), "traceparent", traceparent)
	e := r.failed(t, cmd.CommandID, c.id)
	letter := r.letter(t, seq)

	attempts := rc.await(t, processSpan, 2)
	for i, outcome := range []string{"retry", "reject"} {
		wantSpan(t, attempts[i], traceID, producerSpan, "lethe.outcome", outcome, "lethe.deliveries", i+1)
		if !attempts[i].failed() || attempts[i].attr("error.type") == "" {
			t.Errorf("attempt %d has not failed:\n%s", i+1, attempts[i].text())
		}
	}
	if got := attempts[1].GetStatus().GetMessage(); got != "attempts_exhausted" {
		t.Errorf("the last attempt failed by %q", got)
	}
	for i, s := range rc.await(t, "express batch", 2) {
		wantSpan(t, s, traceID, attempts[i].id())
		if !s.failed() {
			t.Errorf("the batch has not failed:\n%s", s.text())
		}
	}
	told := rc.await(t, failedSpan, 1)[0]
	wantSpan(t, told, traceID, attempts[1].id(), "messaging.message.id", e.id())
	if got := e.header.Get("traceparent"); got != told.traceparent() {
		t.Errorf("the event's traceparent = %q; want %s", got, told.traceparent())
	}
	wantSpan(t, rc.await(t, letterSpan, 1)[0], traceID, attempts[1].id())
	if got := letter.header.Get("traceparent"); got != traceparent {
		t.Errorf("the dead letter's traceparent = %q; want the producer's own", got)
	}

	r.publish(t, "conversation.delete.demo", []byte(`{"app_id":"demo"}`), "traceparent", traceparent)
	refused := rc.await(t, processSpan, 3)[2]
	wantSpan(t, refused, traceID, producerSpan, "lethe.outcome", "reject", "error.type", "invalid_command", "lethe.app_id", "demo")
	rc.tellsNot(t, "alice", "c2c_bob", "legal hold")
}

func TestALongDeletionHasASpanForItsRunAndForSomeBatches(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t, http.StatusOK)
	r := newRig(t, withEnv(rc.env()...))
	r.start(t, "LETHE_EXPRESS_ROWS=10", "max-rows=100")
	c := chat{"demo", "alice", "group"}
	r.fill(t, c, 2000)
	cmd := c.ask()
	r.publish(t, "conversation.delete.demo", encode(t, cmd), "traceparent", traceparent)
	r.deleted(t, cmd.CommandID, c.id)

	process := rc.await(t, processSpan, 1)[0]
	wantSpan(t, process, traceID, producerSpan, "lethe.outcome", "done")
	run := rc.await(t, "long lane", 1)[0]
	wantSpan(t, run, traceID, process.id(), "lethe.messages_deleted", 2000, "lethe.state", "done")
	batches, err := strconv.Atoi(run.attr("lethe.batches"))
	if err != nil || batches < 20 {
		t.Errorf("lethe.batches = %q; want 20 and more", run.attr("lethe.batches"))
	}
	number := 1
	for _, s := range rc.await(t, "batch", 5) {
		wantSpan(t, s, traceID, run.id(), "lethe.batch", number)
		number *= 2
	}
	if number <= batches || number > 2*batches {
		t.Errorf("the next batch with a span would be %d, of %d", number, batches)
	}
	wantSpan(t, rc.await(t, "claim", 1)[0], traceID, run.id())
	wantSpan(t, rc.await(t, "finish", 1)[0], traceID, run.id())
	wantSpan(t, rc.await(t, deletedSpan, 1)[0], traceID, process.id())
}

func TestALongDeletionHasASpanForItsTimeInLine(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t, http.StatusOK)
	r := newRig(t, withEnv(rc.env()...))
	r.start(t, "LETHE_EXPRESS_ROWS=10", "max-rows=100", "long-lanes=1")
	first, second := chat{"demo", "alice", "one"}, chat{"demo", "alice", "two"}
	r.fill(t, first, 1000)
	r.fill(t, second, 1000)
	cmd := first.ask(second.id)
	r.publish(t, "conversation.delete.demo", encode(t, cmd), "traceparent", traceparent)
	r.deleted(t, cmd.CommandID, first.id)
	r.deleted(t, cmd.CommandID, second.id)

	process := rc.await(t, processSpan, 1)[0]
	line := rc.await(t, "long lane wait queue", 1)[0] // several if the first deletion takes seconds
	wantSpan(t, line, traceID, process.id(), "lethe.lane", "long")
	if placed := line.attr("lethe.entered"); placed == "" {
		t.Errorf("it isn't told whether the line led to a place:\n%s", line.text())
	}
	for _, run := range rc.await(t, "long lane", 2) {
		wantSpan(t, run, traceID, process.id(), "lethe.messages_deleted", 1000, "lethe.state", "done")
	}
}

// Whatever nobody records, the events carry what the producer sent.
func TestATraceThatIsNotWantedChangesNothing(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t, http.StatusOK)
	r := newRig(t)
	unsampled := strings.TrimSuffix(traceparent, "01") + "00"
	for i, row := range []struct {
		parent   string
		settings []string
	}{
		{traceparent, nil},
		{traceparent, []string{"OTEL_SDK_DISABLED=true"}},
		{traceparent, []string{"OTEL_TRACES_EXPORTER=none"}},
		{traceparent, []string{"OTEL_TRACES_SAMPLER=always_off"}},
		{unsampled, []string{"OTEL_TRACES_SAMPLER=parentbased_always_on"}},
		{unsampled, []string{"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=1"}},
	} {
		settings := append([]string{"LOG_FORMAT=json"}, row.settings...)
		if i > 0 {
			settings = append(settings, rc.env()...)
		}
		w := r.start(t, settings...)
		c := chat{"demo", "alice", fmt.Sprint("c", i)}
		cmd := c.ask()
		r.publish(t, "conversation.delete.demo", encode(t, cmd), "traceparent", row.parent, "tracestate", "x=y")
		e := r.deleted(t, cmd.CommandID, c.id)
		if got, state := e.header.Get("traceparent"), e.header.Get("tracestate"); got != row.parent || state != "x=y" {
			t.Errorf("%v: the event names %q, %q; want what the producer sent", settings, got, state)
		}
		w.wantTraceID(t, "deletion finished", traceID)
		w.term(t)
	}
	if _, calls := rc.seen(""); calls > 0 {
		t.Errorf("the receiver was called %d times", calls)
	}
}

// A receiver that is gone, hangs or fails costs spans, and nothing else.
func TestAReceiverThatTakesNoTracesHoldsNothingUp(t *testing.T) {
	t.Parallel()
	hanging, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // nobody ever accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hanging.Close() })
	for name, row := range map[string]struct {
		address string
		told    int // times that the log says so
	}{
		"gone":    {"http://" + freeAddress(t), 1},
		"fails":   {newReceiver(t, http.StatusInternalServerError).url, 1},
		"hanging": {"http://" + hanging.Addr().String(), 0}, // it waits for an answer until the stop
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			w := r.start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+row.address, "OTEL_BSP_SCHEDULE_DELAY=5")
			var cmds []conversation.Command
			for i := range 100 {
				cmds = append(cmds, chat{"demo", "alice", fmt.Sprint("c", i)}.ask())
			}
			for _, cmd := range cmds {
				r.again(t, cmd)
			}
			r.settled(t)
			for _, cmd := range cmds {
				r.deleted(t, cmd.CommandID, cmd.Conversations[0].ID)
			}
			eventually(t, timeout, "spans are counted", func() bool {
				return metric(t, "lethe_spans_total", "ended", w) > 200 && (row.told == 0 || metric(t, "lethe_spans_total", "failed", w) > 0)
			})
			w.term(t)
			log := w.log.String()
			if got := strings.Count(log, "receiver refuses traces"); got != row.told {
				t.Errorf("%d lines that the receiver refuses traces; want %d", got, row.told)
			}
			if strings.Count(log, "spans were lost") != 1 {
				t.Error("the log doesn't say once that spans were lost")
			}
		})
	}
}
