package main

import (
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// report is all that was measured.
type report struct {
	Environment environment `json:"environment"`
	Options     options     `json:"options"`
	Scenarios   []*result   `json:"scenarios"`
}

// result is one scenario's trials.
type result struct {
	scenario scenario
	others   []*result // of the run, which goals may refer to
	Trials   []trial
}

// trial is one contestant's round.
type trial struct {
	Round      int        `json:"round"`
	Contestant contestant `json:"contestant"`
	// Seconds is what the trial took in all, the checks included.
	Seconds float64           `json:"seconds"`
	Figures sample            `json:"figures"`
	Series  map[string]series `json:"series,omitempty"`
}

// MarshalJSON writes the trials and what follows from them.
func (r result) MarshalJSON() ([]byte, error) {
	type figureJSON struct {
		Name        string                 `json:"name"`
		Medians     map[contestant]float64 `json:"medians"`
		Comparisons []comparison           `json:"comparisons,omitempty"`
	}
	out := struct {
		ID      string       `json:"id"`
		Title   string       `json:"title"`
		Figures []figureJSON `json:"figures"`
		Trials  []trial      `json:"trials"`
	}{ID: r.scenario.id, Title: r.scenario.title, Trials: r.Trials}
	for _, f := range r.scenario.figures {
		j := figureJSON{Name: f.name, Medians: map[contestant]float64{}}
		for _, who := range r.scenario.contestants {
			if m, ok := r.median(f.name, who); ok {
				j.Medians[who] = m
			}
		}
		for _, g := range f.goals {
			if c, ok := r.compare(f.name, g); ok {
				j.Comparisons = append(j.Comparisons, c)
			}
		}
		out.Figures = append(out.Figures, j)
	}
	return json.Marshal(out)
}

// values are a contestant's figures of all rounds.
func (r result) values(name string, who contestant) map[int]float64 {
	values := map[int]float64{}
	for _, t := range r.Trials {
		if v, ok := t.Figures[name]; ok && t.Contestant == who {
			values[t.Round] = v
		}
	}
	return values
}

// median is a contestant's median over the rounds; false if there is none.
func (r result) median(name string, who contestant) (float64, bool) {
	var all []float64
	for _, v := range r.values(name, who) {
		all = append(all, v)
	}
	return median(all)
}

// comparison is what a goal says about the trials.
type comparison struct {
	// Against is another contestant; "" compares with the number itself.
	Against contestant `json:"against,omitempty"`
	// Elsewhere is the scenario in which Against's figure was measured.
	Elsewhere string `json:"elsewhere,omitempty"`
	// Value is the median over the rounds of lethe's ratio to Against within a
	// round, or without Against lethe's median.
	Value float64 `json:"value"`
	// Goal is "at least" or "at most" Number, or absent where it is reported only.
	Goal   string  `json:"goal,omitempty"`
	Number float64 `json:"number,omitempty"`
	Met    *bool   `json:"met,omitempty"`
}

// compare compares lethe's figure as the goal says; false where a part is missing.
func (r result) compare(name string, g goal) (comparison, bool) {
	c := comparison{Against: g.against, Elsewhere: g.elsewhere}
	var ok bool
	if g.against == "" {
		c.Value, ok = r.median(name, lethe)
	} else {
		c.Value, ok = median(r.ratios(name, lethe, g))
	}
	met := c.Value >= g.number
	switch g.sense {
	case reported:
	case atLeast:
		c.Goal, c.Number, c.Met = "at least", g.number, &met
	case atMost:
		met = c.Value <= g.number
		c.Goal, c.Number, c.Met = "at most", g.number, &met
	}
	return c, ok
}

// ratios are a contestant's figure over the goal's other's, round by round.
func (r result) ratios(name string, who contestant, g goal) []float64 {
	from := r
	if g.elsewhere != "" {
		i := slices.IndexFunc(r.others, func(o *result) bool { return o.scenario.id == g.elsewhere })
		if i < 0 {
			return nil
		}
		from = *r.others[i]
	}
	ours, theirs := r.values(name, who), from.values(name, g.against)
	var all []float64
	for round, v := range ours {
		if o, ok := theirs[round]; ok && o != 0 {
			all = append(all, v/o)
		}
	}
	return all
}

// median is the middle value, or the mean of the two in the middle; false of none.
func median(values []float64) (float64, bool) {
	if len(values) == 0 {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle], true
	}
	return (sorted[middle-1] + sorted[middle]) / 2, true
}

// percentile is the least of the times that at least the share p of them don't
// exceed; 0 of none.
func percentile(times []time.Duration, p float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return percentileSorted(slices.Sorted(slices.Values(times)), p)
}

// percentileSorted is percentile of times that are sorted, and some.
func percentileSorted(sorted []time.Duration, p float64) time.Duration {
	i := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[max(0, min(i, len(sorted)-1))]
}

// save writes the report as JSON.
func (r report) save(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// print writes the table for people; nothing if nothing was measured.
func (r report) print(to io.Writer) error {
	if !slices.ContainsFunc(r.Scenarios, func(s *result) bool { return len(s.Trials) > 0 }) {
		return nil
	}
	t := table{header: []string{"figure"}}
	var columns []contestant
	for _, who := range r.Options.everybody() {
		if slices.ContainsFunc(r.Scenarios, func(s *result) bool { return slices.Contains(s.scenario.contestants, who) }) {
			columns = append(columns, who)
			t.header = append(t.header, string(who))
		}
	}
	t.header = append(t.header, "ratio", "", "goal", "met?")
	for _, s := range r.Scenarios {
		if len(s.Trials) > 0 {
			s.rows(&t, columns)
		}
	}
	return t.print(to)
}
