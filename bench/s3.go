package main

import (
	"context"
	"errors"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// Figures of S3 and S4.
const (
	figureRows     = "rows/s"
	figureLongest  = "longest transaction, ms"
	figureSlowdown = "last 5 % to first 5 %, time"
)

// curveProgress is when how many rows were gone, both from 0.
const curveProgress = "seconds, rows gone"

// longConversation is S3: one command, one huge conversation.
func longConversation() scenario {
	return scenario{
		id: "S3", title: "one conversation of a million messages or two", also: []string{"S9", "S11"},
		contestants: []contestant{lethe, plain, oneStatement, nibble},
		figures: append([]figure{
			{name: figureRows, goals: []goal{{against: oneStatement, sense: atLeast, number: 0.8}, {against: plain}, {against: nibble}}},
			{name: figureLongest, goals: []goal{{sense: atMost, number: 60}}},
			{name: figureSlowdown, goals: []goal{{sense: atMost, number: 1.1}}},
		}, shared()...),
		load: func(ctx context.Context, w *world) error {
			return w.loadLong(ctx, w.opts.Sizes.Long, w.opts.Sizes.Others)
		},
		run: func(ctx context.Context, w *world, who contestant) (sample, error) {
			return w.runLong(ctx, who, w.opts.Sizes.Long, w.opts.Sizes.Others)
		},
		onTheWire: func(ctx context.Context, w *world, who contestant) (sample, error) {
			return w.longest(ctx, who, w.opts.Sizes.Long)
		},
	}
}

// runLong is a trial in which the conversation of n messages goes, and all
// others stay.
func (w *world) runLong(ctx context.Context, who contestant, n, others int) (s sample, err error) {
	whole := false
	switch {
	case w.opts.isWorker(who):
		whole = true
		s, err = w.workerLong(ctx, who, n)
	case who == nibble:
		s, err = w.nibbleLong(ctx, n)
	default:
		s, err = w.directLong(ctx, who, n)
	}
	if err != nil {
		return nil, err
	}
	return s, w.checkLong(ctx, others, whole)
}

// workerLong is a worker's trial, from the stream to the event.
func (w *world) workerLong(ctx context.Context, who contestant, n int) (sample, error) {
	return w.commandLong(ctx, who, w.database, n, func(s sample) error { return w.timeLong(ctx, s, n) })
}

// longest is a worker's trial with a tap on its connections to Postgres, which
// costs each batch some more switches between processes.
func (w *world) longest(ctx context.Context, who contestant, n int) (s sample, err error) {
	tap, err := openTap(ctx, w.database)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tap.proxy.Close()) }()
	_, err = w.commandLong(ctx, who, tap.url, n, func(s sample) error {
		tap.reset()
		_, _, err := w.untilEvents(ctx, 1)
		return err
	})
	if err != nil {
		return nil, err
	}
	took, _ := tap.seen()
	return sample{figureLongest: milliseconds(took)}, nil
}

// commandLong starts a worker on a database, publishes the command that deletes
// n messages, has measure follow it, and checks the event.
func (w *world) commandLong(ctx context.Context, who contestant, database string, n int, measure func(sample) error) (sample, error) {
	if err := w.start(ctx, who, database); err != nil {
		return nil, err
	}
	commands := []conversation.Command{longTarget(n).command()}
	if err := w.publish(ctx, commands); err != nil {
		return nil, err
	}
	s, err := w.metered(ctx, n, measure)
	if err != nil {
		return nil, err
	}
	if err := w.stop(s); err != nil {
		return nil, err
	}
	return s, w.checkEvents(ctx, commands, same(n))
}

// timeLong measures a worker from the moment at which the command may go.
func (w *world) timeLong(ctx context.Context, s sample, n int) error {
	progress, err := w.follow(ctx, rowsGone)
	if err != nil {
		return err
	}
	start, end, err := w.untilEvents(ctx, 1)
	if err == nil {
		_, err = w.awaitSettled(ctx)
	}
	points, followErr := progress.stop()
	if err := errors.Join(err, followErr); err != nil {
		return err
	}
	s[figureRows] = float64(n) / end.Sub(start).Seconds()
	w.noteProgress(s, points, n)
	return nil
}

// directLong is the trial of those who need a single transaction.
func (w *world) directLong(ctx context.Context, who contestant, n int) (sample, error) {
	return w.metered(ctx, n, func(s sample) (err error) {
		start := time.Now()
		if who == bound {
			err = w.deleteWithChildren(ctx, n)
		} else {
			err = deleteAtOnce(ctx, w.conn, longTarget(n))
		}
		took := time.Since(start)
		s[figureRows], s[figureLongest] = float64(n)/took.Seconds(), milliseconds(took)
		w.note(curveProgress, series{{0, 0}, {took.Seconds(), float64(n)}})
		return err
	})
}

// nibbleLong is the script's trial.
func (w *world) nibbleLong(ctx context.Context, n int) (sample, error) {
	return w.metered(ctx, n, func(s sample) error {
		points := []point{{at: time.Now()}}
		var longest time.Duration
		all := 0
		err := nibbleAway(ctx, w.conn, longTarget(n), func(rows int, took time.Duration) {
			all, longest = all+rows, max(longest, took)
			points = append(points, point{at: time.Now(), rows: all})
		})
		if err != nil {
			return err
		}
		took := points[len(points)-1].at.Sub(points[0].at)
		s[figureRows], s[figureLongest] = float64(n)/took.Seconds(), milliseconds(longest)
		w.noteProgress(s, points, n)
		return nil
	})
}

// noteProgress notes how the pace changed on the way.
func (w *world) noteProgress(s sample, points []point, n int) {
	if times, ok := slowdown(points, n); ok {
		s[figureSlowdown] = times
	}
	if len(points) == 0 {
		return
	}
	curve := make(series, 0, len(points))
	for _, p := range points {
		curve = append(curve, [2]float64{p.at.Sub(points[0].at).Seconds(), float64(p.rows)})
	}
	w.note(curveProgress, curve.thin(maxPoints))
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
