package generate

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"

	_ "github.com/kedacore/keda/v2/version" // keeps the module in go.mod, whose definitions are read
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

const (
	definitions = "#/definitions/"
	meta        = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
	// KEDA is the module with KEDA's definitions.
	KEDA = "github.com/kedacore/keda/v2"
)

// File reads a file of a module that go.mod pins; the module is fetched if need be.
func File(ctx context.Context, module, file string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", module).Output()
	if err != nil {
		return nil, fmt.Errorf("where is %s: %w: %s", module, err, out)
	}
	var at struct{ Dir string }
	if err := json.Unmarshal(out, &at); err != nil {
		return nil, fmt.Errorf("where is %s: %w", module, err)
	}
	return os.ReadFile(filepath.Join(at.Dir, file))
}

// kind is what an object says that it is.
type kind struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// path is the file of a kind's schema, as kubeconform's template in package schema names it.
func (k kind) path() string {
	parts := strings.Split(k.APIVersion, "/")
	return fmt.Sprintf("%s/%s-%s.json", parts[0], strings.ToLower(k.Kind), parts[len(parts)-1])
}

// source has what schemas are made from.
type source struct {
	definitions object // of Kubernetes, strict
	names       map[kind]string
	custom      map[kind]object
}

// read reads the modules' files.
func read(ctx context.Context) (source, error) {
	s := source{definitions: object{}, names: map[kind]string{}, custom: map[kind]object{}}
	data, err := File(ctx, "k8s.io/kubernetes", "api/openapi-spec/swagger.json")
	if err != nil {
		return s, err
	}
	var document struct{ Definitions map[string]object }
	if err := json.Unmarshal(data, &document); err != nil {
		return s, err
	}
	for name, definition := range document.Definitions {
		s.definitions[name] = strict(definition, true)
		list, _ := definition["x-kubernetes-group-version-kind"].([]any)
		for _, one := range list {
			g := one.(object)
			s.names[kind{strings.TrimPrefix(fmt.Sprintf("%s/%s", g["group"], g["version"]), "/"), g["kind"].(string)}] = name
		}
	}
	s.definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = object{"type": []any{"number", "string"}}
	s.custom[kind{"monitoring.coreos.com/v1", "PodMonitor"}] = ofType(reflect.TypeFor[monitoring.PodMonitor]())
	return s, s.addDefinition(ctx, KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml")
}

// addDefinition adds the schemas in a custom resource definition.
func (s source) addDefinition(ctx context.Context, module, file string) error {
	data, err := File(ctx, module, file)
	if err != nil {
		return err
	}
	var crd struct {
		Spec struct {
			Group    string
			Names    kind
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema object }
			}
		}
	}
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, v := range crd.Spec.Versions {
		schema := strict(v.Schema.OpenAPIV3Schema, true)
		schema["properties"].(object)["metadata"] = object{"$ref": definitions + meta}
		s.custom[kind{crd.Spec.Group + "/" + v.Name, crd.Spec.Names.Kind}] = schema
	}
	return nil
}

// of makes the schema of a kind, with all that it refers to in it.
func (s source) of(k kind) ([]byte, error) {
	schema := s.custom[k]
	if schema == nil {
		if schema, _ = s.definitions[s.names[k]].(object); schema == nil {
			return nil, fmt.Errorf("%s of %s: no module has a schema for it", k.Kind, k.APIVersion)
		}
	}
	schema = maps.Clone(schema)
	properties := maps.Clone(schema["properties"].(object))
	schema["properties"] = properties
	properties["apiVersion"], properties["kind"] = object{"enum": []any{k.APIVersion}}, object{"enum": []any{k.Kind}}
	found := map[string]bool{}
	references(schema, s.definitions, found)
	used := object{}
	for name := range found {
		used[name] = s.definitions[name]
	}
	schema["definitions"] = used
	data, err := json.MarshalIndent(schema, "", " ")
	return append(data, '\n'), err
}
