package main

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestHTTPBoundsItsClients(t *testing.T) {
	t.Parallel()
	nothing := func() string { return "" }
	s, err := serveHTTP(t.Context(), "127.0.0.1:0", prometheus.NewRegistry(), readiness{nothing, nothing, nothing}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close(t.Context()) })
	for name, limit := range map[string]time.Duration{
		"ReadHeaderTimeout": s.server.ReadHeaderTimeout, "ReadTimeout": s.server.ReadTimeout,
		"WriteTimeout": s.server.WriteTimeout, "IdleTimeout": s.server.IdleTimeout,
	} {
		if limit <= 0 || limit > time.Minute {
			t.Errorf("%s = %v; want at most a minute", name, limit)
		}
	}
	if n := s.server.MaxHeaderBytes; n <= 0 || n > 64<<10 {
		t.Errorf("MaxHeaderBytes = %d; want at most 64 KiB", n)
	}
}
