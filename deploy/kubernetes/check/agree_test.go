package check

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// An API server takes each object alone: that they fit one another is for these tests to see.

// byVariant are Lethe's objects in each variant, and in each shard of one that has shards: a
// namespace each. The quickstart's servers are left out.
func byVariant(t *testing.T) map[string][]object {
	t.Helper()
	all := map[string][]object{}
	objects(t, func(variant string, o object) {
		namespace := o.GetNamespace()
		if o.GetKind() == "Namespace" {
			namespace = o.GetName()
		}
		if namespace == "nats" || namespace == "postgres" {
			return
		}
		if shard, ok := strings.CutPrefix(namespace, "lethe-"); ok {
			variant += " " + shard
		}
		all[variant] = append(all[variant], o)
	})
	return all
}

// What names a shard names the same one: its workers and its setup, its namespace, and the
// stream by which it is scaled. An installation without shards names none.
func TestEachShardIsNamedOnce(t *testing.T) {
	t.Parallel()
	shards := 0
	for variant, all := range byVariant(t) {
		_, shard, sharded := strings.Cut(variant, " ")
		stream := "CONVERSATION_COMMANDS"
		if sharded {
			shards++
			stream += "_" + strings.ToUpper(shard)
		}
		for _, o := range all {
			switch o.GetKind() {
			case "ConfigMap":
				if strings.HasPrefix(o.GetName(), "lethe-plan") {
					continue
				}
				if got, _, err := unstructured.NestedString(o.Object, "data", "LETHE_SHARD"); err != nil || got != shard {
					t.Errorf("%s, %s: the shard %q, %v", variant, o.name(), got, err)
				}
			case "ScaledObject":
				triggers, _, err := unstructured.NestedSlice(o.Object, "spec", "triggers")
				if err != nil || len(triggers) != 1 || fmt.Sprint(triggers[0].(map[string]any)["metadata"].(map[string]any)["stream"]) != stream {
					t.Errorf("%s, %s: scales by %v, %v; want by %s", variant, o.name(), triggers, err, stream)
				}
			}
		}
	}
	if shards != 2 {
		t.Errorf("%d shards; want 2", shards)
	}
}

// find returns the object of that kind and name; nil if there is none.
func find(all []object, kind, name string) *object {
	for i := range all {
		if all[i].GetKind() == kind && all[i].GetName() == name {
			return &all[i]
		}
	}
	return nil
}

func TestWhatIsReferredToIsThere(t *testing.T) {
	t.Parallel()
	secrets := map[string]bool{"lethe-worker": true, "lethe-setup": true} // made by hand, as README.md says
	for variant, all := range byVariant(t) {
		for _, o := range all {
			pod := podOf(t, o)
			if pod == nil {
				continue
			}
			wants := map[string]string{"ServiceAccount/" + pod.Spec.ServiceAccountName: "runs as"}
			for _, c := range pod.Spec.Containers {
				for _, from := range c.EnvFrom {
					wants["ConfigMap/"+from.ConfigMapRef.Name] = "reads"
				}
				for _, e := range c.Env {
					if ref := e.ValueFrom.SecretKeyRef; !secrets[ref.Name] || ref.Key != e.Name {
						t.Errorf("%s, %s: %s comes from %s of the secret %s", variant, o.name(), e.Name, ref.Key, ref.Name)
					}
				}
			}
			for _, v := range pod.Spec.Volumes {
				wants["ConfigMap/"+v.ConfigMap.Name] = "mounts"
			}
			for name, does := range wants {
				kind, name, _ := strings.Cut(name, "/")
				if find(all, kind, name) == nil {
					t.Errorf("%s, %s: it %s %s/%s, which isn't there", variant, o.name(), does, kind, name)
				}
			}
		}
	}
}

// What selects pods selects the workers, and the policy that closes all doors the setup as well.
func TestSelectorsFindTheirPods(t *testing.T) {
	t.Parallel()
	selectors := map[string][]string{ // of a kind, where the labels stand
		"Service":             {"spec", "selector"},
		"PodDisruptionBudget": {"spec", "selector", "matchLabels"},
		"PodMonitor":          {"spec", "selector", "matchLabels"},
		"NetworkPolicy":       {"spec", "podSelector", "matchLabels"},
	}
	for variant, all := range byVariant(t) {
		worker := labels.Set(podOf(t, *find(all, "Deployment", "lethe-worker")).Labels)
		setup := labels.Set(podOf(t, *find(all, "Job", "lethe-setup")).Labels)
		for _, o := range all {
			path := selectors[o.GetKind()]
			if path == nil {
				continue
			}
			wanted, _, err := unstructured.NestedStringMap(o.Object, path...)
			if err != nil || len(wanted) == 0 {
				t.Errorf("%s, %s: it selects everything: %v", variant, o.name(), err)
				continue
			}
			selector := labels.SelectorFromSet(wanted)
			if !selector.Matches(worker) {
				t.Errorf("%s, %s: %v doesn't find the workers, which are %v", variant, o.name(), wanted, worker)
			}
			if closes := o.name() == "NetworkPolicy/lethe"; selector.Matches(setup) != closes {
				t.Errorf("%s, %s: that it finds the setup is %v; want %v", variant, o.name(), !closes, closes)
			}
		}
	}
}

