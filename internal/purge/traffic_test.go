package purge

import (
	"testing"
	"time"
)

func TestTraffic(t *testing.T) {
	t.Parallel()
	var seen traffic
	now := time.Unix(1_000_000, 0)
	count, noise := int64(5000), 0.0
	run := func(seconds int, rate int64) float64 {
		for range seconds {
			now, count = now.Add(time.Second), count+rate
			seen.note(now, count)
		}
		return seen.share(noise)
	}
	seen.note(now, count)
	if got := seen.share(noise); got != 0 {
		t.Errorf("share = %v after one sample; want 0", got)
	}
	for _, step := range []struct {
		what     string
		seconds  int
		rate     int64
		min, max float64
	}{
		{"nobody", 3, 0, 0, 0},
		{"a monitor", 10, 5, 0, 0},
		{"many, for a second", 1, 300, 1, 1},
		{"many", 10, 300, 1, 1},
		{"half as many as a crowd", 12, 50, 0.49, 0.55},
		{"pollers", 12, 18, 0, 0},
		{"nobody again", 5, 0, 0, 0},
	} {
		if got := run(step.seconds, step.rate); got < step.min || got > step.max {
			t.Errorf("%s: share = %v, want %v to %v (rate %v)", step.what, got, step.min, step.max, seen.rate)
		}
	}
	noise = Pace{}.Noise(2) // another worker's batches, 29 a second
	if got := run(12, 32); got != 0 {
		t.Errorf("share = %v with no more than another worker makes; want 0", got)
	}
	if got := run(12, 300); got != 1 {
		t.Errorf("share = %v with more than that; want 1", got)
	}
	if got := (Pace{}).Noise(1); got != 0 {
		t.Errorf("Noise(1) = %v; want 0: nobody else is in the long lane", got)
	}
	count = 0 // the statistics were reset
	if got := run(1, 0); got != 1 {
		t.Errorf("share = %v after a reset; want what was known", got)
	}
	before := seen.rate
	seen.note(now, count+1000) // no time has passed
	if got := seen.rate; got != before {
		t.Errorf("rate = %v after two samples at once, %v before", got, before)
	}
}
