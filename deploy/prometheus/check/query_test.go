package check

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// faultsOf are the things that a query asks for and no worker has, and what it
// does to a counter that only suits a gauge, or the other way round.
func faultsOf(query string, known map[string]metric) (faults []string) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return []string{err.Error()}
	}
	complain := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	parser.Inspect(expr, func(n parser.Node, path []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			m, ok := known[n.Name]
			if !ok {
				complain("there is no metric %q", n.Name)
				return nil
			}
			checkMatchers(n, m, complain)
			checkUse(n, m, path, complain)
		case *parser.AggregateExpr:
			checkLabels(n.Grouping, n, known, complain)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				checkLabels(n.VectorMatching.MatchingLabels, n, known, complain)
				checkLabels(n.VectorMatching.Include, n, known, complain)
			}
		}
		return nil
	})
	return faults
}

// checkMatchers looks at what stands in braces.
func checkMatchers(n *parser.VectorSelector, m metric, complain func(string, ...any)) {
	for _, matcher := range n.LabelMatchers {
		if matcher.Name == model.MetricNameLabel || slices.Contains(ofAll, matcher.Name) {
			continue
		}
		values, ok := m.labels[matcher.Name]
		if !ok {
			complain("%s has no label %q", n.Name, matcher.Name)
			continue
		}
		for _, word := range words(matcher) {
			if values != nil && !slices.Contains(values, word) {
				complain("%s of %s is never %q", matcher.Name, n.Name, word)
			}
		}
	}
}

// words are the values that a matcher names; none for a pattern that is more than
// a list of words.
func words(m *labels.Matcher) []string {
	if m.Type == labels.MatchEqual || m.Type == labels.MatchNotEqual {
		return []string{m.Value}
	}
	if !regexp.MustCompile(`^[\w|]+$`).MatchString(m.Value) {
		return nil
	}
	return strings.Split(m.Value, "|")
}

// checkUse wants counters to be looked at by their increase alone, and gauges
// never so.
func checkUse(n *parser.VectorSelector, m metric, path []parser.Node, complain func(string, ...any)) {
	function := ""
	for _, above := range slices.Backward(path) {
		if call, ok := above.(*parser.Call); ok {
			function = call.Func.Name
			break
		}
	}
	rates := slices.Contains([]string{"rate", "irate", "increase"}, function)
	if m.kind == "counter" && !rates {
		complain("%s counts, and its number since the start says nothing: use rate or increase", n.Name)
	}
	if m.kind == "gauge" && rates {
		complain("%s is a gauge, which has no %s", n.Name, function)
	}
}

// checkLabels wants some metric below the node to have each of the labels.
func checkLabels(wanted []string, below parser.Node, known map[string]metric, complain func(string, ...any)) {
	for _, label := range wanted {
		found := false
		parser.Inspect(below, func(n parser.Node, _ []parser.Node) error {
			if v, ok := n.(*parser.VectorSelector); ok {
				found = found || known[v.Name].has(label)
			}
			return nil
		})
		if !found {
			complain("nothing in %q has the label %q", below.String(), label)
		}
	}
}

func TestTheCheckFindsWhatIsWrongWithAQuery(t *testing.T) {
	t.Parallel()
	metrics := known(t)
	for query, want := range map[string]string{
		`lethe_throttled{reason="paused"}`:                              "",
		`sum by (job, lane, le) (rate(lethe_batch_seconds_bucket[5m]))`: "",
		`lethe_hold`:                                                         "there is no metric",
		`lethe_throttled{cause="paused"}`:                                    "has no label",
		`lethe_throttled{reason="pause"}`:                                    "is never",
		`lethe_throttled{reason=~"paused|wal_hold"}`:                         "is never",
		`lethe_throttled{reason!~"pause"}`:                                   "is never",
		`sum by (lane) (lethe_throttled)`:                                    "has the label",
		`lethe_throttled * on (lane) lethe_target_seconds`:                   "has the label",
		`rate(lethe_commands_in_flight[5m])`:                                 "is a gauge",
		`lethe_commands_total > 5`:                                           "counts",
		`sum by (le) (rate(lethe_batch_seconds[5m]))`:                        "there is no metric",
		`histogram_quantile(0.9, rate(lethe_batch_seconds_sum{le="1"}[5m]))`: "has no label",
		`sum(lethe_throttled`:                                                "parse error",
	} {
		got := strings.Join(faultsOf(query, metrics), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q; want %q", query, got, want)
		}
	}
}
