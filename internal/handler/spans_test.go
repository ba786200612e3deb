package handler

import (
	"errors"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	sampled = "00-" + traceID + "-b7ad6b7169203331-01"
	skipped = "00-" + traceID + "-b7ad6b7169203331-00"
)

// traced is a handler that records spans, and nothing else.
func traced(t *testing.T) (*Handler, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
	return &Handler{cfg: Config{Tracer: provider.Tracer("test")}}, spans
}

// delivered begins the job of a command with a trace context, as accept does.
func delivered(h *Handler, parent string) *job {
	j := &job{slot: settled{}, trace: conversation.Trace{Parent: parent}, app: "demo", command: "1"}
	h.begin(j)
	entry{job: j}.describe()
	return j
}

// settled is a place that nobody asks about.
type settled struct{}

func (settled) Leave()             {}
func (settled) Settle(bus.Outcome) {}

// ended returns the span of that name, which must be the only one.
func ended(t *testing.T, spans *tracetest.SpanRecorder, name string) sdk.ReadOnlySpan {
	t.Helper()
	var found []sdk.ReadOnlySpan
	for _, s := range spans.Ended() {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d spans %q have ended; want one", len(found), name)
	}
	return found[0]
}

func TestAJobsMessagesNameItsSpanWhereThatIsRecorded(t *testing.T) {
	t.Parallel()
	h, spans := traced(t)
	for parent, recorded := range map[string]bool{sampled: true, skipped: false, "": true, "nonsense": true} {
		j := delivered(h, parent)
		switch {
		case !recorded && (j.span != nil || j.trace.Parent != parent || j.traceID != traceID):
			t.Errorf("%q: trace %+v, id %q; want the producer's and no span", parent, j.trace, j.traceID)
		case recorded && (j.span == nil || j.trace.ID() != j.traceID || j.traceID == "" || j.trace.Parent == parent):
			t.Errorf("%q: trace %+v, id %q; want those of the span", parent, j.trace, j.traceID)
		case parent == sampled && j.traceID != traceID:
			t.Errorf("the trace id %q is not the producer's", j.traceID)
		}
		j.settle(bus.Outcome{Verdict: bus.Done})
	}
	if n := len(spans.Ended()); n != 3 {
		t.Errorf("%d spans have ended; want 3", n)
	}
	off := delivered(&Handler{}, sampled)
	if off.span != nil || off.trace.Parent != sampled || off.traceID != traceID {
		t.Errorf("without a tracer: trace %+v, id %q; want the producer's and no span", off.trace, off.traceID)
	}
}

func TestABatchOfOneCommandIsBelowIt(t *testing.T) {
	t.Parallel()
	h, spans := traced(t)
	j := delivered(h, sampled)
	endBatch(h.beginBatch([]*task{{job: j}, {job: j}}), 7, nil)
	s := ended(t, spans, "express batch")
	if s.Parent().SpanID() != j.span.SpanContext().SpanID() || s.SpanContext().TraceID().String() != traceID || len(s.Links()) > 0 {
		t.Errorf("the batch is below %v with the links %v; want it below the command", s.Parent(), s.Links())
	}
}

func TestABatchOfSeveralCommandsIsATraceOfItsOwnLinkedBothWays(t *testing.T) {
	t.Parallel()
	h, spans := traced(t)
	first, second, silent := delivered(h, sampled), delivered(h, ""), delivered(h, skipped)
	tasks := []*task{{job: first}, {job: second}, {job: silent}, {job: first}}
	endBatch(h.beginBatch(tasks), 0, nil)
	for _, j := range []*job{first, second, silent} {
		j.settle(bus.Outcome{Verdict: bus.Done})
	}
	batch := ended(t, spans, "express batch")
	if batch.Parent().IsValid() || batch.SpanContext().TraceID().String() == traceID {
		t.Errorf("the batch is below %v; want a trace of its own", batch.Parent())
	}
	wantLinks(t, batch, first.span.SpanContext(), second.span.SpanContext())
	for _, s := range spans.Ended()[1:] {
		wantLinks(t, s, batch.SpanContext())
	}
	if span := h.beginBatch([]*task{{job: silent}, {job: delivered(h, skipped)}}); span != nil {
		t.Error("a batch of commands that nobody records has a span")
	}
}

func wantLinks(t *testing.T, s sdk.ReadOnlySpan, want ...trace.SpanContext) {
	t.Helper()
	if len(s.Links()) != len(want) {
		t.Errorf("%s has %d links; want %d", s.Name(), len(s.Links()), len(want))
		return
	}
	for i, link := range s.Links() {
		if !link.SpanContext.Equal(want[i]) {
			t.Errorf("%s is linked with %v; want %v", s.Name(), link.SpanContext, want[i])
		}
	}
}

