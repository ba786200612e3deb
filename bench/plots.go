package main

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
)

// drawing is a plot of what a table can't show: curves. It shows the trial in the middle of each contestant, or all.
type drawing struct {
	file, title string
	scenarios   []string // from the second on with broken lines
	all         bool     // the trials: thin tails differ
	x, y        axis
	curve       func(r report, t trial) series
}

// drawings are all plots.
var drawings = []drawing{
	{
		file: "s3.svg", title: "S3: what a row costs as one conversation goes", scenarios: []string{"S3"},
		x: axis{label: "share of its messages that are deleted, %", max: 100}, y: axis{label: "µs for each message"},
		curve: func(r report, t trial) series { return costs(t.Series[curveProgress], float64(r.Options.Sizes.Long)) },
	},
	{
		file: "s5.svg", title: "S5: latency of people while huge deletions run, from the intended start", scenarios: []string{"S5"}, all: true,
		x: axis{label: "share of transactions that were quicker", ticks: nines}, y: axis{label: "ms (logarithmic)", log: true},
		curve: func(_ report, t trial) series { return tail(t.Series[curveLatency]) },
	},
	{
		file: "s6-s7.svg", title: "From publish to event: one small command alone (S6), and amid huge deletions (S7)", scenarios: []string{"S6", "S7"},
		x: axis{label: "share of commands that were quicker", ticks: nines}, y: axis{label: "ms (logarithmic)", log: true},
		curve: func(_ report, t trial) series { return tail(t.Series[curveLatency]) },
	},
}

// plot draws all that the run has measured into dir, and returns the files.
func (r report) plot(dir string) ([]string, error) {
	var files []string
	for _, d := range drawings {
		c, err := d.draw(r)
		if err == nil && c != nil {
			err = c.save(filepath.Join(dir, d.file))
			files = append(files, d.file)
		}
		if err != nil {
			return files, fmt.Errorf("plot %s: %w", d.file, err)
		}
	}
	return files, nil
}

// draw returns nil if the run has nothing to show.
func (d drawing) draw(r report) (*chart, error) {
	c := newChart(d.title, d.x, d.y)
	for i, id := range d.scenarios {
		for _, s := range r.of(id) {
			for _, who := range s.scenario.contestants {
				name := string(who)
				if len(d.scenarios) > 1 {
					name += ", " + id
				}
				for _, t := range s.shown(who, d.all) {
					if err := c.line(name, d.curve(r, t), who, i > 0); err != nil {
						return nil, err
					}
					name = "" // once in the legend
				}
			}
		}
	}
	if len(c.legend) == 0 {
		return nil, nil
	}
	return c, nil
}

// of are the results of a scenario that have trials.
func (r report) of(id string) []*result {
	var all []*result
	for _, s := range r.Scenarios {
		if s.scenario.id == id && len(s.Trials) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// shown are all of a contestant's trials, or the one whose first figure is in the middle.
func (r *result) shown(who contestant, all bool) []trial {
	trials := slices.DeleteFunc(slices.Clone(r.Trials), func(t trial) bool { return t.Contestant != who })
	if all || len(trials) == 0 {
		return trials
	}
	first := r.scenario.figures[0].name
	slices.SortFunc(trials, func(a, b trial) int { return cmp.Compare(a.Figures[first], b.Figures[first]) })
	return trials[len(trials)/2:][:1]
}

// nines are ticks for shares by how many nines they have: 0.999 has 3.
var nines = plot.ConstantTicks{{Value: 0, Label: "0"}, {Value: -math.Log10(0.5), Label: "50 %"}, {Value: 1, Label: "90 %"}, {Value: 2, Label: "99 %"}, {Value: 3, Label: "99.9 %"}, {Value: 4, Label: "99.99 %"}}

// tail stretches the upper end of a distribution: x is how many nines the share has.
func tail(distribution series) series {
	var points series
	for _, p := range distribution {
		if p[0] < 1 && p[1] > 0 {
			points = append(points, [2]float64{-math.Log10(1 - p[0]), p[1]})
		}
	}
	return points
}

// costs is the time for each row over a window of a twentieth of all, against the share that is deleted in %. A single step is a
// mean that holds for all.
func costs(progress series, rows float64) series {
	if len(progress) < 2 {
		return nil
	}
	if len(progress) == 2 {
		mean := progress[1][0] / progress[1][1] * 1e6
		return series{{0, mean}, {100, mean}}
	}
	var out series
	from := 0
	for to := range progress {
		if progress[to][1]-progress[from][1] < rows/20 {
			continue
		}
		a, b := progress[from], progress[to]
		out = append(out, [2]float64{100 * b[1] / rows, (b[0] - a[0]) / (b[1] - a[1]) * 1e6})
		for from < to && progress[to][1]-progress[from+1][1] >= rows/20 {
			from++
		}
	}
	return out
}
