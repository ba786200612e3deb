package main

import (
	"slices"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// group is bars side by side: one for each contestant.
type group struct {
	name string
	bars map[contestant]bar
}

// bar is a median, what the rounds lay between, and words above it.
type bar struct {
	median, least, most float64
	say                 string
}

// barOf is a contestant's bar of a figure; false if it has none.
func (r *result) barOf(name string, who contestant) (bar, bool) {
	m, ok := r.median(name, who)
	b := bar{median: m, least: m, most: m, say: number(m)}
	for _, v := range r.values(name, who) {
		b.least, b.most = min(b.least, v), max(b.most, v)
	}
	return b, ok
}

// groupOf are the bars of one figure. A ratio stands above those that lethe is
// compared with.
func (r *result) groupOf(name, label string, scale float64) group {
	g := group{name: label, bars: map[contestant]bar{}}
	for _, who := range r.scenario.contestants {
		b, ok := r.barOf(name, who)
		if !ok {
			continue
		}
		b.median, b.least, b.most = b.median*scale, b.least*scale, b.most*scale
		b.say = number(b.median)
		if ratio, ok := median(r.ratios(name, lethe, goal{against: who})); ok && who != lethe {
			b.say += "\n(lethe: " + number(ratio) + " ×)"
		}
		g.bars[who] = b
	}
	return g
}

// groups draws bars; the whiskers show the least and the greatest round.
func (c *chart) groups(groups []group, order []contestant) error {
	order = slices.DeleteFunc(slices.Clone(order), func(who contestant) bool {
		return !slices.ContainsFunc(groups, func(g group) bool { _, ok := g.bars[who]; return ok })
	})
	c.grid(false)
	names := make([]string, len(groups))
	width := 0.8 / float64(max(1, len(order)))
	highest := 0.0
	for i, who := range order {
		var tops plotter.XYs
		var whiskers plotter.YErrors
		values := make(plotter.Values, len(groups))
		shift := (float64(i) - float64(len(order)-1)/2) * width
		for at, g := range groups {
			names[at] = g.name
			b, ok := g.bars[who]
			if !ok {
				continue
			}
			values[at] = b.median
			highest = max(highest, b.most)
			tops = append(tops, plotter.XY{X: float64(at) + shift, Y: b.median})
			whiskers = append(whiskers, struct{ Low, High float64 }{b.median - b.least, b.most - b.median})
			if err := c.label(float64(at)+shift, b.most, b.say); err != nil {
				return err
			}
		}
		if err := c.barsOf(who, values, width, shift, len(groups)); err != nil {
			return err
		}
		errorBars, err := plotter.NewYErrorBars(struct {
			plotter.XYs
			plotter.YErrors
		}{tops, whiskers})
		if err != nil {
			return err
		}
		c.Add(errorBars)
	}
	c.NominalX(names...)
	c.X.Min, c.X.Max = -0.5, float64(len(groups))-0.5
	c.Y.Min, c.Y.Max = 0, highest*1.25 // room for the words
	return nil
}

// barsOf draws a contestant's bars.
func (c *chart) barsOf(who contestant, values plotter.Values, width, shift float64, groups int) error {
	inner := chartWidth - 70 // what the axis and its labels leave
	unit := float64(inner) / float64(groups)
	bars, err := plotter.NewBarChart(values, vg.Length(unit*width*0.94))
	if err != nil {
		return err
	}
	bars.Color, bars.LineStyle.Width, bars.Offset = c.colour(who), 0, vg.Length(unit*shift)
	c.Add(bars)
	c.Legend.Add(string(who), bars)
	return nil
}
