package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
)

// drawing is a plot of some scenarios. It returns nil if the run has nothing to
// show.
type drawing struct {
	file string
	draw func(r report) (*chart, error)
}

// drawings are all plots.
var drawings = []drawing{
	{"s1.svg", drawSmall},
	{"s2.svg", drawSizes},
	{"s3.svg", drawLong},
	{"s4.svg", drawChildren},
	{"s5.svg", drawChat},
	{"s6-s7.svg", drawAlone},
	{"s8.svg", drawDuplicates},
	{"s9.svg", drawMemory},
	{"s10.svg", drawReplicas},
	{"s11-s1.svg", drawSmallCost},
	{"s11-s3.svg", drawLongCost},
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

// typical is the trial of a contestant whose first figure is in the middle.
func (r *result) typical(who contestant) (trial, bool) {
	var all []trial
	for _, t := range r.Trials {
		if t.Contestant == who {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return trial{}, false
	}
	first := r.scenario.figures[0].name
	slices.SortFunc(all, func(a, b trial) int { return cmp.Compare(a.Figures[first], b.Figures[first]) })
	return all[len(all)/2], true
}