// Only a fault makes a span a failed one, and only where its command isn't done
// in the end.
func TestASetBackCommandHasFailedByAFaultAlone(t *testing.T) {
	t.Parallel()
	h, spans := traced(t)
	for _, row := range []struct {
		fault   purge.Fault
		verdict bus.Verdict
		want    string
	}{
		{purge.Command, bus.Retry, "word"},
		{purge.Infrastructure, bus.Retry, "word"},
		{purge.Contention, bus.Retry, ""},
		{purge.Stopping, bus.Retry, ""},
		{purge.Command, bus.Done, ""},
	} {
		j := delivered(h, sampled)
		j.trouble(&purge.FaultError{Fault: row.fault, Cause: "word", Err: errors.New("no")})
		j.settle(bus.Outcome{Verdict: row.verdict})
		all := spans.Ended()
		s := all[len(all)-1]
		if got := s.Status().Description; got != row.want || len(s.Events()) != 1 {
			t.Errorf("%v, then %v: status %q with %d events; want %q with one", row.fault, row.verdict, got, len(s.Events()), row.want)
		}
	}
}

func TestASpanHasFailedByAFaultAlone(t *testing.T) {
	t.Parallel()
	h, spans := traced(t)
	for name, row := range map[string]struct {
		err  error
		code codes.Code
		want attribute.KeyValue
	}{
		"done":           {nil, codes.Unset, attribute.Int("lethe.rows", 0)},
		"own":            {errors.New("no"), codes.Error, attribute.String("error.type", "unknown")},
		"infrastructure": {&purge.FaultError{Fault: purge.Infrastructure, Cause: "connection", Err: errors.New("no")}, codes.Error, attribute.String("error.type", "connection")},
		"contention":     {&purge.FaultError{Fault: purge.Contention, Cause: "deadlock", Err: errors.New("no")}, codes.Unset, attribute.String("lethe.cause", "deadlock")},
		"a stop":         {errStopping, codes.Unset, attribute.String("lethe.cause", "stopping")},
	} {
		endBatch(h.beginBatch([]*task{{job: delivered(h, sampled)}}), 0, row.err)
		all := spans.Ended()
		s := all[len(all)-1]
		if attrs := s.Attributes(); s.Status().Code != row.code || attrs[len(attrs)-1] != row.want {
			t.Errorf("%s: status %v and %v; want %v and %v", name, s.Status(), attrs, row.code, row.want)
		}
	}
}

// All that the hot path asks of tracing, for a command of one deletion, once with
// a traceparent and once without.
func TestTracingThatIsOffAllocatesNothing(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts what others allocate, too
	h := &Handler{}
	batch := []*task{{}}
	as := announcements{all: make([]bus.Announcement, 0, 1)}
	for _, parent := range []string{sampled, ""} {
		j := &job{slot: settled{}}
		batch[0].job = j
		n := testing.AllocsPerRun(1000, func() {
			j.trace.Parent = parent
			h.begin(j)
			entry{job: j, tasks: batch}.describe()
			endBatch(h.beginBatch(batch), 0, nil)
			as.all = as.all[:0]
			as.add(j, bus.Announcement{})
			if spans := h.beginPublish(as); len(spans) > 0 {
				t.Error("a span was begun")
			}
			j.trouble(errStopping)
			j.settle(bus.Outcome{Verdict: bus.Done})
		})
		if n != 0 {
			t.Errorf("traceparent %q: %v allocations; want none", parent, n)
		}
	}
}

// BenchmarkSpans is what tracing costs a command of one deletion: off, on with
// a trace that the producer doesn't record, and on with one that is recorded.
func BenchmarkSpans(b *testing.B) {
	provider := sdk.NewTracerProvider(sdk.WithBatcher(tracetest.NewNoopExporter()))
	defer func() { _ = provider.Shutdown(b.Context()) }() // nothing is left to send
	for name, row := range map[string]struct {
		tracer trace.Tracer
		parent string
	}{"off": {nil, sampled}, "unsampled": {provider.Tracer("bench"), skipped}, "sampled": {provider.Tracer("bench"), sampled}} {
		b.Run(name, func(b *testing.B) {
			h := &Handler{cfg: Config{Tracer: row.tracer}}
			b.ReportAllocs()
			for b.Loop() {
				j := delivered(h, row.parent)
				endBatch(h.beginBatch([]*task{{job: j}}), 0, nil)
				var as announcements
				as.add(j, bus.Announcement{Deleted: &conversation.Deleted{}})
				for _, span := range h.beginPublish(as) {
					end(span, nil)
				}
				j.settle(bus.Outcome{Verdict: bus.Done})
			}
		})
	}
}
