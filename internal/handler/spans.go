package handler

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
)

// A command whose trace is recorded has the span "process conversation.delete",
// from when it was taken until it is settled, below what its traceparent names.
// Below that are a span for each event or dead letter, one for each deletion in
// the long lane or in its wait queue, and one for each express batch that served
// this command alone.
//
// No span names a user or a conversation, nor quotes an error: traces go further
// than logs and nobody deletes from them. The log has all that, under trace_id.

// messaging are the attributes that a span of a message has, after
// OpenTelemetry's conventions for messaging.
func messaging(operation, typ, destination string, more ...attribute.KeyValue) trace.SpanStartEventOption {
	return trace.WithAttributes(append(more,
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.operation.name", operation),
		attribute.String("messaging.operation.type", typ),
		attribute.String("messaging.destination.name", destination))...)
}

// begin begins the span of a delivery, if its trace is recorded: then that span is
// what its messages name. It notes the trace id for the log.
func (h *Handler) begin(j *job) {
	j.traceID = j.trace.ID()
	if h.cfg.Tracer == nil {
		return
	}
	const commands = "conversation.delete"
	_, span := h.cfg.Tracer.Start(remote(j.trace), "process "+commands, trace.WithSpanKind(trace.SpanKindConsumer),
		messaging("process", "process", commands,
			attribute.String("messaging.consumer.group.name", h.cfg.Names.WorkerConsumer()),
			attribute.Int64("lethe.sequence", int64(j.delivery.Sequence)),
			attribute.Int64("lethe.deliveries", int64(j.delivery.Deliveries))))
	if !span.SpanContext().IsSampled() {
		return // and its events carry on what the producer sent
	}
	j.span, j.trace = span, local(span)
	j.traceID = j.trace.ID()
}

// beginErasure begins the span of an erasure, the root of a trace.
func (h *Handler) beginErasure(j *job) {
	if h.cfg.Tracer == nil {
		return
	}
	_, span := h.cfg.Tracer.Start(context.Background(), "erase shared log")
	if span.SpanContext().IsSampled() {
		j.span, j.trace = span, local(span)
		j.traceID = j.trace.ID()
	}
}

// describe adds to the span of a delivery what the command says of itself.
func (e entry) describe() {
	if e.job.span == nil {
		return
	}
	e.job.span.SetAttributes(
		attribute.String("lethe.app_id", e.job.app), attribute.String("lethe.command_id", e.job.command),
		attribute.Int("lethe.conversations", len(e.tasks)))
}

// settle settles a delivery, and ends its span.
func (j *job) settle(o bus.Outcome) {
	o.TraceID = j.traceID
	j.slot.Settle(o)
	if j.span == nil {
		return
	}
	j.span.SetAttributes(attribute.String("lethe.outcome", o.Verdict.String()))
	switch cause := j.lastTrouble(); {
	case o.Verdict == bus.Reject:
		fail(j.span, string(o.Reason))
	case o.Verdict == bus.Retry && cause != "":
		fail(j.span, cause)
	}
	j.span.End()
}

// trouble notes on the span of a command what one of its deletions met. Only a
// fault makes the span a failed one: a lock or a stop is none.
func (j *job) trouble(err error) {
	if j.span == nil {
		return
	}
	fault, cause := faultOf(err)
	j.span.AddEvent("deferred", trace.WithAttributes(attribute.String("lethe.fault", fault.String()), attribute.String("lethe.cause", cause)))
	if fault.MayBeCommand() || fault == purge.Infrastructure {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.cause = cause
	}
}

func (j *job) lastTrouble() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.cause
}

// beginBatch begins the span of an express batch; nil where no command in it is
// recorded. A batch of one command is below that command's span. A batch of
// several is a trace of its own, linked with the commands' spans both ways.
func (h *Handler) beginBatch(tasks []*task) trace.Span {
	if h.cfg.Tracer == nil {
		return nil
	}
	jobs, alone := recorded(tasks)
	if len(jobs) == 0 {
		return nil
	}
	counts := trace.WithAttributes(attribute.String("lethe.lane", "express"), attribute.Int("lethe.deletions", len(tasks)))
	if alone {
		_, span := h.cfg.Tracer.Start(below(jobs[0].span), "express batch", counts)
		return span
	}
	links := make([]trace.Link, len(jobs))
	for i, j := range jobs {
		links[i].SpanContext = j.span.SpanContext()
	}
	_, span := h.cfg.Tracer.Start(context.Background(), "express batch", counts, trace.WithNewRoot(), trace.WithLinks(links...))
	if !span.SpanContext().IsSampled() {
		return nil
	}
	for _, j := range jobs {
		j.span.AddLink(trace.Link{SpanContext: span.SpanContext()})
	}
	return span
}

// recorded returns the jobs of tasks that are recorded, each once, and whether all
// tasks are of one job.
func recorded(tasks []*task) (jobs []*job, alone bool) {
	alone = true
	seen := make(map[*job]bool, len(tasks))
	for _, t := range tasks {
		alone = alone && t.job == tasks[0].job
		if t.job.span != nil && !seen[t.job] {
			seen[t.job] = true
			jobs = append(jobs, t.job)
		}
	}
	return jobs, alone
}

// endBatch ends the span of an express batch, which may be nil.
func endBatch(span trace.Span, rows int, err error) {
	if span == nil {
		return
	}
	span.SetAttributes(attribute.Int("lethe.rows", rows))
	end(span, err)
}

