package schema

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"

	"github.com/lethe-im/lethe/deploy/kubernetes/check/render"
)

// faults are what the schemas have against a file's objects, each with the file, the object and the place in it.
func faults(t *testing.T, file, text string) (all []string) {
	t.Helper()
	v, err := validator.New([]string{"{{.Group}}/{{.ResourceKind}}-{{.ResourceAPIVersion}}.json"}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	results := v.ValidateWithContext(t.Context(), file, io.NopCloser(strings.NewReader(text)))
	if want := len(render.Objects(text)); len(results) != want {
		t.Errorf("%s: %d objects were looked at; want %d", file, len(results), want)
	}
	for _, r := range results {
		if r.Status != validator.Valid {
			all = append(all, fmt.Sprintf("%s, %s: %v", file, name(r), r.Err))
		}
	}
	return all
}

// name says which object a result is about: its text, where it can't be told.
func name(r validator.Result) string {
	s, err := r.Resource.Signature()
	if err != nil {
		return string(r.Resource.Bytes)
	}
	return s.Kind + "/" + s.Name
}

func variants(t *testing.T) map[string]string {
	t.Helper()
	all, err := render.All("../..")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryObjectKeepsToItsSchema(t *testing.T) {
	t.Parallel()
	for variant, text := range variants(t) {
		for _, fault := range faults(t, "rendered/"+variant+".yaml", text) {
			t.Error(fault)
		}
	}
}

// Else schemas that let everything pass would pass themselves.
func TestAFaultIsToldWithItsPlace(t *testing.T) {
	t.Parallel()
	text := variants(t)["cluster-with-all"]
	for name, row := range map[string]struct{ old, new, object, want string }{
		"a misspelt field": {
			"readOnlyRootFilesystem:", "readOnlyRootFileSystem:", "Deployment/lethe-worker",
			"at '/spec/template/spec/containers/0/securityContext': additional properties 'readOnlyRootFileSystem' not allowed",
		},
		"a value of another type": {
			"terminationGracePeriodSeconds: 15", "terminationGracePeriodSeconds: 15s", "Deployment/lethe-worker",
			"at '/spec/template/spec/terminationGracePeriodSeconds': got string, want integer",
		},
		"a version that isn't served": {
			"apiVersion: apps/v1\n", "apiVersion: apps/v1beta1\n", "Deployment/lethe-worker", "could not find schema for Deployment",
		},
		"a group of another name": {
			"apiVersion: batch/v1\n", "apiVersion: batch.example/v1\n", "Job/lethe-setup", "could not find schema for Job",
		},
		"no required field": {
			"  selector:\n    matchLabels:\n      app.kubernetes.io/component: worker\n      app.kubernetes.io/name: lethe\n  strategy:\n", "  strategy:\n",
			"Deployment/lethe-worker", "at '/spec': missing property 'selector'",
		},
		"a field said twice": {
			"kind: Deployment\n", "kind: Deployment\nkind: Deployment\n", "Deployment/lethe-worker", "already",
		},
		"a misspelt field of a scaler": {
			"pollingInterval:", "pollInterval:", "ScaledObject/lethe-worker", "at '/spec': additional properties 'pollInterval' not allowed",
		},
		"a word that is none of the scaler's": {
			"behavior: currentReplicasIfHigher", "behavior: never", "ScaledObject/lethe-worker", "at '/spec/fallback/behavior': value must be one of",
		},
		"a misspelt field of a monitor": {
			"podMetricsEndpoints:", "podMetricEndpoints:", "PodMonitor/lethe-worker", "at '/spec': additional properties 'podMetricEndpoints' not allowed",
		},
	} {
		if !strings.Contains(text, row.old) {
			t.Errorf("%s: nothing says %q any longer", name, row.old)
		}
		got := strings.Join(faults(t, "a.yaml", strings.ReplaceAll(text, row.old, row.new)), "\n")
		if !strings.Contains(got, "a.yaml, "+row.object+": ") || !strings.Contains(got, row.want) {
			t.Errorf("%s: %q; want %q of %s", name, got, row.want, row.object)
		}
	}
}
