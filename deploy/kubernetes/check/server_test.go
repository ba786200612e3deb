package check

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
)

// strategies are the API server's own rules for new objects.
var strategies = map[string]rest.RESTCreateStrategy{
	"ConfigMap":           configmap.Strategy,
	"Deployment":          deployment.Strategy,
	"Job":                 job.Strategy,
	"Namespace":           namespace.Strategy,
	"NetworkPolicy":       networkpolicy.Strategy,
	"Pod":                 pod.Strategy,
	"PodDisruptionBudget": poddisruptionbudget.Strategy,
	"Service":             service.Strategy,
	"ServiceAccount":      serviceaccount.Strategy,
}

// create does with an object what an API server does before it stores it: decode it strictly, set the defaults, validate
// it. It returns the warnings that a server would send along.
func create(text []byte) (warnings, error) {
	codecs := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)
	obj, gvk, err := codecs.UniversalDecoder().Decode(text, nil, nil)
	if err != nil {
		return nil, err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	rest.FillObjectMetaSystemFields(m)
	if s, ok := obj.(*core.Service); ok && s.Spec.ClusterIP != "" && s.Spec.ClusterIPs == nil { // the one thing that the store does
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	var told warnings
	ctx := request.WithNamespace(context.Background(), m.GetNamespace())
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{APIGroup: gvk.Group, APIVersion: gvk.Version})
	err = rest.BeforeCreate(strategies[gvk.Kind], warning.WithWarningRecorder(ctx, &told), obj)
	return told, err
}

// warnings collects what a server warns of.
type warnings []string

// AddWarning implements warning.Recorder.
func (w *warnings) AddWarning(_, text string) { *w = append(*w, text) }

func TestAnAPIServerTakesEveryObject(t *testing.T) {
	t.Parallel()
	objects(t, func(variant string, o object) {
		if definitions[o.GetKind()] != nil {
			return
		}
		if strategies[o.GetKind()] == nil {
			t.Fatalf("%s, %s: nothing checks a %s", variant, o.name(), o.GetKind())
		}
		told, err := create(o.text)
		if err != nil {
			t.Errorf("%s, %s: %v", variant, o.name(), err)
		}
		for _, w := range told {
			t.Errorf("%s, %s: the server warns: %s", variant, o.name(), w)
		}
	})
}

// Else a check that lets everything pass would pass itself.
func TestAnAPIServerRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a field that it doesn't know": "apiVersion: v1\nkind: ServiceAccount\nmetadata: {namespace: lethe, name: a}\nautomount: false\n",
		"a value of another type":      "apiVersion: v1\nkind: ServiceAccount\nmetadata: {namespace: lethe, name: a}\nautomountServiceAccountToken: 3\n",
		"a name that is none":          "apiVersion: v1\nkind: ServiceAccount\nmetadata: {namespace: lethe, name: A_b}\n",
		"both bounds of a budget": "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {namespace: lethe, name: a}\n" +
			"spec: {minAvailable: 1, maxUnavailable: 1, selector: {}}\n",
	} {
		if _, err := create([]byte(text)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
