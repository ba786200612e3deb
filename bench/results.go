package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// publish writes all there is to see of a run into a folder: tables as Markdown,
// every round as JSON, and plots.
func (r report) publish(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := "latest"
	if r.Options.Full {
		name = "full"
	}
	files, err := r.plot(dir)
	var page strings.Builder
	r.page(&page, name, files)
	return errors.Join(err,
		r.save(filepath.Join(dir, name+".json")),
		os.WriteFile(filepath.Join(dir, name+".md"), []byte(page.String()), 0o644)) //nolint:gosec // a page to be shown
}

// page writes the run for people.
func (r report) page(to *strings.Builder, name string, plots []string) {
	e := r.Environment
	fmt.Fprintf(to, "# The benchmarks of %s\n\nWritten by `go -C bench run .%s`; [README.md](../README.md) explains each figure. Every round: [%s.json](%s.json).\n\n",
		e.Started.Format("2 January 2006, 15:04 MST"), r.Options.commandLine(), name, name)
	to.WriteString("```\n")
	e.print(to)
	fmt.Fprintf(to, "%s; medians of %d rounds, or as many as the scenario has\n", strings.TrimSpace(r.Options.sizeName()), r.Options.Rounds)
	_ = r.print(to) // a strings.Builder takes everything
	to.WriteString("```\n")
	for _, file := range plots {
		fmt.Fprintf(to, "\n![%s](%s)\n", strings.TrimSuffix(file, ".svg"), file)
	}
}

// sizeName says how large the run was.
func (o options) sizeName() string {
	switch {
	case o.Smoke:
		return "tiny sizes, whose figures mean nothing"
	case o.Full:
		return "full sizes"
	}
	return "default sizes"
}

// commandLine is what of the command line decides about the figures.
func (o options) commandLine() string {
	var line string
	for _, flag := range []struct {
		set  bool
		text string
	}{{o.Full, " --full"}, {o.Smoke, " --smoke"}, {len(o.Scenarios) > 0, " --scenario " + strings.Join(o.Scenarios, ",")}, {o.NATSSync, " --nats-sync"}} {
		if flag.set {
			line += flag.text
		}
	}
	for _, setting := range assignments(o.Server) {
		line += " --pg " + setting
	}
	for _, v := range o.Variants {
		line += fmt.Sprintf(" --variant '%s: %s'", v.Name, strings.Join(v.words(), " "))
	}
	return line
}

// loadReport reads what save has written, so that tables and plots can be made
// again without measuring again.
func loadReport(path string) (report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return report{}, err
	}
	var kept struct {
		Environment environment `json:"environment"`
		Options     options     `json:"options"`
		Scenarios   []struct {
			ID     string  `json:"id"`
			Title  string  `json:"title"`
			Trials []trial `json:"trials"`
		} `json:"scenarios"`
	}
	if err := json.Unmarshal(data, &kept); err != nil {
		return report{}, fmt.Errorf("%s: %w", path, err)
	}
	r := report{Environment: kept.Environment, Options: kept.Options}
	all := r.Options.chosen()
	for _, s := range kept.Scenarios {
		i := slices.IndexFunc(all, func(sc scenario) bool { return sc.id == s.ID && sc.title == s.Title })
		if i < 0 {
			return r, fmt.Errorf("%s: there is no scenario %s (%s) any more", path, s.ID, s.Title)
		}
		r.Scenarios = append(r.Scenarios, &result{scenario: all[i], others: r.Scenarios, Trials: s.Trials})
	}
	return r, nil
}
