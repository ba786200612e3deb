package tracing

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// exporter counts what becomes of the spans, and logs once that they can't be
// sent and once that they can again. The SDK calls ExportSpans from one goroutine
// at a time.
type exporter struct {
	sdk.SpanExporter
	spans *prometheus.CounterVec
	log   *slog.Logger

	failing         bool
	ended, exported atomic.Int64
}

// ExportSpans implements [sdk.SpanExporter]. It returns nil: errors are logged here.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		e.spans.WithLabelValues("failed").Add(float64(len(spans)))
		if !e.failing {
			e.log.Warn("receiver refuses traces; dropping spans", "error", cut(err.Error()))
		}
		e.failing = true
		return nil // it is logged, and the SDK would log it each time
	}
	e.spans.WithLabelValues("exported").Add(float64(len(spans)))
	e.exported.Add(int64(len(spans)))
	if e.failing {
		e.log.Info("receiver accepts traces again")
	}
	e.failing = false
	return nil
}

// cut keeps a receiver's answer, which may be a page of HTML, to a line's length.
func cut(text string) string {
	const limit = 300
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// counting counts the spans that have ended, sent or not.
type counting struct{ e *exporter }

// OnStart implements [sdk.SpanProcessor].
func (counting) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements [sdk.SpanProcessor].
func (c counting) OnEnd(sdk.ReadOnlySpan) {
	c.e.ended.Add(1)
	c.e.spans.WithLabelValues("ended").Inc()
}

// Shutdown implements [sdk.SpanProcessor].
func (counting) Shutdown(context.Context) error { return nil }

// ForceFlush implements [sdk.SpanProcessor].
func (counting) ForceFlush(context.Context) error { return nil }
