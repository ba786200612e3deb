package handler

import (
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/telemetry"
)

// Each large deletion learns by itself, batches amid other clients apart from the others.
func TestDeletionPace(t *testing.T) {
	t.Parallel()
	h := New(Config{Metrics: telemetry.New(conversation.Names{}, func() float64 { return 0 })})
	first, second := h.deletionPace(), h.deletionPace()
	batches := 0
	for full := first.of(false); full.limit < 10_000; batches++ { // at 2 µs a row
		first.took(full, full.limit, time.Millisecond+time.Duration(full.limit)*2*time.Microsecond, true)
	}
	if batches > 6 {
		t.Errorf("it takes %d batches to 10,000 rows; want few", batches)
	}
	if a, b := first.of(true).limit, second.of(false).limit; a != firstLongLimit || b != firstLongLimit {
		t.Errorf("limits of %d amid other clients and %d for another deletion; want %d for both", a, b, firstLongLimit)
	}
	for range 30 {
		amid := first.of(true)
		first.took(amid, amid.limit, time.Duration(amid.limit)*2*time.Microsecond, true)
	}
	if took := time.Duration(first.of(true).limit) * 2 * time.Microsecond; took < time.Millisecond || took > 3*time.Millisecond {
		t.Errorf("a batch amid other clients takes %v; want 1 to 3 ms", took)
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		messages  int64
		perSecond float64
		want      int64
	}{
		{0, 0, 1},
		{999, 10, 1},
		{1000, 10, 1},
		{1001, 0, 2},
		{30_000, 0, 6},                 // 1000, 200, 800, 3200, 12800, and the rest
		{1_000_000, 0, 25},             // as many rows as a batch may have
		{1_000_000, 1_000_000, 34},     // 50 ms each
		{1_000_000, 100, 200_000 - 20}, // hardly more than the least
	} {
		if got := (Config{}).Batches(c.messages, c.perSecond); 10*got < 9*c.want || 10*got > 11*c.want {
			t.Errorf("Batches(%d, %g) = %d; want about %d", c.messages, c.perSecond, got, c.want)
		}
	}
}
