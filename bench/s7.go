package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// amidEvery is how often S7 sends a small command.
const amidEvery = 100 * time.Millisecond

// oneAmid is S7: a small command comes while one huge deletion follows the other.
func oneAmid() scenario {
	alone := goal{against: lethe, sense: atMost, number: 1.5, elsewhere: "S6"}
	return scenario{
		id: "S7", title: "one small command while huge deletions run back to back", contestants: []contestant{lethe, plain},
		figures: []figure{
			{name: figureP50, goals: []goal{{against: lethe, elsewhere: "S6"}, {against: plain}}},
			{name: figureP99, goals: []goal{alone, {against: plain}}},
			{name: figureUnderway},
			{name: figureRemoved},
		},
		load: func(ctx context.Context, w *world) error {
			if err := w.loadHuge(ctx, hugeOf(w.opts.Sizes.AmidHuge, w.opts.Sizes.HugeEach)); err != nil {
				return err
			}
			return w.loadSmall(ctx, w.opts.Sizes.Amid+aloneWarmUp, w.opts.Sizes.MessagesEach)
		},
		run: runAmid,
	}
}

func runAmid(ctx context.Context, w *world, who contestant) (sample, error) {
	targets := hugeOf(w.opts.Sizes.AmidHuge, w.opts.Sizes.HugeEach)
	commands := smallCommandsOf(w.opts.Sizes.Amid + aloneWarmUp)
	if err := w.start(ctx, who, w.database); err != nil {
		return nil, err
	}
	if _, err := w.resume(); err != nil {
		return nil, err
	}
	courier, err := w.newCourier()
	if err != nil {
		return nil, err
	}
	if _, err := courier.each(ctx, commands[:aloneWarmUp], func(time.Duration) time.Duration { return alonePause }); err != nil {
		return nil, err
	}
	if err := w.checkpoint(ctx); err != nil {
		return nil, err
	}
	huge := courier.oneAfterTheOther(ctx, targets)
	start := time.Now()
	took, err := courier.each(ctx, commands[aloneWarmUp:], func(took time.Duration) time.Duration { return amidEvery - took })
	window := time.Since(start)
	finished, hugeErr := huge.stop()
	if err := errors.Join(err, hugeErr); err != nil {
		return nil, err
	}
	s := w.latencies(took)
	s[figureUnderway] = 100 * min(1, huge.underway.Seconds()/window.Seconds())
	s[figureRemoved] = float64(finished * w.opts.Sizes.HugeEach)
	return s, w.concludeAmid(ctx, s, commands, targets[:finished], targets)
}

// concludeAmid stops the contestant and checks everything.
func (w *world) concludeAmid(ctx context.Context, s sample, commands []conversation.Command, finished, targets []target) error {
	if _, err := w.awaitSettled(ctx); err != nil {
		return err
	}
	if err := w.stop(s); err != nil {
		return err
	}
	if err := w.checkSmall(ctx, len(commands), w.opts.Sizes.MessagesEach); err != nil {
		return err
	}
	if err := w.checkHuge(ctx, targets, len(finished), len(finished)*w.opts.Sizes.HugeEach); err != nil {
		return err
	}
	return w.checkEvents(ctx, append(commands, commandsOf(finished)...), func(c conversation.Command) int {
		if strings.HasPrefix(c.CommandID, "command-group_huge") {
			return w.opts.Sizes.HugeEach
		}
		return w.opts.Sizes.MessagesEach
	})
}

// procession is one huge deletion after the other.
type procession struct {
	enough   chan struct{}
	done     chan struct{}
	finished int           // only after done
	underway time.Duration // only after done
	err      error         // only after done
}

// oneAfterTheOther starts a procession.
func (c *courier) oneAfterTheOther(ctx context.Context, targets []target) *procession {
	p := &procession{enough: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		start := time.Now()
		for _, t := range targets {
			select {
			case <-p.enough:
				return
			default:
			}
			if _, p.err = c.deliver(ctx, t.command()); p.err != nil {
				return
			}
			p.finished++
			p.underway = time.Since(start)
		}
	}()
	return p
}

// stop waits for the deletion under way, and returns how many are finished.
func (p *procession) stop() (int, error) {
	close(p.enough)
	<-p.done
	return p.finished, p.err
}
