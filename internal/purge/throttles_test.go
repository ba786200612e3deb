package purge

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	limits := Limits{ReplicaLag: 4 * time.Second, LockWait: 100 * time.Millisecond, WALRetained: 4 << 30}
	lag := func(s float64) Figures {
		return Figures{ReplicaLag: time.Duration(s * float64(time.Second)), Standby: "s1"}
	}
	all := Figures{
		Pauses: []Pause{{Lane: LongLane}}, ReplicaLag: time.Hour, WALRetained: math.MaxInt64,
		LockWaiters: 1, LongestWait: time.Hour,
	}
	for _, c := range []struct {
		name    string
		limits  Limits
		samples []Figures
		want    string // the reasons after the last sample
	}{
		{"nothing found", limits, []Figures{{}}, ""},
		{"at the threshold", limits, []Figures{lag(4)}, ""},
		{"above it", limits, []Figures{lag(4.1)}, "replica_lag"},
		{"below it, but above the half", limits, []Figures{lag(5), lag(3), lag(3), lag(3)}, "replica_lag"},
		{"below the half once", limits, []Figures{lag(5), lag(1)}, "replica_lag"},
		{"below the half once, and once more after a rise", limits, []Figures{lag(5), lag(1), lag(3), lag(1)}, "replica_lag"},
		{"below the half twice", limits, []Figures{lag(5), lag(1), lag(2)}, ""},
		{"let go, and above the half again", limits, []Figures{lag(5), lag(1), lag(1), lag(3)}, ""},
		{"each of them", limits, []Figures{all}, "paused replica_lag wal_retained lock_waiters"},
		{"all but the pause gone for a moment", limits, []Figures{all, {Pauses: all.Pauses}}, "paused replica_lag wal_retained lock_waiters"},
		{"a pause goes at once", limits, []Figures{{Pauses: all.Pauses}, {}}, ""},
		{"no limits", Limits{}, []Figures{all}, "paused"},
		{"a limit that is taken off", Limits{LockWait: time.Second}, []Figures{all}, "paused lock_waiters"},
		{"figures below nothing", limits, []Figures{all, {ReplicaLag: -1, WALRetained: math.MinInt64, LongestWait: -1}, {}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var now Throttles
			for _, f := range c.samples {
				now = c.limits.Judge(now, f)
			}
			var got []string
			for _, b := range now {
				got = append(got, string(b.Reason))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("throttled by %q; want %q", s, c.want)
			}
		})
	}
}

