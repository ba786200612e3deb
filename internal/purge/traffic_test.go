package purge_test

import (
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

func TestTraffic(t *testing.T) {
	t.Parallel()
	var traffic purge.Traffic
	now := time.Unix(1_000_000, 0)
	count := int64(5000)
	run := func(seconds int, rate int64) float64 {
		for range seconds {
			now, count = now.Add(time.Second), count+rate
			traffic.Note(now, count)
		}
		return traffic.Share()
	}
	traffic.Note(now, count)
	if got := traffic.Share(); got != 0 {
		t.Errorf("Share() = %v after one look; want 0", got)
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
			t.Errorf("%s: Share() = %v, want %v to %v (rate %v)", step.what, got, step.min, step.max, traffic.Rate())
		}
	}
	traffic.Noise = purge.Pace{}.Noise(2) // another worker's batches, 29 a second
	if got := run(12, 32); got != 0 {
		t.Errorf("Share() = %v with no more than another worker makes; want 0", got)
	}
	if got := run(12, 300); got != 1 {
		t.Errorf("Share() = %v with more than that; want 1", got)
	}
	if got := (purge.Pace{}).Noise(1); got != 0 {
		t.Errorf("Noise(1) = %v; want 0: nobody else is in the long lane", got)
	}
	count = 0 // the statistics were reset
	if got := run(1, 0); got != 1 {
		t.Errorf("Share() = %v after a reset; want what was known", got)
	}
	before := traffic.Rate()
	traffic.Note(now, count+1000) // no time has passed
	if got := traffic.Rate(); got != before {
		t.Errorf("Rate() = %v after two looks at once, %v before", got, before)
	}
}
