package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// family is a metric as a scrape shows it.
type family struct {
	kind, help string
	labels     map[string]map[string]bool // the values of each
}

// scrape reads the metrics of a worker.
func (w *service) scrape(t *testing.T) map[string]*family {
	t.Helper()
	status, body := w.get(t, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics = %d; want 200", status)
	}
	found := map[string]*family{}
	var last *family
	for _, line := range strings.Split(body, "\n") {
		comment, name, text := cut3(line)
		switch {
		case comment == "HELP":
			last = &family{help: text, labels: map[string]map[string]bool{}}
			found[name] = last
		case comment == "TYPE":
			last.kind = text
		case line != "":
			for _, m := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(line, -1) {
				last.add(m[1], m[2])
			}
		}
	}
	return found
}

// cut3 takes a line like "# HELP name text" apart; "" for a sample.
func cut3(line string) (comment, name, text string) {
	rest, ok := strings.CutPrefix(line, "# ")
	if !ok {
		return "", "", ""
	}
	parts := append(strings.SplitN(rest, " ", 3), "", "")
	return parts[0], parts[1], parts[2]
}

func (f *family) add(label, value string) {
	if f.kind == "histogram" && label == "le" {
		return
	}
	if f.labels[label] == nil {
		f.labels[label] = map[string]bool{}
	}
	f.labels[label][value] = true
}

// row is the metric's line in docs/metrics.md. The values of labels that name a
// build are open.
func (f *family) row(name string) string {
	var labels []string
	for _, label := range slices.Sorted(maps.Keys(f.labels)) {
		values := "`" + strings.Join(slices.Sorted(maps.Keys(f.labels[label])), "`, `") + "`"
		if name == "lethe_build_info" {
			values = "…"
		}
		labels = append(labels, "`"+label+"`: "+values)
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, f.kind, strings.Join(labels, "; "), f.help)
}

// awaitMetric waits until a worker shows a metric.
func (w *service) awaitMetric(t *testing.T, name string) map[string]*family {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(timeout); ; {
		if found := w.scrape(t); found[name] != nil {
			return found
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no metric %s after %v", name, timeout)
		}
	}
}

func TestEveryMetricIsInTheDocumentation(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.command("setup", "--sample-schema", "--events-max-bytes=8MiB", "--dead-letters-max-bytes=8MiB").mustSucceed(t)
	w := s.startWorking(t)
	w.wantReady(t, http.StatusOK, "ready")
	found := w.awaitMetric(t, "lethe_backlog_commands")
	var table strings.Builder
	table.WriteString("| metric | type | labels | |\n| --- | --- | --- | --- |\n")
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if strings.HasPrefix(name, "lethe_") {
			table.WriteString(found[name].row(name))
		}
	}
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if now := regexp.MustCompile(`(?m)^\| metric \| type \| labels(.*\n)(\|.*\n)*`).ReplaceAllLiteralString(string(doc), table.String()); now != string(doc) {
		if *update {
			doc = []byte(now)
			err = os.WriteFile("../../docs/metrics.md", doc, 0o644) //nolint:gosec // a page for everybody
		} else {
			err = errors.New("docs/metrics.md hasn't the worker's metrics; run: go test ./cmd/worker -run '^" + t.Name() + "$' -update")
		}
		if err != nil {
			t.Error(err)
		}
	}
	others := regexp.MustCompile("(?m)^\\| `((?:process|go)_\\w+)` \\| (\\w+)").FindAllStringSubmatch(string(doc), -1)
	if len(others) < 4 {
		t.Errorf("docs/metrics.md names %d metrics of Go and the process; they are no longer found", len(others))
	}
	for _, m := range others {
		if f := found[m[1]]; f == nil || f.kind != m[2] {
			t.Errorf("docs/metrics.md names the %s %s, which the worker doesn't have", m[2], m[1])
		}
	}
}
