package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/tracing"
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
		!strings.HasPrefix(lines[0], "worker run: OTEL_EXPORTER_OTLP_ENDPOINT: ") || !strings.HasPrefix(lines[1], "worker run: OTEL_EXPORTER_OTLP_PROTOCOL: ") {
		t.Errorf("exit status %d and %q; want 2 and a line for each of the two", o.code, o.stderr)
	}
}

func TestWhatIsDeployedSendsTracesWhereItSaysSo(t *testing.T) {
	t.Parallel()
	traced, others := 0, 0
	for _, c := range deployed(t) {
		if c.args[0] != "run" {
			continue
		}
		if found := tracing.Check(vars(c.env)); len(found) > 0 {
			t.Errorf("%s: %v", c.where, found)
		}
		if tracing.Wanted(vars(c.env)) {
			traced++
		} else {
			others++
		}
	}
	if traced == 0 || others == 0 {
		t.Errorf("%d of what is deployed sends traces and %d does not; want some of both", traced, others)
	}
}

// tracingVariables are those that docs/tracing.md names.
func tracingVariables(t *testing.T) (all []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("`(OTEL_[A-Z_]+)[`=]").FindAllStringSubmatch(readFile(t, "../../docs/tracing.md"), -1) {
		all = append(all, m[1])
	}
	return all
}
