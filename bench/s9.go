package main

import (
	"context"
	"fmt"

	"github.com/lethe-im/lethe/conversation"
)

// figureGrowth is the peak at the longest history over that at the shortest.
const figureGrowth = "longest to shortest"

// growingHistory is S9: the worker's memory as the history grows.
func growingHistory(lengths []int) scenario {
	sc := scenario{
		id: "S9", title: "peak memory as the history grows, MiB", contestants: []contestant{lethe}, rounds: 2,
		load: func(ctx context.Context, w *world) error { return w.loadHuge(ctx, histories(w.opts.Sizes.Histories)) },
		run:  runHistories,
	}
	for _, n := range lengths {
		sc.figures = append(sc.figures, figure{name: figurePeakAt(n), goals: []goal{{sense: atMost, number: mostMemory}}})
	}
	sc.figures = append(sc.figures, figure{name: figureGrowth})
	return sc
}

func figurePeakAt(n int) string { return fmt.Sprintf("peak memory, %s messages", number(float64(n))) }

// histories are conversations of these lengths.
func histories(lengths []int) []target {
	targets := hugeOf(len(lengths), 0)
	for i, n := range lengths {
		targets[i].messages = n
	}
	return targets
}

// runHistories deletes each conversation by its own worker.
func runHistories(ctx context.Context, w *world, who contestant) (sample, error) {
	s, targets := sample{}, histories(w.opts.Sizes.Histories)
	var peaks []float64
	for i, t := range targets {
		if err := w.start(ctx, who, w.database); err != nil {
			return nil, err
		}
		if err := w.publish(ctx, []conversation.Command{t.command()}); err != nil {
			return nil, err
		}
		if _, _, err := w.untilEvents(ctx, i+1); err != nil {
			return nil, err
		}
		if _, err := w.awaitSettled(ctx); err != nil {
			return nil, err
		}
		one := sample{}
		if err := w.stop(one); err != nil {
			return nil, err
		}
		if peak, ok := one[figurePeak]; ok {
			s[figurePeakAt(t.messages)] = peak
			peaks = append(peaks, peak)
		}
	}
	if len(peaks) == len(targets) {
		s[figureGrowth] = peaks[len(peaks)-1] / peaks[0]
	}
	if err := w.checkHuge(ctx, targets, len(targets), total(targets)); err != nil {
		return nil, err
	}
	lengths := map[string]int{}
	for _, t := range targets {
		lengths[t.command().CommandID] = t.messages
	}
	return s, w.checkEvents(ctx, commandsOf(targets), func(c conversation.Command) int { return lengths[c.CommandID] })
}

func total(targets []target) int {
	sum := 0
	for _, t := range targets {
		sum += t.messages
	}
	return sum
}
