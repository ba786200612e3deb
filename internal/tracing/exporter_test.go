package tracing

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// flaky is an exporter that fails with err.
type flaky struct {
	*tracetest.NoopExporter
	err error
}

func (f *flaky) ExportSpans(context.Context, []sdk.ReadOnlySpan) error { return f.err }

func TestTheExporterTellsAFailureOnceAndCounts(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	receiver := &flaky{tracetest.NewNoopExporter(), errors.New(strings.Repeat("no ", 1000))}
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "spans"}, []string{"state"})
	e := &exporter{SpanExporter: receiver, spans: spans, log: slog.New(slog.NewTextHandler(&log, nil))}
	three := tracetest.SpanStubs{{}, {}, {}}.Snapshots()
	send := func(times int) {
		for range times {
			for _, s := range three {
				counting{e}.OnEnd(s)
			}
			if err := e.ExportSpans(t.Context(), three); err != nil {
				t.Errorf("ExportSpans = %v; want nil", err)
			}
		}
	}
	send(4)
	if n := strings.Count(log.String(), "\n"); n != 1 || log.Len() > 600 {
		t.Errorf("the log has %d lines:\n%s", n, &log)
	}
	receiver.err = nil
	send(2)
	if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "accepts traces again") {
		t.Errorf("the log says:\n%s", got)
	}
	for state, want := range map[string]float64{"ended": 18, "failed": 12, "exported": 6} {
		var m dto.Metric
		if err := spans.WithLabelValues(state).Write(&m); err != nil {
			t.Fatal(err)
		}
		if got := m.GetCounter().GetValue(); got != want {
			t.Errorf("%s = %v; want %v", state, got, want)
		}
	}
	if ended, exported := e.ended.Load(), e.exported.Load(); ended != 18 || exported != 6 {
		t.Errorf("ended %d, exported %d; want 18 and 6", ended, exported)
	}
}

func TestNoTracesAreSentWhereNoneAreWanted(t *testing.T) {
	t.Parallel()
	traces, err := Open(t.Context(), Config{Getenv: env(), Log: slog.New(slog.DiscardHandler)})
	if traces != nil || err != nil || traces.Tracer() != nil || traces.Close(t.Context()) != nil {
		t.Errorf("Open = %v, %v; want nil, which does nothing", traces, err)
	}
}
