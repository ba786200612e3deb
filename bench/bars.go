package main

import (
	"image/color"
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

// timesLethe explains what groupOf writes above the bars of others.
const timesLethe = "(n ×: lethe's multiple of it)"

// groupOf are the bars of one figure. Above each stands what it is, and lethe's
// multiple of it.
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
			b.say += "\n" + number(ratio) + " ×"
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
	width := 0.8 / float64(max(1, len(order)))
	for i, who := range order {
		shift := (float64(i) - float64(len(order)-1)/2) * width
		if err := c.barsOf(who, groups, width, shift); err != nil {
			return err
		}
	}
	names := make([]string, len(groups))
	highest := 0.0
	for at, g := range groups {
		names[at] = g.name
		for _, b := range g.bars {
			highest = max(highest, b.most)
		}
	}
	c.frame(names, highest)
	return nil
}

// frame sets the axes of a chart of bars.
func (c *chart) frame(names []string, highest float64) {
	c.NominalX(names...)
	c.X.Padding, c.Y.Padding, c.X.Min, c.X.Max = 0, 0, -0.5, float64(len(names))-0.5
	c.Y.Min, c.Y.Max = 0, highest*1.15 // room for the words
}

// barsOf draws a contestant's bars.
func (c *chart) barsOf(who contestant, groups []group, width, shift float64) error {
	var tops plotter.XYs
	var whiskers plotter.YErrors
	values := make(plotter.Values, len(groups))
	for at, g := range groups {
		b, ok := g.bars[who]
		if !ok {
			continue
		}
		values[at] = b.median
		tops = append(tops, plotter.XY{X: float64(at) + shift, Y: b.median})
		whiskers = append(whiskers, struct{ Low, High float64 }{b.median - b.least, b.most - b.median})
		if err := c.label(float64(at)+shift, b.most, b.say); err != nil {
			return err
		}
	}
	if err := c.bars(string(who), c.colour(who), values, width, shift, nil); err != nil {
		return err
	}
	errorBars, err := plotter.NewYErrorBars(struct {
		plotter.XYs
		plotter.YErrors
	}{tops, whiskers})
	if err == nil {
		c.Add(errorBars)
	}
	return err
}

// bars draws one bar in each group, of a width that is a share of the group's,
// on top of others if there are any.
func (c *chart) bars(name string, colour color.Color, values plotter.Values, width, shift float64, below *plotter.BarChart) error {
	const axis = 90 // what the axis and its labels take
	unit := float64(chartWidth-axis) / float64(len(values))
	bars, err := plotter.NewBarChart(values, vg.Length(unit*width*0.94))
	if err != nil {
		return err
	}
	bars.Color, bars.LineStyle.Width, bars.Offset = colour, 0, vg.Length(unit*shift)
	if below != nil {
		bars.StackOn(below)
	}
	c.Add(bars)
	c.legend = append(c.legend, entry{name: name, colour: colour})
	c.top = bars
	return nil
}
