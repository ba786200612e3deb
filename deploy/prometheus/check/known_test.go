package check

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// metric is one that a worker has.
type metric struct {
	kind   string              // counter, gauge or histogram
	labels map[string][]string // the values of each; nil for any
}

// ofAll are the labels that every series has from being scraped, and that of a shard's workers.
var ofAll = []string{"job", "instance", "shard"}

// known are the metrics of docs/metrics.md, which a test of cmd/worker compares
// with a running worker, by the names of their series, and Prometheus's own.
func known(t *testing.T) map[string]metric {
	t.Helper()
	row := regexp.MustCompile("(?m)^\\| `((?:lethe|process|go)_\\w+)` \\| (counter|gauge|histogram) \\|([^|]*)\\|")
	found := map[string]metric{
		"up":     {"gauge", nil},
		"ALERTS": {"gauge", map[string][]string{"alertname": nil, "alertstate": {"pending", "firing"}, "severity": {"page", "ticket"}}},
	}
	for _, m := range row.FindAllStringSubmatch(read(t, "../../../docs/metrics.md"), -1) {
		name, kind, labels := m[1], m[2], labelsOf(m[3])
		if kind != "histogram" {
			found[name] = metric{kind, labels}
			continue
		}
		bucket := maps.Clone(labels)
		bucket["le"] = nil
		found[name+"_bucket"] = metric{"counter", bucket}
		found[name+"_sum"] = metric{"counter", labels}
		found[name+"_count"] = metric{"counter", labels}
	}
	if len(found) < 30 {
		t.Fatalf("docs/metrics.md has %d metrics; its table is no longer found", len(found))
	}
	return found
}

// labelsOf reads a cell like "`lane`: `express`, `long`; `state`: …".
func labelsOf(cell string) map[string][]string {
	labels := map[string][]string{}
	for _, part := range strings.Split(cell, ";") {
		name, values, _ := strings.Cut(strings.TrimSpace(part), ":")
		if name = strings.Trim(name, "`"); name == "" {
			continue
		}
		labels[name] = nil
		for _, m := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(values, -1) {
			labels[name] = append(labels[name], m[1])
		}
	}
	return labels
}

// has reports whether the metric's series have the label.
func (m metric) has(label string) bool {
	_, own := m.labels[label]
	return own || slices.Contains(ofAll, label)
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
