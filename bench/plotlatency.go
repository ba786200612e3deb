package main

import (
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
)

// nines turns a share into how many nines it has: 0.999 is 3.
func nines(share float64) float64 { return -math.Log10(1 - share) }

// ninesTicks are the shares of drawChat's axis.
type ninesTicks struct{}

// Ticks are 50 %, 90 %, and one for each nine.
func (ninesTicks) Ticks(lo, hi float64) []plot.Tick {
	var ticks []plot.Tick
	for _, t := range []struct {
		share float64
		label string
	}{{0, "0"}, {0.5, "50 %"}, {0.9, "90 %"}, {0.99, "99 %"}, {0.999, "99.9 %"}, {0.9999, "99.99 %"}} {
		if v := nines(t.share); v >= lo && v <= hi {
			ticks = append(ticks, plot.Tick{Value: v, Label: t.label})
		}
	}
	return ticks
}

// drawChat shows the latencies of S5, all rounds apart: thin tails differ.
func drawChat(r report) (*chart, error) {
	all := r.of("S5")
	if len(all) == 0 {
		return nil, nil
	}
	c := newChart("S5: latency of people who chat while huge deletions run, from the intended start", "share of transactions that were quicker", "ms (logarithmic)")
	c.grid(true)
	lo, hi, most := math.Inf(1), 0.0, 1.0
	for _, who := range all[0].scenario.contestants {
		named := string(who)
		for _, t := range all[0].Trials {
			if t.Contestant != who {
				continue
			}
			var points series
			for _, p := range t.Series[curveLatency] {
				if p[0] < 1 && p[1] > 0 {
					points = append(points, [2]float64{nines(p[0]), p[1]})
					lo, hi, most = min(lo, p[1]), max(hi, p[1]), max(most, nines(p[0]))
				}
			}
			if len(points) == 0 {
				continue
			}
			if err := c.line(named, points, c.colour(who), nil); err != nil {
				return nil, err
			}
			named = "" // once in the legend
		}
	}
	c.X.Min, c.X.Max, c.X.Tick.Marker = 0, most, ninesTicks{}
	c.logY(lo, hi)
	return c, nil
}

// logY makes the y axis logarithmic.
func (c *chart) logY(lo, hi float64) {
	c.Y.Scale, c.Y.Tick.Marker = plot.LogScale{}, decades{}
	c.Y.Min, c.Y.Max = lo*0.9, hi*1.1
}

// drawAlone shows the latencies of S6 and S7.
func drawAlone(r report) (*chart, error) {
	all := append(r.of("S6"), r.of("S7")...)
	if len(all) == 0 {
		return nil, nil
	}
	c := newChart("From publish to event: one small command alone (S6), and amid huge deletions (S7)", "ms (logarithmic)", "share of commands that were quicker, %")
	c.grid(true)
	lo, hi := math.Inf(1), 0.0
	for _, s := range all {
		for _, who := range s.scenario.contestants {
			t, ok := s.typical(who)
			if !ok {
				continue
			}
			var points series
			for _, p := range t.Series[curveLatency] {
				points = append(points, [2]float64{p[1], 100 * p[0]})
				lo, hi = min(lo, p[1]), max(hi, p[1])
			}
			var dashes []vg.Length
			if s.scenario.id == "S7" {
				dashes = dashed
			}
			if err := c.line(string(who)+", "+s.scenario.id, points, c.colour(who), dashes); err != nil {
				return nil, err
			}
		}
	}
	c.X.Scale, c.X.Tick.Marker = plot.LogScale{}, decades{}
	c.X.Min, c.X.Max, c.Y.Min, c.Y.Max = lo*0.9, hi*1.1, 0, 100
	return c, nil
}
