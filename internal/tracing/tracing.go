// Package tracing sends the worker's spans to an OTLP receiver. OpenTelemetry's
// own variables decide whether, where and which; without an endpoint none of it
// runs. A receiver that is slow or absent costs spans, and nothing else.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// flushLimit is how long a stop waits until the last spans are sent.
const flushLimit = 2 * time.Second

// Config is what [Open] needs; all but Shard is required.
type Config struct {
	// Getenv decides whether there are traces. The SDK reads the process's own
	// environment for the rest.
	Getenv func(string) string
	// Version is the worker's.
	Version string
	// Shard is the worker's; "" without shards.
	Shard string
	// Spans counts by state: ended, exported, failed.
	Spans *prometheus.CounterVec
	Log   *slog.Logger
}

// Tracing is what sends spans. A nil Tracing sends none. Safe for concurrent
// use.
type Tracing struct {
	provider *sdk.TracerProvider
	exporter *exporter
	log      *slog.Logger
}

// Open starts to send spans; it returns nil where the environment asks for none.
// It doesn't wait for the receiver. The SDK reports its own errors through
// variables of the whole process, which Open sets. The caller must call Close.
func Open(ctx context.Context, cfg Config) (*Tracing, error) {
	if !Wanted(cfg.Getenv) {
		return nil, nil
	}
	otel.SetLogger(logr.FromSlogHandler(cfg.Log.Handler()))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { cfg.Log.Warn("tracing", "error", err) }))
	attributes := []attribute.KeyValue{attribute.String("service.name", "lethe-worker"), attribute.String("service.version", cfg.Version)}
	if cfg.Shard != "" {
		attributes = append(attributes, attribute.String("lethe.shard", cfg.Shard))
	}
	who, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(attributes...),
		resource.WithFromEnv()) // which overrides the others
	if err != nil {
		cfg.Log.Warn("tracing: description of this process is incomplete", "error", err)
	}
	otlp, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	e := &exporter{SpanExporter: otlp, spans: cfg.Spans, log: cfg.Log}
	t := &Tracing{exporter: e, log: cfg.Log, provider: sdk.NewTracerProvider(
		sdk.WithResource(who), sdk.WithSpanProcessor(counting{e}), sdk.WithBatcher(e))}
	cfg.Log.Info("sending traces")
	return t, nil
}

// Tracer returns what begins spans; nil for a nil Tracing.
func (t *Tracing) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer("github.com/lethe-im/lethe")
}

// Close sends what is left, for two seconds at most, and logs how many spans have
// been lost since Open. Lost spans are no error.
func (t *Tracing) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	err := t.provider.Shutdown(ctx)
	if lost := t.exporter.ended.Load() - t.exporter.exported.Load(); lost > 0 {
		t.log.Warn("spans were lost", "lost", lost, "exported", t.exporter.exported.Load(), "error", err)
	}
	return nil
}
