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

func TestTheThrottlesSettings(t *testing.T) {
	t.Parallel()
	c := throttleConfig{MaxReplicaLag: time.Second, MaxLockWait: 20 * time.Millisecond, MaxWALRetained: 1 << 30, IgnoreStandbys: " a, b,,"}
	got := c.limits(50 * time.Millisecond)
	if got.ReplicaLag != time.Second || got.WALRetained != 1<<30 || strings.Join(got.IgnoreStandbys, "|") != "a|b" {
		t.Errorf("limits = %+v", got)
	}
	if got.LockWait != 100*time.Millisecond {
		t.Errorf("lock wait = %v; want twice the target, or ordinary batches throttle", got.LockWait)
	}
	if off := (&throttleConfig{}).limits(time.Second); off.LockWait != 0 || off.ReplicaLag != 0 || off.WALRetained != 0 {
		t.Errorf("limits = %+v; want all off", off)
	}
}
