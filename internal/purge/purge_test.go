package purge

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"
)

func seq(n int64) *int64 { return &n }

func TestDigestOf(t *testing.T) {
	t.Parallel()
	base := Content{User: "alice", Device: "phone", Targets: []Target{{"a", nil}, {"b", seq(7)}}}

	t.Run("stays what it was in earlier versions", func(t *testing.T) {
		t.Parallel()
		d := DigestOf(base)
		const want = "09293c8e780631dff043830cf77b81dc997d941ce98a0c2f7b1158944207b897"
		if got := hex.EncodeToString(d[:]); got != want {
			t.Errorf("DigestOf = %s; want %s: commands redelivered across an upgrade would be refused", got, want)
		}
	})

	t.Run("has a second version", func(t *testing.T) {
		t.Parallel()
		c := base
		c.Scope = ScopeEveryone
		d := DigestOf(c)
		const want = "67996470fe2cb1390d1e0c42866cf14e13cfa310fae16d077d03d3a37919f7eb"
		if got := hex.EncodeToString(d[:]); got != want {
			t.Errorf("DigestOf = %s; want %s: commands redelivered across an upgrade would be refused", got, want)
		}
	})

	t.Run("doesn't depend on the order and leaves the content alone", func(t *testing.T) {
		t.Parallel()
		c := Content{User: "alice", Device: "phone", Targets: []Target{{"b", seq(7)}, {"a", nil}}}
		if DigestOf(c) != DigestOf(base) {
			t.Error("another order has another digest")
		}
		if c.Targets[0].Conversation != "b" {
			t.Error("the targets were sorted in place")
		}
	})

	for name, c := range map[string]Content{
		"user":             {User: "alicf", Device: "phone", Targets: base.Targets},
		"device":           {User: "alice", Targets: base.Targets},
		"shifted border":   {User: "alicep", Device: "hone", Targets: base.Targets},
		"keep_history":     {User: "alice", Device: "phone", KeepHistory: true, Targets: base.Targets},
		"a target less":    {User: "alice", Device: "phone", Targets: base.Targets[:1]},
		"a through_seq":    {User: "alice", Device: "phone", Targets: []Target{{"a", seq(0)}, {"b", seq(7)}}},
		"another boundary": {User: "alice", Device: "phone", Targets: []Target{{"a", nil}, {"b", seq(8)}}},
		"scope":            {User: "alice", Device: "phone", Targets: base.Targets, Scope: ScopeEveryone},
		"all":              {User: "alice", Device: "phone", Targets: base.Targets, AllConversations: true},
		"keep":             {User: "alice", Device: "phone", Targets: base.Targets, KeepConversation: true},
	} {
		t.Run("tells apart: "+name, func(t *testing.T) {
			t.Parallel()
			if DigestOf(c) == DigestOf(base) {
				t.Errorf("%+v has the digest of %+v", c, base)
			}
		})
	}
}

func TestPaceNext(t *testing.T) {
	t.Parallel()
	p := Pace{Target: 50 * time.Millisecond, Min: 100, Max: 10_000}
	for _, c := range []struct {
		name  string
		limit int
		took  time.Duration
		full  bool
		want  int
	}{
		{"a full batch far below the aim grows to four times at most", 1000, time.Millisecond, true, 4000},
		{"one closer to it grows by half of what is left", 1000, 7 * time.Millisecond, true, 2500},
		{"a full batch near the aim grows by half at most", 1000, 20 * time.Millisecond, true, 1500},
		{"a quick batch that is not full says nothing", 1000, time.Millisecond, false, 1000},
		{"a batch at the aim stays", 1000, 35 * time.Millisecond, true, 1000},
		{"a slow batch shrinks in proportion", 1000, 70 * time.Millisecond, true, 500},
		{"a slow batch shrinks also when it is not full", 1000, 70 * time.Millisecond, false, 500},
		{"a very slow batch shrinks to a quarter at the most", 1000, time.Minute, true, 250},
		{"never below the least", 100, time.Minute, true, 100},
		{"never above the greatest", 9000, time.Millisecond, true, 10_000},
		{"a limit out of range is moved into it", 1, 35 * time.Millisecond, true, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := p.Next(c.limit, c.took, c.full); got != c.want {
				t.Errorf("Next(%d, %v, %v) = %d; want %d", c.limit, c.took, c.full, got, c.want)
			}
		})
	}
}

