package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// measured is a run of everything, with figures and curves that grow with the
// contestant's place.
func measured(t *testing.T) report {
	t.Helper()
	o, err := parseOptions([]string{"--variant", "wide: limit.express-lanes=4", "--results", t.TempDir()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r := report{Options: o}
	for _, sc := range o.chosen() {
		res := &result{scenario: sc, others: r.Scenarios}
		for round := range 3 {
			for i, who := range sc.contestants {
				s := sample{}
				for j, f := range sc.figures {
					s[f.name] = float64(100*(i+1) + 10*round + j)
				}
				curves := map[string]series{
					curveProgress: {{0, 0}, {1, 300_000}, {2, 700_000}, {3, 1_000_000}}, curveLatency: {{0, 1}, {0.5, 2}, {0.9, 4}, {0.99, 30}, {1, 60}},
				}
				res.Trials = append(res.Trials, trial{Round: round + 1, Contestant: who, Figures: s, Series: curves})
			}
		}
		r.Scenarios = append(r.Scenarios, res)
	}
	return r
}

func TestARunIsShownAsPageAndPlotsAndCanBeShownAgain(t *testing.T) {
	t.Parallel()
	r := measured(t)
	dir := r.Options.Results
	if err := r.keep(); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "latest.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range drawings {
		if !strings.Contains(string(page), "]("+d.file+")") {
			t.Errorf("the page doesn't show %s", d.file)
		}
		wellFormed(t, filepath.Join(dir, d.file))
	}
	again, err := loadReport(filepath.Join(dir, "latest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var first, second strings.Builder
	r.page(&first, "latest", nil)
	again.page(&second, "latest", nil)
	if first.String() != second.String() {
		t.Errorf("shown again:\n%s\nwant\n%s", second.String(), first.String())
	}
}

// wellFormed fails unless the file is XML with some text in it.
func wellFormed(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	words := 0
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
			return
		}
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) != "" {
			words++
		}
	}
	if words < 5 {
		t.Errorf("%s has %d words; want a title, labels and a legend", filepath.Base(path), words)
	}
}

func TestNothingIsDrawnOfWhatWasNotMeasured(t *testing.T) {
	t.Parallel()
	files, err := report{}.plot(t.TempDir())
	if err != nil || len(files) > 0 {
		t.Errorf("plot = %v, %v; want no files", files, err)
	}
}

func TestCostsAreTakenOverWindows(t *testing.T) {
	t.Parallel()
	// Twenty steps of 5 rows each; the second half takes twice as long.
	progress := series{{0, 0}}
	at := 0.0
	for i := range 20 {
		at += 1 + float64(i/10)
		progress = append(progress, [2]float64{at, float64(5 * (i + 1))})
	}
	got := costs(progress, 100)
	if len(got) != 20 || got[0] != [2]float64{5, 2e5} || got[19] != [2]float64{100, 4e5} {
		t.Errorf("costs = %v; want 20 points from 200000 to 400000 µs a row", got)
	}
	if got := costs(series{{0, 0}, {2, 4}}, 4); len(got) != 2 || got[0][1] != 5e5 || got[1][1] != 5e5 {
		t.Errorf("costs of one step = %v; want a level line at 500000", got)
	}
}

func TestTheTuningTableComparesWithTheDefaults(t *testing.T) {
	t.Parallel()
	r := measured(t)
	r.Scenarios = r.of("S6")
	r.Scenarios = append(r.Scenarios, measured(t).of("S7")...)
	var out strings.Builder
	if err := r.printTuning(&out); err != nil {
		t.Fatal(err)
	}
	// S6 is in no experiment. The variant's figures are 210 and 211 where lethe's are 110 and 111.
	want := "\n**S7: one small command while huge deletions run back to back**\n\n" +
		"| setting | publish to event, p50, ms | publish to event, p99, ms |\n|---|---:|---:|\n" +
		"| defaults | 110 | 111 |\n| `wide` | 210 (1.91 ×) | 211 (1.90 ×) |\n| `plain` | 310 (2.82 ×) | 311 (2.80 ×) |\n"
	if out.String() != want {
		t.Errorf("the table is\n%s\nwant\n%s", out.String(), want)
	}
}