// Everything is in the namespace, and an applied number of replicas never fights with a scaler's.
func TestWhereAndHowManyAreSaidOnce(t *testing.T) {
	t.Parallel()
	for variant, all := range byVariant(t) {
		for _, o := range all {
			if o.GetKind() != "Namespace" && find(all, "Namespace", o.GetNamespace()) == nil {
				t.Errorf("%s, %s: it is in namespace %q", variant, o.name(), o.GetNamespace())
			}
		}
		replicas, said, err := unstructured.NestedInt64(find(all, "Deployment", "lethe-worker").Object, "spec", "replicas")
		scaler := find(all, "ScaledObject", "lethe-worker")
		if err != nil || said == (scaler != nil) {
			t.Errorf("%s: replicas: %d, said: %v, with a scaler: %v, %v", variant, replicas, said, scaler != nil, err)
		}
		if scaler != nil {
			if err := bounds(*scaler); err != nil {
				t.Errorf("%s: %v", variant, err)
			}
		}
	}
}

// Lethe reaches what it needs; a collector of traces only where they are sent to it.
func TestPoliciesOpenNoDoorThatNothingGoesThrough(t *testing.T) {
	t.Parallel()
	traced, variants := 0, byVariant(t)
	for variant, all := range variants {
		want := []string{"kube-system:53", "nats:4222", "postgres:5432"}
		if onOpenShift(variant) {
			want[0] = "openshift-dns:5353"
		}
		if to := collector(t, all); to != "" {
			traced++
			want = append(want, to)
		}
		slices.Sort(want)
		if got := doors(t, all); !slices.Equal(got, want) {
			t.Errorf("%s: it may reach %v; want %v", variant, got, want)
		}
	}
	if traced == 0 || traced == len(variants) {
		t.Errorf("%d of %d variants send traces; want some", traced, len(variants))
	}
}

// doors are the namespaces and ports that all policies together let Lethe reach.
func doors(t *testing.T, all []object) []string {
	t.Helper()
	var found []string
	for _, o := range all {
		if o.GetKind() != "NetworkPolicy" {
			continue
		}
		var policy networkingv1.NetworkPolicy
		if err := yaml.Unmarshal(o.text, &policy); err != nil {
			t.Fatal(err)
		}
		for _, rule := range policy.Spec.Egress {
			if len(rule.To) == 0 || len(rule.Ports) == 0 {
				t.Errorf("%s opens every door: %v", o.name(), rule)
			}
			for _, to := range rule.To {
				for _, p := range rule.Ports {
					found = append(found, to.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]+":"+p.Port.String())
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// collector is the namespace and the port to which the workers send traces; "" for none.
func collector(t *testing.T, all []object) string {
	t.Helper()
	for _, from := range podOf(t, *find(all, "Deployment", "lethe-worker")).Spec.Containers[0].EnvFrom {
		settings := find(all, "ConfigMap", from.ConfigMapRef.Name)
		address, sent, err := unstructured.NestedString(settings.Object, "data", "OTEL_EXPORTER_OTLP_ENDPOINT")
		if err != nil || !sent {
			continue
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		_, namespace, _ := strings.Cut(u.Hostname(), ".")
		return strings.TrimSuffix(namespace, ".svc") + ":" + u.Port()
	}
	return ""
}

// bounds returns what is wrong with a scaler's numbers: two workers at least, and no fewer while it can't see.
func bounds(scaler object) error {
	var spec struct{ least, most, blind int64 }
	for path, into := range map[string]*int64{"minReplicaCount": &spec.least, "maxReplicaCount": &spec.most, "fallback.replicas": &spec.blind} {
		n, found, err := unstructured.NestedInt64(scaler.Object, append([]string{"spec"}, strings.Split(path, ".")...)...)
		if err != nil || !found {
			return fmt.Errorf("%s isn't said: %w", path, err)
		}
		*into = n
	}
	if spec.least < 2 || spec.most <= spec.least || spec.blind < spec.least {
		return fmt.Errorf("it scales from %d to %d, and to %d where it sees nothing", spec.least, spec.most, spec.blind)
	}
	return nil
}
