package main

import (
	"fmt"
	"slices"
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
	return r.barChart(all, "S1: small commands", "commands/s", groups)
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
	return r.barChart(all, "S2: commands of different sizes", "messages removed a second", groups)
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
			b.say = number(b.median) + " rows/s"
			b.median, b.least, b.most = b.median/limit, b.least/limit, b.most/limit
			g.bars[who] = b
		}
		groups = append(groups, g)
	}
	return r.barChart(all, "S4: what hangs on messages goes with them", "share of the bound (one transaction)", groups)
}

func drawDuplicates(r report) (*chart, error) {
	all := r.of("S8")
	var groups []group
	for _, s := range all {
		groups = append(groups, s.groupOf(figureCommands, "commands that are done already", 1))
	}
	return r.barChart(all, "S8: duplicates", "commands/s", groups)
}

func drawCost(r report) (*chart, error) {
	var all []*result
	var groups []group
	for _, id := range []string{"S1", "S3"} {
		for _, s := range r.of(id) {
			all = append(all, s)
			for _, f := range []struct{ figure, label string }{
				{figurePostgresCPU, "Postgres"}, {figureWorkerCPU, "worker"}, {figureNATSCPU, "nats-server"},
			} {
				g := s.groupOf(f.figure, id+": "+f.label, 1)
				for who, b := range g.bars {
					b.say = number(b.median)
					g.bars[who] = b
				}
				groups = append(groups, g)
			}
		}
	}
	return r.barChart(all, "S11: CPU for each message removed", "µs of CPU", groups)
}
