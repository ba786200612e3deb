package check

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"go.yaml.in/yaml/v3"
)

const dashboardFile = "../../grafana/lethe.json"

// panel is one with the queries of its targets, which the types' decoder leaves
// out after it has looked at them.
type panel struct {
	dashboard.Panel
	queries []string
}

// load reads the dashboard's panels, and all else of it, as Grafana's schema has
// it: an unknown field or a value of a wrong type is an error. Headings of rows
// are left out.
func load(t *testing.T) (all []panel) {
	t.Helper()
	plugins.RegisterDefaultPlugins()
	data := []byte(read(t, dashboardFile))
	var d dashboard.Dashboard //nolint:staticcheck // deprecated for a format that older Grafanas can't read
	fail(t, d.UnmarshalJSONStrict(data))
	fail(t, d.Validate())
	var raw struct{ Panels []json.RawMessage }
	fail(t, json.Unmarshal(data, &raw))
	for _, text := range raw.Panels {
		var plain struct {
			Type    string
			Targets []struct{ Expr string }
		}
		fail(t, json.Unmarshal(text, &plain))
		if plain.Type == "row" {
			continue
		}
		var p panel
		fail(t, p.UnmarshalJSONStrict(text))
		for _, target := range plain.Targets {
			p.queries = append(p.queries, target.Expr)
		}
		all = append(all, p)
	}
	if len(all) < 20 {
		t.Fatalf("%d panels; they are no longer found", len(all))
	}
	return all
}

// fail ends the test for an error. The types' decoder tells of success with an
// empty list of errors, which is no error.
func fail(t *testing.T, err error) {
	t.Helper()
	if err != nil && err.Error() != "" {
		t.Fatal(err)
	}
}

// plain puts in place of Grafana's variables what they may stand for.
var plain = strings.NewReplacer("$__rate_interval", "1m", "$job", ".+", "$shard", ".*")

func TestEveryPanelAsksForWhatWorkersHave(t *testing.T) {
	t.Parallel()
	metrics := known(t)
	for _, p := range load(t) {
		if len(p.queries) == 0 {
			t.Errorf("%s asks for nothing", *p.Title)
		}
		for _, query := range p.queries {
			for _, fault := range faultsOf(plain.Replace(query), metrics) {
				t.Errorf("%s: %s: %s", *p.Title, query, fault)
			}
			if !strings.Contains(query, `job=~"$job",shard=~"$shard"`) && !strings.Contains(query, "ALERTS") {
				t.Errorf("%s: %s isn't about the chosen job and shard", *p.Title, query)
			}
		}
	}
}

func TestEveryPanelSaysWhatItShowsAndInWhichUnit(t *testing.T) {
	t.Parallel()
	ids := map[uint32]bool{}
	for _, p := range load(t) {
		switch {
		case p.Description == nil || *p.Description == "":
			t.Errorf("%s has no description", *p.Title)
		case p.FieldConfig.Defaults.Unit == nil:
			t.Errorf("%s has no unit", *p.Title)
		case p.Datasource == nil || *p.Datasource.Uid != "${datasource}":
			t.Errorf("%s has a data source of its own; want the dashboard's variable", *p.Title)
		case ids[*p.Id]:
			t.Errorf("%s has the id of another panel", *p.Title)
		}
		ids[*p.Id] = true
	}
}

func TestNoPanelCoversAnother(t *testing.T) {
	t.Parallel()
	taken := map[[2]uint32]string{}
	for _, p := range load(t) {
		g := p.GridPos
		if g.X+g.W > 24 {
			t.Errorf("%s stands over the right edge", *p.Title)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]uint32{x, y}]; other != "" {
					t.Fatalf("%s covers %s", *p.Title, other)
				}
				taken[[2]uint32{x, y}] = *p.Title
			}
		}
	}
}

// Grafana finds the dashboard and Prometheus where the local stack has them.
func TestTheLocalStackProvidesTheDashboard(t *testing.T) {
	t.Parallel()
	var provider struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "../../grafana/provisioning/dashboards/lethe.yml")), &provider); err != nil {
		t.Fatal(err)
	}
	compose := read(t, "../../../docker-compose.yml")
	path := provider.Providers[0].Options.Path
	if want := "./deploy/grafana/lethe.json:" + path + "/lethe.json:ro"; !strings.Contains(compose, want) {
		t.Errorf("the compose file doesn't mount %s", want)
	}
	var sources struct {
		Datasources []struct{ Type, URL string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "../../grafana/provisioning/datasources/prometheus.yml")), &sources); err != nil {
		t.Fatal(err)
	}
	if s := sources.Datasources[0]; s.Type != "prometheus" || s.URL != "http://prometheus:9090" || !strings.Contains(compose, "\n  prometheus:\n") {
		t.Errorf("the data source is %+v; want the local stack's Prometheus", s)
	}
	var d struct{ UID string }
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil || d.UID != "lethe" {
		t.Errorf("uid %q, %v; want lethe, which links stay valid with", d.UID, err)
	}
}
