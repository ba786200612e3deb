package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestTheLogWritesNothingForAnErrorThatThereIsNot(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		var b strings.Builder
		var none error
		c := logConfig{LogLevel: "info", LogFormat: format}
		c.logger(&b).Info("closed", "error", none, "took", 1500*time.Millisecond, slog.Group("g", "error", none), "n", 0)
		if s := b.String(); strings.Contains(s, "nil") || strings.Contains(s, "null") || strings.Contains(s, "error") || !strings.Contains(s, "1.5s") || !strings.Contains(s, "closed") {
			t.Errorf("%s: %q; want no error", format, s)
		}
	}
}
