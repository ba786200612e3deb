package main

import (
	"strings"
	"testing"
)

func TestRunRefusesTracesThatItCannotSend(t *testing.T) {
	t.Parallel()
	vars := map[string]string{
		"DATABASE_URL":                "postgres://nobody@localhost/none",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317",
		"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
	}
	o := execute(func(name string) string { return vars[name] }, "run")
	lines := strings.Split(strings.TrimSuffix(o.stderr, "\n"), "\n")
	if o.code != exitUsage || len(lines) != 2 ||
		!strings.HasPrefix(lines[0], "worker: OTEL_EXPORTER_OTLP_ENDPOINT: ") || !strings.HasPrefix(lines[1], "worker: OTEL_EXPORTER_OTLP_PROTOCOL: ") {
		t.Errorf("exit status %d and %q; want 2 and a line for each of the two", o.code, o.stderr)
	}
}
