package main

import (
	"context"
	"time"
)

const (
	figureP50 = "publish to event, p50, ms"
	figureP99 = "publish to event, p99, ms"
	// aloneWarmUp is how many commands come before those that count: the first
	// ones prepare statements and open connections.
	aloneWarmUp = 20
	// alonePause lets the worker come to rest between two commands.
	alonePause = 5 * time.Millisecond
)

// oneAlone is S6: a command comes, and nothing else.
func oneAlone() scenario {
	return scenario{
		id: "S6", title: "one command alone, 20 messages", contestants: []contestant{lethe, plain},
		figures: []figure{{name: figureP50, goals: []goal{{against: plain, sense: atMost, number: 0.9}}}, {name: figureP99, goals: []goal{{against: plain}}}},
		load: func(ctx context.Context, w *world) error {
			return w.loadSmall(ctx, w.opts.Sizes.Alone+aloneWarmUp, w.opts.Sizes.MessagesEach)
		},
		run: runAlone,
	}
}

func runAlone(ctx context.Context, w *world, who contestant) (sample, error) {
	commands := smallCommandsOf(w.opts.Sizes.Alone + aloneWarmUp)
	if err := w.start(ctx, who, w.database); err != nil {
		return nil, err
	}
	if _, err := w.resume(); err != nil {
		return nil, err
	}
	if err := w.checkpoint(ctx); err != nil {
		return nil, err
	}
	courier, err := w.newCourier()
	if err != nil {
		return nil, err
	}
	took, err := courier.each(ctx, commands, func(time.Duration) time.Duration { return alonePause })
	if err != nil {
		return nil, err
	}
	s := w.latencies(took[aloneWarmUp:])
	return s, w.conclude(ctx, s, commands, w.opts.Sizes.MessagesEach)
}

// latencies are the figures of S6 and S7, and notes their curve.
func (w *world) latencies(took []time.Duration) sample {
	w.note(curveLatency, distribution(took))
	return sample{figureP50: milliseconds(percentile(took, 0.50)), figureP99: milliseconds(percentile(took, 0.99))}
}
