package check

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// releases are the overlays, and the values in ../lethe/ci that make the same.
var releases = []struct {
	rendered, namespace, values string
	plan                        bool // with that of the component
}{
	{rendered: "single", namespace: "lethe"},
	{rendered: "single-with-all", namespace: "lethe", plan: true},
	{rendered: "single-openshift", namespace: "lethe"},
	{rendered: "cluster", namespace: "lethe"},
	{rendered: "cluster-with-all", namespace: "lethe", plan: true},
	{rendered: "sharded", namespace: "lethe-a", values: "sharded-a"},
	{rendered: "sharded", namespace: "lethe-b", values: "sharded-b"},
}

func TestTheChartMakesWhatTheOverlaysMake(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, r := range releases {
		file := filepath.Join(folder, "ci", cmp.Or(r.values, r.rendered)+"-values.yaml")
		used[file] = true
		values := valuesOf(t, file)
		if r.plan {
			values["plan"] = read(t, "../../kubernetes/components/plan/plan.yaml")
		}
		compare(t, file, kustomized(t, r.rendered, r.namespace), helmed(t, r.namespace, values))
	}
	all, err := filepath.Glob(folder + "/ci/*.yaml")
	if err != nil || len(all) != len(used) {
		t.Errorf("%d files of values, %v; want the %d that are compared", len(all), err, len(used))
	}
	rendered, err := filepath.Glob("../../kubernetes/rendered/*.yaml")
	if want := len(releases) - 1 + 1; err != nil || len(rendered) != want { // one has two releases; the quickstart needs none
		t.Errorf("%d rendered overlays, %v; want %d", len(rendered), err, want)
	}
}

// Without any values it is the base, which the overlay single gives nothing but the name of an image.
func TestTheChartsDefaultsAreTheBase(t *testing.T) {
	t.Parallel()
	want := kustomized(t, "single", "lethe")
	for _, id := range []string{"Job/lethe-setup", "Deployment/lethe-worker"} {
		container := at(want[id], "spec", "template", "spec", "containers").([]any)[0].(object)
		container["image"] = "ghcr.io/lethe-im/lethe-worker:" + load(t).AppVersion()
	}
	compare(t, "without values", want, helmed(t, "lethe", nil))
}

// kustomized are the objects of a rendered overlay in a namespace, as the chart should have them: without the namespace, which
// exists before the chart does, for the secrets; and with ConfigMaps whose names have no digest, since a Deployment of the
// chart has it in an annotation.
func kustomized(t *testing.T, variant, namespace string) map[string]object {
	t.Helper()
	text := read(t, filepath.Join("../../kubernetes/rendered", variant+".yaml"))
	text = regexp.MustCompile(`(?m)( name: lethe-(?:worker|setup|plan))-[a-z0-9]{10}$`).ReplaceAllString(text, "$1")
	inside := map[string]object{}
	for one := range strings.SplitSeq(text, "\n---\n") {
		for id, o := range objects(t, one) {
			if at(o, "metadata", "namespace") == namespace {
				inside[id] = o
			}
		}
	}
	if len(inside) < 9 {
		t.Fatalf("%s has %d objects in %s; they are no longer found", variant, len(inside), namespace)
	}
	return inside
}

// helmed are the objects of the chart without what an overlay doesn't have: labels of Helm, the digest of the settings in
// the Deployment, the digest in the name of the Job. It fails where one is missing.
func helmed(t *testing.T, namespace string, values object) map[string]object {
	t.Helper()
	all := render(t, namespace, values)
	for id, o := range all {
		metadata := o["metadata"].(object)
		labels, _ := metadata["labels"].(object)
		if labels["helm.sh/chart"] != "lethe-0.0.0" || labels["app.kubernetes.io/managed-by"] != "Helm" {
			t.Errorf("%s has the labels %v; want Helm's", id, labels)
		}
		delete(labels, "helm.sh/chart")
		delete(labels, "app.kubernetes.io/managed-by")
		if len(labels) == 0 {
			delete(metadata, "labels")
		}
	}
	template := at(all["Deployment/lethe-worker"], "spec", "template", "metadata").(object)
	annotations, _ := template["annotations"].(object)
	if digest, _ := annotations["checksum/settings"].(string); len(digest) != 64 || len(annotations) != 1 {
		t.Errorf("the workers have the annotations %v; want the digest of their settings", annotations)
	}
	delete(template, "annotations")
	id, job := setupOf(t, all)
	if !regexp.MustCompile(`^Job/lethe-setup-[0-9a-f]{10}$`).MatchString(id) {
		t.Errorf("the setup is %s; want a digest in its name", id)
	}
	job["metadata"].(object)["name"] = "lethe-setup"
	delete(all, id)
	all["Job/lethe-setup"] = job
	return all
}

func compare(t *testing.T, what string, want, got map[string]object) {
	t.Helper()
	for _, id := range slices.Sorted(maps.Keys(want)) {
		for _, d := range differences("", want[id], got[id]) {
			t.Errorf("%s: %s%s", what, id, d)
		}
	}
	for id := range got {
		if want[id] == nil {
			t.Errorf("%s: %s: no overlay has it", what, id)
		}
	}
}

// differences says where and in what two values differ.
func differences(place string, want, got any) (all []string) {
	switch w := want.(type) {
	case object:
		g, ok := got.(object)
		if !ok {
			break
		}
		keys := maps.Clone(w)
		maps.Copy(keys, g)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			all = append(all, differences(place+"."+key, w[key], g[key])...)
		}
		return all
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			break
		}
		for i := range w {
			all = append(all, differences(fmt.Sprintf("%s[%d]", place, i), w[i], g[i])...)
		}
		return all
	}
	if !reflect.DeepEqual(want, got) {
		all = append(all, fmt.Sprintf("%s: the chart has %v; want %v, as Kustomize makes it", place, got, want))
	}
	return all
}

func TestDifferencesAreSeen(t *testing.T) {
	t.Parallel()
	want := object{"a": object{"b": []any{"x", object{"c": "1"}}}}
	for name, got := range map[string]object{
		"another value":  {"a": object{"b": []any{"x", object{"c": "2"}}}},
		"another type":   {"a": object{"b": []any{"x", object{"c": int64(1)}}}},
		"a missing key":  {"a": object{"b": []any{"x", object{}}}},
		"one key more":   {"a": object{"b": []any{"x", object{"c": "1", "d": "1"}}}},
		"a shorter list": {"a": object{"b": []any{"x"}}},
		"nothing":        nil,
	} {
		if len(differences("", want, got)) != 1 {
			t.Errorf("%s: %v; want one difference", name, differences("", want, got))
		}
	}
	if d := differences("", want, want); len(d) > 0 {
		t.Errorf("the same: %v; want none", d)
	}
}