// beginPublish begins a span for each announcement whose command is recorded: the
// message names it as where it comes from. A dead letter keeps the command's own
// headers.
func (h *Handler) beginPublish(as announcements) []trace.Span {
	spans := make([]trace.Span, len(as.traced))
	for i, at := range as.traced {
		a := &as.all[at.index]
		subject, id := messageOf(a)
		var attrs []attribute.KeyValue
		if id != "" {
			attrs = append(attrs, attribute.String("messaging.message.id", id))
		}
		_, spans[i] = h.cfg.Tracer.Start(below(at.job.span), "publish "+subject,
			trace.WithSpanKind(trace.SpanKindProducer), messaging("publish", "send", subject, attrs...))
		a.Trace = local(spans[i])
	}
	return spans
}

// messageOf returns the first words of an announcement's subject, which are few
// in number, and its id; "" for a letter's.
func messageOf(a *bus.Announcement) (subject, id string) {
	switch {
	case a.Deleted != nil:
		return conversation.TypeDeleted, a.Deleted.ID()
	case a.Erased != nil:
		return conversation.TypeErased, a.Erased.ID()
	case a.AllDeleted != nil:
		return conversation.TypeAllDeleted, a.AllDeleted.ID()
	case a.Failed != nil:
		return conversation.TypeDeleteFailed, conversation.DeleteFailedID(a.Failed.AppID, a.Failed.CommandID, a.Failed.ConversationID, a.Sequence)
	}
	return "conversation.dead_letter", ""
}

// below is a context whose spans are below parent.
func below(parent trace.Span) context.Context {
	return trace.ContextWithSpan(context.Background(), parent)
}

// end ends a span; a fault makes it a failed one. A lock or a stop is none: then
// the span has the cause alone.
func end(span trace.Span, err error) {
	switch fault, cause := faultOf(err); {
	case err == nil:
	case fault.MayBeCommand() || fault == purge.Infrastructure:
		fail(span, cause)
	default:
		span.SetAttributes(attribute.String("lethe.cause", cause))
	}
	span.End()
}

// fail makes a span a failed one, by a word of a bounded set.
func fail(span trace.Span, cause string) {
	span.SetStatus(codes.Error, cause)
	span.SetAttributes(attribute.String("error.type", cause))
}

// faultOf is [purge.FaultOf], and knows how announcing ends at a stop.
func faultOf(err error) (purge.Fault, string) {
	if errors.Is(err, errStopping) {
		return purge.Stopping, purge.Stopping.String()
	}
	return purge.FaultOf(err)
}

// The names of W3C's trace context, in a command's headers and here.
const traceparent, tracestate = conversation.HeaderTraceparent, conversation.HeaderTracestate

// remote is a context whose spans are below what t names.
func remote(t conversation.Trace) context.Context {
	return propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{traceparent: t.Parent, tracestate: t.State})
}

// local names a span to those who get a message.
func local(span trace.Span) conversation.Trace {
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(below(span), c)
	return conversation.Trace{Parent: c[traceparent], State: c[tracestate]}
}

// noteWaitQueue adds to a command's span how long one of its deletions has waited
// for room in the long lane, from start until now.
func (h *Handler) noteWaitQueue(t *task, start time.Time, entered bool) {
	if t.job.span == nil {
		return
	}
	_, span := h.cfg.Tracer.Start(below(t.job.span), "long lane wait queue", trace.WithTimestamp(start),
		trace.WithAttributes(attribute.String("lethe.lane", "long"), attribute.Bool("lethe.entered", entered)))
	span.End()
}

// beginSpan begins the span of a deletion's time in the long lane.
func (l *longRun) beginSpan() {
	if l.t.job.span != nil {
		_, l.span = l.h.cfg.Tracer.Start(below(l.t.job.span), "long lane", trace.WithAttributes(attribute.String("lethe.lane", "long")))
	}
}

// endSpan ends it, before the outcome is published.
func (l *longRun) endSpan(rec purge.Record, err error) {
	if l.span == nil {
		return
	}
	l.span.SetAttributes(
		attribute.Int("lethe.batches", l.ran), attribute.Int64("lethe.messages_deleted", rec.MessagesDeleted),
		attribute.String("lethe.state", string(rec.State)))
	end(l.span, err)
}

// note adds a span to that of the run, from start until now.
func (l *longRun) note(name string, start time.Time, err error, attrs ...attribute.KeyValue) {
	if l.span != nil {
		_, span := l.h.cfg.Tracer.Start(below(l.span), name, trace.WithTimestamp(start), trace.WithAttributes(attrs...))
		end(span, err)
	}
}

// noteBatch gives a batch a span if its number is a power of two: a run of
// thousands of batches has a dozen.
func (l *longRun) noteBatch(start time.Time, limit, rows int) {
	l.ran++
	if l.span != nil && l.ran&(l.ran-1) == 0 {
		l.note("batch", start, nil, attribute.Int("lethe.batch", l.ran), attribute.Int("lethe.limit_rows", limit), attribute.Int("lethe.rows", rows))
	}
}

// noteWait adds to the run's span that something has begun to block or throttle it. The
// span keeps the last 128 of these, or OTEL_SPAN_EVENT_COUNT_LIMIT.
func (l *longRun) noteWait(cause string) {
	if l.span != nil && cause != "" {
		l.span.AddEvent("waits", trace.WithAttributes(attribute.String("lethe.waiting_for", cause)))
	}
}
