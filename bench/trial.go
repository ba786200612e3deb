package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// trialLimit bounds one trial, the loading included.
const trialLimit = 20 * time.Minute

// runAll runs the chosen scenarios: in each round each contestant once, and
// another one first in each round.
func (s *stack) runAll(ctx context.Context, rep *report) error {
	for _, sc := range s.opts.chosen() {
		if len(sc.contestants) == 0 {
			continue
		}
		res := &result{scenario: sc, others: rep.Scenarios}
		rep.Scenarios = append(rep.Scenarios, res)
		if err := errors.Join(s.rounds(ctx, res), s.empty(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// rounds runs one scenario.
func (s *stack) rounds(ctx context.Context, res *result) error {
	sc := res.scenario
	rounds := s.opts.Rounds
	if sc.rounds > 0 {
		rounds = min(rounds, sc.rounds)
	}
	for round := range rounds {
		for i := range sc.contestants {
			who := sc.contestants[(i+round)%len(sc.contestants)]
			fmt.Fprintf(s.progress, "%s round %d of %d, %s: ", sc.id, round+1, rounds, who)
			if err := s.trial(ctx, res, round+1, who); err != nil {
				fmt.Fprintln(s.progress)
				return fmt.Errorf("%s, round %d, %s: %w", sc.id, round+1, who, err)
			}
		}
	}
	return nil
}

// trial runs one contestant in its own world.
func (s *stack) trial(ctx context.Context, res *result, round int, who contestant) (err error) {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	start := time.Now()
	settings := maps.Clone(res.scenario.server)
	if settings == nil {
		settings = map[string]string{}
	}
	maps.Copy(settings, s.opts.variant(who).Server)
	reset, err := s.setServer(ctx, settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reset(ctx)) }()
	figures, series, err := s.inWorld(ctx, res.scenario, res.scenario.run, who)
	if err != nil {
		return err
	}
	if wire := res.scenario.onTheWire; wire != nil && s.opts.isWorker(who) {
		more, _, err := s.inWorld(ctx, res.scenario, wire, who)
		if err != nil {
			return err
		}
		maps.Copy(figures, more)
	}
	first := res.scenario.figures[0].name
	value, ok := figures[first]
	took := time.Since(start)
	fmt.Fprintf(s.progress, "%s %s (%.1f s in all)\n", numberOr(value, ok), first, took.Seconds())
	res.Trials = append(res.Trials, trial{Round: round, Contestant: who, Seconds: took.Seconds(), Figures: figures, Series: series})
	return nil
}

// inWorld makes a world, has run measure in it, and removes it.
func (s *stack) inWorld(ctx context.Context, sc scenario, run func(context.Context, *world, contestant) (sample, error), who contestant) (sample, map[string]series, error) {
	w, err := s.newWorld(ctx, sc, s.opts.variant(who))
	if err != nil {
		return nil, nil, err
	}
	figures, err := run(ctx, w, who)
	return figures, w.series, errors.Join(err, w.close(ctx))
}
