package check

import (
	"errors"
	"fmt"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"

	"github.com/lethe-im/lethe/deploy/kubernetes/check/generate"
)

// definitions check the resources that aren't Kubernetes's own.
var definitions = map[string]func(*testing.T, object) error{
	"ScaledObject": byDefinition(generate.KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
	// The module with the operator's types has no definitions: names and types of the fields alone.
	"PodMonitor": func(_ *testing.T, o object) error { return yaml.UnmarshalStrict(o.text, &monitoring.PodMonitor{}) },
}

func TestCustomResourcesKeepToTheirDefinitions(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	objects(t, func(variant string, o object) {
		if check := definitions[o.GetKind()]; check != nil {
			seen[o.GetKind()] = true
			if err := check(t, o); err != nil {
				t.Errorf("%s, %s: %v", variant, o.name(), err)
			}
		}
	})
	if len(seen) != len(definitions) {
		t.Errorf("there are objects of %v; want one of each of %d", seen, len(definitions))
	}
}

// What a trigger takes, a definition doesn't say: its metadata are any words. KEDA's module lists them.
func TestTheScalersTriggerSaysWhatKEDAReads(t *testing.T) {
	t.Parallel()
	known, err := parametersOf(t, "nats-jetstream")
	if err != nil {
		t.Fatal(err)
	}
	objects(t, func(variant string, o object) {
		if o.GetKind() != "ScaledObject" {
			return
		}
		var scaler struct {
			Spec struct {
				Triggers []struct {
					Type     string            `json:"type"`
					Metadata map[string]string `json:"metadata"`
				} `json:"triggers"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal(o.text, &scaler); err != nil {
			t.Fatal(err)
		}
		for _, trigger := range scaler.Spec.Triggers {
			for _, p := range known {
				if trigger.Metadata[p.Name] == "" && !p.Optional && p.Default == "" {
					t.Errorf("%s: the trigger has no %s", variant, p.Name)
				}
				delete(trigger.Metadata, p.Name)
			}
			if trigger.Type != "nats-jetstream" || len(trigger.Metadata) > 0 {
				t.Errorf("%s: KEDA's trigger %s reads none of %v", variant, trigger.Type, trigger.Metadata)
			}
		}
	})
}

// parameter is one word of a trigger's metadata.
type parameter struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional"`
	Default  string `json:"default"`
}

func parametersOf(t *testing.T, trigger string) ([]parameter, error) {
	t.Helper()
	data, err := generate.File(t.Context(), generate.KEDA, "schema/generated/scalers-schema.yaml")
	if err != nil {
		return nil, err
	}
	var schema struct {
		Scalers []struct {
			Type       string      `json:"type"`
			Parameters []parameter `json:"parameters"`
		} `json:"scalers"`
	}
	if err := yaml.Unmarshal(data, &schema); err != nil {
		return nil, err
	}
	for _, s := range schema.Scalers {
		if s.Type == trigger {
			return s.Parameters, nil
		}
	}
	return nil, fmt.Errorf("KEDA has no trigger %s", trigger)
}

func TestADefinitionRefuses(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: a}\nspec:\n  scaleTargetRef: {name: a}\n"
	for name, rest := range map[string]string{
		"nothing that triggers":        "",
		"a field that it doesn't know": "  triggers: [{type: cpu, metadata: {}}]\n  polling: 3\n",
		"a word that is none of its":   "  triggers: [{type: cpu, metadata: {}}]\n  fallback: {failureThreshold: 1, replicas: 1, behavior: never}\n",
	} {
		if err := definitions["ScaledObject"](t, parse(t, head+rest)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// byDefinition checks an object against a custom resource definition in a module's file, as an API server does: the
// values by the schema, and no field that the schema doesn't know.
func byDefinition(module, file string) func(*testing.T, object) error {
	return func(t *testing.T, o object) error {
		t.Helper()
		properties, err := properties(t, module, file, o.GroupVersionKind().Version)
		if err != nil {
			return err
		}
		validator, _, err := validation.NewSchemaValidator(properties)
		if err != nil {
			return err
		}
		structural, err := schema.NewStructural(properties)
		if err != nil {
			return err
		}
		found := []error{validation.ValidateCustomResource(nil, o.Object, validator).ToAggregate()}
		track := schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
		for _, path := range pruning.PruneWithOptions(o.DeepCopy().Object, structural, true, track) {
			found = append(found, fmt.Errorf("unknown field %s", path))
		}
		return errors.Join(found...)
	}
}

// properties reads the schema of one version.
func properties(t *testing.T, module, file, version string) (*apiextensions.JSONSchemaProps, error) {
	t.Helper()
	data, err := generate.File(t.Context(), module, file)
	if err != nil {
		return nil, err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, v := range crd.Spec.Versions {
		if v.Name == version && v.Served {
			p := &apiextensions.JSONSchemaProps{}
			return p, apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, p, nil)
		}
	}
	return nil, fmt.Errorf("%s: version %s isn't served", file, version)
}
