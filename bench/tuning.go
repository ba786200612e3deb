package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// experiment is a part of docs/tuning.md: what some settings do to some figures,
// each side by side with the defaults.
type experiment struct {
	scenario scenario
	figures  []string // those that the table shows
	rounds   int
	settings []string // words as --variant takes them after the name
}

// experiments are all of them; half an hour on two cores.
func experiments(size sizes) []experiment {
	longest := size.Steps[len(size.Steps)-1]
	return []experiment{
		{smallCommands(), []string{figureCommands, figurePostgresCPU, figureWAL, figurePeak}, 3, []string{
			"limit.express-lanes=1", "limit.express-lanes=4", "limit.batch-size=64", "--target=20ms", "--target=100ms",
			"--max-connections=8", "nats.max_ack_pending=128", "index.sent_at", "pg.wal_compression=lz4", "pg.wal_compression=pglz", "nats.sync", "table.fillfactor=70",
		}},
		{otherSizes(longest), []string{figureCommands, figurePeak}, 2, []string{"--express-rows=100", "--express-rows=5000"}},
		{longConversation(), []string{figureRows, figureLongest, figureWAL}, 2, []string{
			"--target=20ms", "--target=100ms", "--target=200ms", "limit.max-rows=5000", "limit.min-rows=5000 --target=20ms",
			"index.sent_at", "pg.wal_compression=lz4", "pg.wal_compression=pglz", "table.fillfactor=70",
		}},
		{oneAmid(), []string{figureP50, figureP99}, 2, []string{"--target=20ms", "--target=100ms", "limit.express-lanes=1", "--long-concurrency=1", "--foreground-backoff=0", "--foreground-backoff=1"}},
		{whilePeopleChat(), []string{figureChatP99, figureChatP999, figureRemoved}, 1, []string{"--target=20ms", "--foreground-backoff=0", "--foreground-backoff=1"}},
	}
}

// tune runs the experiments: lethe with its defaults, and with each setting.
func (s *stack) tune(ctx context.Context, rep *report) error {
	for _, e := range experiments(s.opts.Sizes) {
		if len(s.opts.Scenarios) > 0 && !slices.ContainsFunc(s.opts.Scenarios, e.scenario.answersTo) {
			continue
		}
		s.opts.Variants = nil
		sc := e.scenario
		sc.contestants, sc.rounds = []contestant{lethe}, e.rounds
		sc.restrict(nil) // without goals against those who take no part
		for _, words := range e.settings {
			v, err := parseVariant(words + ": " + words)
			if err != nil {
				return err
			}
			s.opts.Variants = append(s.opts.Variants, v)
			sc.contestants = append(sc.contestants, v.Name)
			if !rep.Options.isLethe(v.Name) {
				rep.Options.Variants = append(rep.Options.Variants, v)
			}
		}
		res := &result{scenario: sc}
		rep.Scenarios = append(rep.Scenarios, res)
		if err := errors.Join(s.rounds(ctx, res), s.empty(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// printTuning writes the tables of docs/tuning.md, as Markdown.
func (r report) printTuning(to io.Writer) error {
	var out strings.Builder
	for _, s := range r.Scenarios {
		i := slices.IndexFunc(experiments(r.Options.Sizes), func(e experiment) bool { return e.scenario.id == s.scenario.id })
		if i < 0 || len(s.Trials) == 0 {
			continue
		}
		figures := experiments(r.Options.Sizes)[i].figures
		fmt.Fprintf(&out, "\n**%s: %s**\n\n| setting | %s |\n|---|%s\n", s.scenario.id, s.scenario.title, strings.Join(figures, " | "), strings.Repeat("---:|", len(figures)))
		for _, who := range s.scenario.contestants {
			cells := []string{"`" + string(who) + "`"}
			if who == lethe {
				cells[0] = "defaults"
			}
			for _, name := range figures {
				cells = append(cells, s.against(name, who))
			}
			fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	_, err := io.WriteString(to, out.String())
	return err
}

// against is a contestant's median, and its ratio to lethe with its defaults.
func (r *result) against(name string, who contestant) string {
	m, ok := r.median(name, who)
	cell := numberOr(m, ok)
	if ratio, ok := median(r.ratios(name, who, goal{against: lethe})); ok && who != lethe {
		cell += " (" + number(ratio) + " ×)"
	}
	return cell
}
