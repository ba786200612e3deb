package main

import (
	"context"
	"errors"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// Figures of S3.
const (
	figureRows     = "rows/s"
	figureLongest  = "longest transaction, ms"
	figureSlowdown = "last 5 % to first 5 %, time"
)

// longConversation is S3: one command, one huge conversation.
func longConversation() scenario {
	return scenario{
		id: "S3", title: "one conversation of a million messages or two", also: []string{"S9"},
		contestants: []contestant{lethe, oneStatement, nibble},
		figures: append([]figure{
			{name: figureRows, goals: []goal{{against: oneStatement, sense: atLeast, number: 0.85}, {against: nibble}}},
			{name: figureLongest, goals: []goal{{sense: atMost, number: 100}}},
			{name: figureSlowdown, goals: []goal{{sense: atMost, number: 1.1}}},
		}, shared()...),
		run: runLong,
	}
}

func runLong(ctx context.Context, w *world, who contestant) (sample, error) {
	n, others := w.opts.Sizes.Long, w.opts.Sizes.Others
	if err := w.loadLong(ctx, n, others); err != nil {
		return nil, err
	}
	var s sample
	var err error
	switch who {
	case lethe:
		s, err = w.letheLong(ctx, n)
	case oneStatement:
		s, err = w.oneLong(ctx, n)
	default:
		s, err = w.nibbleLong(ctx, n)
	}
	if err != nil {
		return nil, err
	}
	return s, w.checkLong(ctx, others, who == lethe)
}

// letheLong is lethe's trial, from the stream to the event, with a tap on its
// connections to Postgres.
func (w *world) letheLong(ctx context.Context, n int) (s sample, err error) {
	tap, err := openTap(ctx, w.dir, w.database)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tap.close()) }()
	if err := w.start(ctx, lethe, tap.url); err != nil {
		return nil, err
	}
	commands := []conversation.Command{longCommand()}
	if err := w.publish(ctx, commands, false); err != nil {
		return nil, err
	}
	s, err = w.metered(ctx, func(s sample) error { return w.timeLong(ctx, s, tap, n) })
	if err != nil {
		return nil, err
	}
	if err := w.stop(s); err != nil {
		return nil, err
	}
	return s, w.checkEvents(ctx, commands, n)
}

// timeLong measures lethe from the moment at which the command may go.
func (w *world) timeLong(ctx context.Context, s sample, tap *tap, n int) error {
	progress, err := w.follow(ctx)
	if err != nil {
		return err
	}
	tap.reset()
	start, end, err := w.untilEvents(ctx, 1)
	if err == nil {
		_, err = w.awaitSettled(ctx)
	}
	points, followErr := progress.stop()
	if err := errors.Join(err, followErr); err != nil {
		return err
	}
	longest, _ := tap.seen()
	s[figureRows], s[figureLongest] = float64(n)/end.Sub(start).Seconds(), milliseconds(longest)
	if times, ok := slowdown(points, n); ok {
		s[figureSlowdown] = times
	}
	return nil
}

// oneLong is the single DELETE's trial, which is one transaction.
func (w *world) oneLong(ctx context.Context, n int) (sample, error) {
	return w.metered(ctx, func(s sample) error {
		took, err := w.deleteAtOnce(ctx, n)
		s[figureRows], s[figureLongest] = float64(n)/took.Seconds(), milliseconds(took)
		return err
	})
}

// nibbleLong is the script's trial.
func (w *world) nibbleLong(ctx context.Context, n int) (sample, error) {
	return w.metered(ctx, func(s sample) error {
		points, longest, err := w.nibbleAway(ctx, n)
		if err != nil {
			return err
		}
		took := points[len(points)-1].at.Sub(points[0].at)
		s[figureRows], s[figureLongest] = float64(n)/took.Seconds(), milliseconds(longest)
		if times, ok := slowdown(points, n); ok {
			s[figureSlowdown] = times
		}
		return nil
	})
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