func TestJudgeSaysWhyWithFigures(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	got := Limits{ReplicaLag: time.Second, LockWait: 100 * time.Millisecond, WALRetained: 1 << 30}.Judge(nil, Figures{
		Pauses:     []Pause{{AllLanes, since}, {LongLane, since.Add(time.Minute)}},
		ReplicaLag: 7340 * time.Millisecond, Standby: "s1", WALRetained: 5 << 30, WALHolder: `replication slot "old"`,
		LockWaiters: 3, LongestWait: 250 * time.Millisecond,
	})
	want := []Throttle{
		{Reason: Paused, Detail: "lane all, by an operator since 2026-11-23T09:00:00Z; lane long, by an operator since 2026-11-23T09:01:00Z"},
		{Reason: ReplicaLag, Detail: `standby "s1" is 7.3s behind; --max-replica-lag is 1s`},
		{Reason: WALRetained, Detail: `replication slot "old" holds 5120 MiB of WAL; --max-wal-retained is 1024 MiB`},
		{Reason: LockWaiters, Detail: "3 sessions wait for our locks, one for 250ms; --max-lock-wait is 100ms"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("Judge = %+v; want %+v", got, want)
	}
}

// Whatever the figures: what is far above a threshold holds, what is calm for long
// enough doesn't, each reason stands once, in the order of the reasons.
func FuzzJudge(f *testing.F) {
	f.Add(int64(time.Second), int64(1), int64(1), int64(0), int64(5), int64(math.MaxInt64), true)
	f.Add(int64(-1), int64(math.MaxInt64), int64(0), int64(math.MinInt64), int64(0), int64(1), false)
	f.Fuzz(func(t *testing.T, lagLimit, waitLimit, walLimit, lag, wait, wal int64, paused bool) {
		l := Limits{ReplicaLag: time.Duration(lagLimit), LockWait: time.Duration(waitLimit), WALRetained: walLimit}
		figures := Figures{ReplicaLag: time.Duration(lag), LongestWait: time.Duration(wait), WALRetained: wal}
		if paused {
			figures.Pauses = []Pause{{Lane: AllLanes}}
		}
		now := l.Judge(nil, figures)
		order := ThrottleReasons()
		for _, b := range now {
			i := slices.Index(order, b.Reason)
			if i < 0 {
				t.Fatalf("%q stands twice or out of order in %+v", b.Reason, now)
			}
			order = order[i+1:]
		}
		for _, c := range []struct {
			reason   ThrottleReason
			v, limit int64
		}{{ReplicaLag, lag, lagLimit}, {LockWaiters, wait, waitLimit}, {WALRetained, wal, walLimit}} {
			_, held := now.Of(c.reason)
			if clearly := c.limit > 0 && c.v > c.limit && c.v-c.limit > c.limit>>40; clearly && !held || held && (c.limit <= 0 || c.v <= c.limit) {
				t.Errorf("%s at %d with limit %d: held is %t", c.reason, c.v, c.limit, held)
			}
		}
		if _, held := now.Of(Paused); held != paused {
			t.Errorf("paused is %t; want %t", held, paused)
		}
		for range calmSamples {
			now = l.Judge(now, Figures{})
		}
		if len(now) > 0 {
			t.Errorf("%+v hold after %d calm samples", now, calmSamples)
		}
	})
}

func TestWALHistory(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var history walHistory
	if lag := history.lag(start, 0); lag != 0 {
		t.Errorf("lag by an empty history = %v; want 0", lag)
	}
	for s, position := range []int64{100, 200, 200, 300} {
		history.note(at(s), position)
	}
	for _, c := range []struct {
		replayed int64
		want     int // seconds behind at second 10
	}{{50, 10}, {99, 10}, {100, 9}, {150, 9}, {200, 7}, {250, 7}, {300, 0}, {900, 0}} {
		if lag := history.lag(at(10), c.replayed); lag != time.Duration(c.want)*time.Second {
			t.Errorf("a standby at %d is %v behind; want %ds", c.replayed, lag, c.want)
		}
	}
	history.note(at(11), 10) // another server
	if lag := history.lag(at(20), 5); lag != 9*time.Second {
		t.Errorf("after a failover a standby is %v behind; want 9s", lag)
	}
	for s := range 3 * maxWALMarks {
		history.note(at(100+s), int64(1000+s))
	}
	if n := len(history.marks); n != maxWALMarks {
		t.Errorf("%d marks are kept; want %d", n, maxWALMarks)
	}
}

func TestSlowBackoff(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	standard := Pace{Target: 50 * ms, Min: 50, Max: 50_000}
	for _, c := range []struct {
		name         string
		pace         Pace
		limit        int
		took, before time.Duration
		want         time.Duration
	}{
		{"a quick batch", standard, 5000, 50 * ms, 50 * ms, 0},
		{"twice the target", standard, 50, 100 * ms, 100 * ms, 0},
		{"the first slow one, which the pace mends", standard, 5000, 300 * ms, 50 * ms, 0},
		{"the second in a row", standard, 1250, 300 * ms, 300 * ms, 300 * ms},
		{"one of hardly any rows", standard, 60, 300 * ms, 0, 300 * ms},
		{"one of a minute", standard, 50, time.Minute, 0, maxSlowBackoff},
		{"below a limit of its own", Pace{Target: 50 * ms, Slow: time.Second, Min: 50}, 50, 300 * ms, 300 * ms, 0},
		{"no settings", Pace{}, 1, 101 * ms, 0, 101 * ms},
	} {
		if got := c.pace.SlowBackoff(c.limit, c.took, c.before); got != c.want {
			t.Errorf("%s: SlowBackoff(%d, %v, %v) = %v; want %v", c.name, c.limit, c.took, c.before, got, c.want)
		}
	}
}
