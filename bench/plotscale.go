package main

import (
	"image/color"

	"gonum.org/v1/plot"
)

// drawMemory shows S9.
func drawMemory(r report) (*chart, error) {
	all := r.of("S9")
	if len(all) == 0 {
		return nil, nil
	}
	c := newChart("S9: the worker's peak memory as the history grows", "messages in the conversation (logarithmic)", "MiB")
	c.grid(true)
	var least, most float64
	for _, who := range all[0].scenario.contestants {
		t, ok := all[0].typical(who)
		points := t.Series[curveMemory]
		if !ok || len(points) < 2 {
			continue
		}
		least, most = points[0][0], points[len(points)-1][0]
		if err := c.line(string(who), points, c.colour(who), nil); err != nil {
			return nil, err
		}
		if err := c.dots(points, c.colour(who)); err != nil {
			return nil, err
		}
	}
	if least == 0 {
		return nil, nil
	}
	if err := c.line("goal", series{{least, mostMemory}, {most, mostMemory}}, color.Gray{0x88}, dashed); err != nil {
		return nil, err
	}
	c.X.Scale, c.X.Tick.Marker = plot.LogScale{}, decades{only1: true}
	c.X.Min, c.X.Max, c.Y.Min, c.Y.Max = least*0.9, most*1.1, 0, mostMemory*1.25
	return c, nil
}

// drawReplicas shows S10.
func drawReplicas(r report) (*chart, error) {
	all := r.of("S10")
	if len(all) == 0 {
		return nil, nil
	}
	c := newChart("S10: replicas that are 5 ms away from Postgres", "workers", "commands/s")
	c.grid(true)
	highest := 0.0
	for i, who := range all[0].scenario.contestants {
		t, ok := all[0].typical(who)
		points := t.Series[curveReplicas]
		if !ok || len(points) == 0 {
			continue
		}
		if err := c.line(string(who), points, c.colour(who), nil); err != nil {
			return nil, err
		}
		if err := c.dots(points, c.colour(who)); err != nil {
			return nil, err
		}
		for _, p := range points {
			highest = max(highest, p[1])
			if err := c.label(p[0], p[1], number(p[1])); err != nil && i == 0 {
				return nil, err
			}
		}
		if last := points[len(points)-1][0]; i == 0 {
			one := points[0][1]
			highest = max(highest, last*one)
			if err := c.line("linear", series{{0, 0}, {last, last * one}}, color.Gray{0x88}, dashed); err != nil {
				return nil, err
			}
		}
	}
	c.X.Tick.Marker = plot.ConstantTicks{{Value: 1, Label: "1"}, {Value: 2, Label: "2"}, {Value: 4, Label: "4"}, {Value: 8, Label: "8"}}
	c.X.Min, c.X.Max, c.Y.Min, c.Y.Max = 0, 8.5, 0, highest*1.1
	return c, nil
}
