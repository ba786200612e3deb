package check

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// alerts are the rules of alerts.yml.
func alerts(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile("../alerts.yml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), promslog.NewNopLogger())
	for _, err := range errs {
		t.Fatal(err)
	}
	var all []rulefmt.Rule
	for _, g := range groups.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func TestEveryAlertAsksForWhatWorkersHave(t *testing.T) {
	t.Parallel()
	metrics := known(t)
	for _, rule := range alerts(t) {
		for _, fault := range faultsOf(rule.Expr, metrics) {
			t.Errorf("%s: %s", rule.Alert, fault)
		}
	}
}

func TestEveryAlertSaysHowUrgentItIsAndWhatToDo(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, rule := range alerts(t) {
		switch {
		case !regexp.MustCompile(`^Lethe[A-Z]\w+$`).MatchString(rule.Alert) || seen[rule.Alert]:
			t.Errorf("%s: want a name of its own that begins with Lethe", rule.Alert)
		case !slices.Contains([]string{"page", "ticket"}, rule.Labels["severity"]) || len(rule.Labels) != 1:
			t.Errorf("%s: labels %v; want the severity page or ticket, and nothing else", rule.Alert, rule.Labels)
		case rule.Annotations["summary"] == "" || rule.Annotations["description"] == "":
			t.Errorf("%s: annotations %v; want a summary and a description", rule.Alert, rule.Annotations)
		}
		seen[rule.Alert] = true
	}
	if len(seen) < 20 {
		t.Errorf("%d alerts; they are no longer found", len(seen))
	}
}

// The runbook has an entry for each alert, under its name, and for nothing else.
func TestEveryAlertHasItsEntryInTheRunbook(t *testing.T) {
	t.Parallel()
	book := read(t, "../../runbook.md")
	_, entries, _ := strings.Cut(book, "\n# Alerts\n")
	var headings []string
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(entries, -1) {
		headings = append(headings, m[1])
	}
	var names []string
	for _, rule := range alerts(t) {
		names = append(names, rule.Alert)
		const page = "https://github.com/lethe-im/lethe/blob/main/deploy/runbook.md#"
		if want := page + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != want { // as GitHub makes anchors
			t.Errorf("%s: runbook_url %s; want %s", rule.Alert, rule.Annotations["runbook_url"], want)
		}
	}
	if !slices.Equal(headings, names) {
		t.Errorf("the runbook's entries are\n%v\nwant the alerts in their order\n%v", headings, names)
	}
	for i, entry := range regexp.MustCompile(`(?m)^### \w+$`).Split(entries, -1)[1:] {
		for _, part := range []string{"**Means:**", "**Users notice:**", "**Look:**", "**Do:**", "**Escalate:**"} {
			if !strings.Contains(entry, part) {
				t.Errorf("the runbook's %s has no %s", headings[i], part)
			}
		}
	}
}

// testFile is the part of promtool's format that is looked at here.
type testFile struct {
	Tests []struct {
		Name    string
		Queries []struct {
			Expr    string
			Samples []struct{ Labels string } `yaml:"exp_samples"`
		} `yaml:"promql_expr_test"`
	}
}

func TestEveryAlertIsTestedToFireAndToKeepSilent(t *testing.T) {
	t.Parallel()
	var file testFile
	if err := yaml.Unmarshal([]byte(read(t, "../alerts_test.yml")), &file); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, q := range test.Queries {
			m := regexp.MustCompile(`^ALERTS\{alertname="(\w+)",alertstate="firing"\}$`).FindStringSubmatch(q.Expr)
			switch {
			case m == nil:
			case len(q.Samples) == 0:
				silent[m[1]] = true
			case strings.Contains(q.Samples[0].Labels, m[1]):
				fires[m[1]] = true
			}
		}
	}
	for _, rule := range alerts(t) {
		if !fires[rule.Alert] || !silent[rule.Alert] {
			t.Errorf("%s: tested to fire: %v, to keep silent: %v; want both", rule.Alert, fires[rule.Alert], silent[rule.Alert])
		}
	}
}

// A test whose series a worker doesn't have would prove nothing.
func TestTheTestsSeriesAreThoseOfWorkers(t *testing.T) {
	t.Parallel()
	metrics := known(t)
	series := regexp.MustCompile(`series: '([^']+)'`).FindAllStringSubmatch(read(t, "../alerts_test.yml"), -1)
	if len(series) < 60 {
		t.Fatalf("%d series; they are no longer found", len(series))
	}
	for _, s := range series {
		query := s[1]
		if name, _, _ := strings.Cut(query, "{"); metrics[name].kind == "counter" {
			query = "rate(" + query + "[5m])"
		}
		for _, fault := range faultsOf(query, metrics) {
			t.Errorf("%s: %s", s[1], fault)
		}
	}
}
