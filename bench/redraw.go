package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

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
