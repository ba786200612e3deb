package main

import (
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot/plotter"
)

func (r report) barChart(results []*result, title, y string, groups []group) (*chart, error) {
	if len(results) == 0 {
		return nil, nil
	}
	c := newChart(title, "", y)
	return c, c.groups(groups, r.Options.everybody())
}

func drawSmall(r report) (*chart, error) {
	all := r.of("S1")
	var groups []group
	for _, s := range all {
		groups = append(groups, s.groupOf(figureCommands, "20 messages a command", 1))
	}
	return r.barChart(all, "S1: small commands "+timesLethe, "commands/s", groups)
}

// messagesEachOf is the step that a result of S1 or S2 has measured.
func (r report) messagesEachOf(s *result) int {
	for _, st := range r.Options.Sizes.Steps {
		if s.scenario.title == otherSizes(st).title {
			return st.MessagesEach
		}
	}
	return r.Options.Sizes.MessagesEach
}

func drawSizes(r report) (*chart, error) {
	all := r.of("S2")
	if len(all) > 0 {
		all = append(all, r.of("S1")...)
	}
	slices.SortFunc(all, func(a, b *result) int { return r.messagesEachOf(a) - r.messagesEachOf(b) })
	var groups []group
	for _, s := range all {
		n := r.messagesEachOf(s)
		groups = append(groups, s.groupOf(figureCommands, fmt.Sprintf("%d messages a command", n), float64(n)))
	}
	return r.barChart(all, "S2: commands of different sizes "+timesLethe, "messages removed a second", groups)
}

func drawChildren(r report) (*chart, error) {
	all := r.of("S4")
	var groups []group
	for i, s := range all {
		g := group{name: []string{"reactions and attachments", "with foreign keys"}[min(i, 1)], bars: map[contestant]bar{}}
		for _, who := range s.scenario.contestants {
			b, ok := s.barOf(figureRows, who)
			limit, known := s.median(figureRows, bound)
			if !ok || !known {
				continue
			}
			b.say = number(b.median)
			b.median, b.least, b.most = b.median/limit, b.least/limit, b.most/limit
			g.bars[who] = b
		}
		groups = append(groups, g)
	}
	return r.barChart(all, "S4: what hangs on messages goes with them (above the bars: rows/s)", "share of the bound (one transaction)", groups)
}

func drawDuplicates(r report) (*chart, error) {
	all := r.of("S8")
	var groups []group
	for _, s := range all {
		groups = append(groups, s.groupOf(figureCommands, "commands that are done already", 1))
	}
	return r.barChart(all, "S8: duplicates "+timesLethe, "commands/s", groups)
}

func drawSmallCost(r report) (*chart, error) { return drawCost(r, "S1") }

func drawLongCost(r report) (*chart, error) { return drawCost(r, "S3") }

// drawCost shows S11: who takes the CPU, one on top of the other.
func drawCost(r report, id string) (*chart, error) {
	all := r.of(id)
	if len(all) == 0 {
		return nil, nil
	}
	s := all[0]
	c := newChart("S11: CPU for each message removed, in "+id, "", "µs of CPU")
	c.grid(false)
	var names []string
	sums := make(plotter.Values, len(s.scenario.contestants))
	for i, part := range []struct {
		figure, name string
		colour       color.RGBA
	}{{figurePostgresCPU, "Postgres", spare[0]}, {figureWorkerCPU, "worker", colours[lethe]}, {figureNATSCPU, "nats-server", spare[1]}} {
		values := make(plotter.Values, len(sums))
		for at, who := range s.scenario.contestants {
			if i == 0 {
				names = append(names, string(who))
			}
			values[at], _ = s.median(part.figure, who) // who has no worker has none
			sums[at] += values[at]
		}
		if err := c.bars(part.name, part.colour, values, 0.6, 0, c.top); err != nil {
			return nil, err
		}
	}
	for at, sum := range sums {
		if err := c.label(float64(at), sum, number(sum)); err != nil {
			return nil, err
		}
	}
	c.frame(names, slices.Max(sums))
	return c, nil
}