func TestPaceSettlesAtItsTarget(t *testing.T) {
	t.Parallel()
	p := Pace{Target: 50 * time.Millisecond, Min: 50, Max: 50_000}
	for _, cost := range []time.Duration{time.Microsecond, 8 * time.Microsecond, 100 * time.Microsecond} {
		limit := 2000
		for range 30 {
			limit = p.Next(limit, time.Millisecond+time.Duration(limit)*cost, true)
		}
		took := time.Millisecond + time.Duration(limit)*cost
		if took < 30*time.Millisecond || took > 40*time.Millisecond {
			t.Errorf("at %v a row a batch of %d takes %v; want about 35ms", cost, limit, took)
		}
	}
}

func FuzzPaceNext(f *testing.F) {
	f.Add(int64(50), 50, 50_000, 2000, int64(12), true)
	f.Add(int64(-1), -5, -9, math.MaxInt, int64(math.MinInt64), false)
	f.Add(int64(math.MaxInt64), math.MaxInt, math.MaxInt, 1, int64(1), true)
	f.Fuzz(func(t *testing.T, target int64, lo, hi, limit int, took int64, full bool) {
		p := Pace{Target: time.Duration(target), Min: lo, Max: hi}
		got := p.Next(limit, time.Duration(took), full)
		if least := max(lo, 1); got < least || got > max(hi, least) {
			t.Errorf("%+v.Next(%d, %v, %v) = %d; want it within [%d, %d]", p, limit, time.Duration(took), full, got, least, max(hi, least))
		}
	})
}

func TestRetryDelay(t *testing.T) {
	t.Parallel()
	for attempts, want := range map[int]time.Duration{
		-1: 100 * time.Millisecond, 0: 100 * time.Millisecond, 1: 100 * time.Millisecond, 2: 200 * time.Millisecond,
		5: 1600 * time.Millisecond, 8: 10 * time.Second, 1 << 40: 10 * time.Second,
	} {
		if got := retryDelay(attempts, 0); got != want {
			t.Errorf("retryDelay(%d, 0) = %v; want %v", attempts, got, want)
		}
	}
	for _, spread := range []float64{-1, 0.5, 1, 7, math.NaN(), math.Inf(1)} {
		if got := retryDelay(1, spread); got < 80*time.Millisecond || got > 100*time.Millisecond {
			t.Errorf("retryDelay(1, %v) = %v; want 80 to 100ms", spread, got)
		}
	}
}

func TestDeferDelay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		left   time.Duration
		spread float64
		want   time.Duration
	}{
		{0, 0, 5 * time.Second},
		{0, 1, 2500 * time.Millisecond},
		{time.Hour, 0, 5 * time.Second},
		{2 * time.Second, 0, 2 * time.Second},
		{time.Nanosecond, 1, 50 * time.Millisecond},
	} {
		if got := deferDelay(c.left, c.spread); got != c.want {
			t.Errorf("deferDelay(%v, %v) = %v; want %v", c.left, c.spread, got, c.want)
		}
	}
}

func TestFaultOf(t *testing.T) {
	t.Parallel()
	marked := &FaultError{Fault: Contention, Cause: "deadlock", Err: errors.New("x")}
	if f, cause := FaultOf(fmt.Errorf("batch 3: %w", marked)); f != Contention || cause != "deadlock" {
		t.Errorf("FaultOf(wrapped) = %v, %q; want contention, deadlock", f, cause)
	}
	if f, cause := FaultOf(errors.New("x")); f != Command || cause != "unknown" {
		t.Errorf("FaultOf(unmarked) = %v, %q; want own, unknown: it must never count as the infrastructure'", f, cause)
	}
}

func TestTransient(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault Fault
		cause string
		want  bool
	}{
		{Contention, "deadlock", true},
		{Infrastructure, CauseConnection, true},
		{Infrastructure, CauseServer, true},
		{Infrastructure, CauseTimeout, true},
		{Infrastructure, CauseUnavailable, true},
		{Infrastructure, CausePermission, false},
		{Infrastructure, CauseLettersFull, false},
		{Infrastructure, "read_only", false},
		{Command, CauseConnection, false},
		{Ambiguous, "constraint", false},
		{Stopping, "stopping", false},
	} {
		if got := Transient(c.fault, c.cause); got != c.want {
			t.Errorf("Transient(%v, %q) = %t; want %t", c.fault, c.cause, got, c.want)
		}
	}
}
