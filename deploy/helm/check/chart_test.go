package check

import (
	"maps"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

// folder is the chart's.
const folder = "../lethe"

// object is a Kubernetes object.
type object = map[string]any

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tryRender renders the chart as `helm template --namespace` does: the text of each template by its name, and what Helm
// says of the values.
func tryRender(t *testing.T, namespace string, values object) (map[string]string, error) {
	t.Helper()
	c := load(t)
	all, err := util.ToRenderValues(c, values, common.ReleaseOptions{Name: "lethe", Namespace: namespace, Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.RenderWithContext(t.Context(), c, all)
}

// render returns the chart's objects by kind and name.
func render(t *testing.T, namespace string, values object) map[string]object {
	t.Helper()
	texts, err := tryRender(t, namespace, values)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]object{}
	for name, text := range texts {
		if strings.HasSuffix(name, ".yaml") {
			maps.Copy(all, objects(t, text))
		}
	}
	return all
}

// objects are those of a text, by kind and name.
func objects(t *testing.T, text string) map[string]object {
	t.Helper()
	all := map[string]object{}
	for _, one := range regexp.MustCompile(`(?m)^---$`).Split(text, -1) {
		var o object
		if err := yaml.UnmarshalStrict([]byte(one), &o); err != nil {
			t.Fatalf("%v in\n%s", err, one)
		}
		if o == nil {
			continue
		}
		id := o["kind"].(string) + "/" + at(o, "metadata", "name").(string)
		if all[id] != nil {
			t.Fatalf("%s is there twice", id)
		}
		all[id] = o
	}
	return all
}

// at is what stands at a path; nil for nothing.
func at(o object, keys ...string) any {
	var v any = o
	for _, key := range keys {
		m, _ := v.(object)
		v = m[key]
	}
	return v
}

// valuesOf reads a file of values.
func valuesOf(t *testing.T, file string) object {
	t.Helper()
	var values object
	if err := yaml.UnmarshalStrict([]byte(read(t, file)), &values); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return values
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// setupOf is the setup's Job, whose name changes with what it says.
func setupOf(t *testing.T, all map[string]object) (id string, job object) {
	t.Helper()
	for name, o := range all {
		if ok, _ := path.Match("Job/lethe-setup-*", name); ok {
			return name, o
		}
	}
	t.Fatal("there is no Job lethe-setup-…")
	return "", nil
}
