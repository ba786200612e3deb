package handler

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-im/lethe/internal/purge"
)

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
