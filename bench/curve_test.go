package main

import (
	"testing"
	"time"
)

func TestDistributionIsExactAtItsUpperEnd(t *testing.T) {
	t.Parallel()
	times := make([]time.Duration, 10_000)
	for i := range times {
		times[len(times)-1-i] = time.Duration(i+1) * time.Millisecond
	}
	curve := distribution(times)
	if first, last := curve[0], curve[len(curve)-1]; first != [2]float64{0, 1} || last != [2]float64{1, 10_000} {
		t.Errorf("ends = %v, %v; want the least and the greatest", first, last)
	}
	for i, p := range curve[1:] {
		if p[0] < curve[i][0] || p[1] < curve[i][1] {
			t.Fatalf("point %d = %v comes after %v", i+1, p, curve[i])
		}
		if want := p[0] * 10_000; p[1] < want-0.001 || p[1] > want+1.001 {
			t.Errorf("at share %v: %v ms; want about %v", p[0], p[1], want)
		}
	}
	if got := distribution(nil); got != nil {
		t.Errorf("distribution of nothing = %v", got)
	}
}

func TestThinKeepsTheEnds(t *testing.T) {
	t.Parallel()
	var c series
	for i := range 1000 {
		c = append(c, [2]float64{float64(i), 0})
	}
	got := c.thin(7)
	if len(got) != 7 || got[0][0] != 0 || got[6][0] != 999 {
		t.Errorf("thin = %v; want seven points from 0 to 999", got)
	}
	if got := c[:3].thin(7); len(got) != 3 {
		t.Errorf("thin of three = %v", got)
	}
}
