package generate

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/lethe-im/lethe/deploy/kubernetes/check/render"
)

var update = flag.Bool("update", false, "write the schemas to ../schema")

func TestTheSchemasAreThoseOfTheModules(t *testing.T) {
	t.Parallel()
	from, err := read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, k := range kinds(t) {
		path := filepath.Join("../schema", k.path())
		wanted[path] = true
		schema, err := from.of(k)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := write(path, schema); err != nil {
				t.Fatal(err)
			}
		} else if got, err := os.ReadFile(path); err != nil || string(got) != string(schema) {
			t.Errorf("%s isn't what the modules say, %v: run `make schemas`", path, err)
		}
	}
	there, err := filepath.Glob("../schema/*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if !wanted[path] {
			t.Errorf("%s is for no object: remove it", path)
		}
	}
}

func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// kinds are those of all objects.
func kinds(t *testing.T) map[string]kind {
	t.Helper()
	variants, err := render.All("../..")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]kind{}
	for _, text := range variants {
		for _, one := range render.Objects(text) {
			var k kind
			if err := yaml.Unmarshal([]byte(one), &k); err != nil {
				t.Fatal(err)
			}
			all[k.path()] = k
		}
	}
	return all
}
