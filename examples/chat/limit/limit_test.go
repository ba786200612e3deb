package limit

import (
	"strconv"
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC)
	// All together 20 at once and 10 a second; each key 5 at once and 1 a second, and 8 in 1,000 seconds.
	l := New(Rate{10, 20}, Rate{1, 5}, Rate{0.001, 8})
	for n, step := range []struct {
		after time.Duration // since begin
		key   string
		take  float64
		wait  time.Duration // about
	}{
		{0, "alice", 5, 0},
		{0, "alice", 1, time.Second},
		{0, "alice", 6, forever}, // more than there ever are
		{500 * time.Millisecond, "alice", 1, 500 * time.Millisecond},
		{0, "alice", 1, 500 * time.Millisecond}, // a clock that goes back gives nothing
		{1001 * time.Millisecond, "alice", 1, 0},
		{10 * time.Second, "alice", 2, 0},
		{20 * time.Second, "alice", 1, 980 * time.Second}, // 8 are used, and 0.02 have come
		{20 * time.Second, "bob", 5, 0},
		{20 * time.Second, "carol", 5, 0},
		{20 * time.Second, "dave", 5, 0},
		{20 * time.Second, "erin", 5, 0},
		{20 * time.Second, "frank", 5, 500 * time.Millisecond}, // the shared bucket is empty
		{20500 * time.Millisecond, "frank", 5, 0},              // the refusal took nothing of frank's
	} {
		got := l.Take(begin.Add(step.after), step.key, step.take)
		if diff := got - step.wait; diff < -time.Millisecond || diff > 5*time.Millisecond && step.wait > 0 || got > 0 != (step.wait > 0) {
			t.Errorf("step %d: %s takes %v: wait %v; want %v", n, step.key, step.take, got, step.wait)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	l := New(Rate{1e9, 1e9}, Rate{1, 1})
	now := time.Now()
	l.Take(now, "kept", 1)
	for n := range 5 * maxKeys {
		l.Take(now, strconv.Itoa(n), 1)
		if n%1000 == 0 && l.Take(now, "kept", 1) == 0 {
			t.Fatalf("after %d others a key in use is forgotten", n)
		}
	}
	if n := len(l.recent) + len(l.older); n > 2*maxKeys {
		t.Errorf("%d keys are remembered; want at most %d", n, 2*maxKeys)
	}
}
