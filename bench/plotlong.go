package main

import "gonum.org/v1/plot/vg"

// drawLong shows what a row costs as the history goes.
func drawLong(r report) (*chart, error) {
	all := r.of("S3")
	if len(all) == 0 {
		return nil, nil
	}
	c := newChart("S3: what a row costs as one conversation goes", "share of its messages that are gone, %", "µs for each message")
	c.grid(true)
	highest := 0.0
	for _, who := range all[0].scenario.contestants {
		t, ok := all[0].typical(who)
		points := costs(t.Series[curveProgress], float64(r.Options.Sizes.Long))
		if !ok || len(points) == 0 {
			continue
		}
		name, dashes := string(who), []vg.Length(nil)
		if len(t.Series[curveProgress]) == 2 {
			name, dashes = name+" (mean)", dashed
		}
		if err := c.line(name, points, c.colour(who), dashes); err != nil {
			return nil, err
		}
		for _, p := range points {
			highest = max(highest, p[1])
		}
	}
	c.X.Min, c.X.Max, c.Y.Min, c.Y.Max = 0, 100, 0, highest*1.1
	return c, nil
}

// costs is the time for each row over a window of a twentieth of all, against
// the share that is gone in %. A single step is a mean that holds for all.
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
