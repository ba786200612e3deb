package main

import (
	"math"
	"testing"
	"time"
)

// paced are points a millisecond apart or so: rows gone after each pause.
func paced(rows int, pauses ...time.Duration) []point {
	at := time.Unix(0, 0)
	points := []point{{at: at}}
	for i, pause := range pauses {
		at = at.Add(pause)
		points = append(points, point{at: at, rows: (i + 1) * rows})
	}
	return points
}

func TestSlowdown(t *testing.T) {
	t.Parallel()
	even, late := make([]time.Duration, 40), make([]time.Duration, 40)
	for i := range even {
		even[i], late[i] = time.Millisecond, time.Millisecond
	}
	late[38], late[39] = 3*time.Millisecond, 3*time.Millisecond
	for _, c := range []struct {
		name   string
		points []point
		n      int
		want   float64
		ok     bool
	}{
		{"an even pace is 1", paced(10, even...), 400, 1, true},
		{"the last twentieth at a third of the pace is 3", paced(10, late...), 400, 3, true},
		{"batches that don't end on a twentieth are interpolated", paced(30, time.Second, time.Second, time.Second, time.Second), 100, 1, true},
		{"without the end there is nothing to tell", paced(10, even[:30]...), 400, 0, false},
		{"two points are too few", paced(400, time.Second), 400, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got, ok := slowdown(c.points, c.n); ok != c.ok || math.Abs(got-c.want) > 1e-6 {
				t.Errorf("slowdown = %v, %v; want %v, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestParseStatReadsPastAnyName(t *testing.T) {
	t.Parallel()
	line := "7 (a) b (c) S 3 1 1 0 -1 4194560 1 2 3 4 100 50 25 25 20 0 1 0 5 6 7"
	if got, ok := parseStat(line); !ok || got.parent != 3 || got.cpu != 2 {
		t.Errorf("parseStat = %+v, %v; want parent 3 and 2 s", got, ok)
	}
	if got, ok := parseStat("7 (a) S 3"); ok {
		t.Errorf("parseStat of half a line = %+v", got)
	}
}
