package check

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what is rendered to ../rendered")

// every component, as README.md says that it is switched on.
const every = "components: [../../components/keda, ../../components/pod-monitor, ../../components/plan, ../../components/tracing]\n"

// variants are what is rendered, with the line that takes the place of the overlay's own components.
var variants = map[string]struct{ overlay, components string }{
	"single":           {overlay: "single"},
	"single-with-all":  {overlay: "single", components: every},
	"cluster":          {overlay: "cluster"},
	"cluster-with-all": {overlay: "cluster", components: every},
}

var componentsOf = regexp.MustCompile(`(?m)^components:.*\n(  - .*\n)*`)

// renderAll renders each variant once, as `kubectl apply -k` does.
var renderAll = sync.OnceValues(func() (map[string]string, error) {
	all := map[string]string{}
	for name, v := range variants {
		files, err := tree("..", "base", "components", "overlays")
		if err != nil {
			return nil, err
		}
		text, err := render(files, filepath.Join("/overlays", v.overlay), v.components)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = text
	}
	return all, nil
})

var kustomize sync.Mutex // it isn't safe for concurrent use

func render(files filesys.FileSystem, overlay, components string) (string, error) {
	path := filepath.Join(overlay, "kustomization.yaml")
	text, err := files.ReadFile(path)
	if err != nil {
		return "", err
	}
	if !componentsOf.Match(text) {
		return "", fmt.Errorf("%s has no components: README.md says that it has", path)
	}
	if components != "" {
		text = componentsOf.ReplaceAllLiteral(text, []byte(components))
	}
	if err := files.WriteFile(path, text); err != nil {
		return "", err
	}
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy // as kubectl does: what others need comes first
	kustomize.Lock()
	defer kustomize.Unlock()
	resources, err := krusty.MakeKustomizer(options).Run(files, overlay)
	if err != nil {
		return "", err
	}
	out, err := resources.AsYaml()
	return string(out), err
}

// tree is a copy in memory of some folders of from.
func tree(from string, folders ...string) (filesys.FileSystem, error) {
	files := filesys.MakeFsInMemory()
	root := os.DirFS(from)
	for _, folder := range folders {
		if err := copyFolder(files, root, folder); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// object is one of a variant's.
type object struct {
	unstructured.Unstructured
	text []byte
}

// name says which one it is.
func (o object) name() string { return o.GetKind() + "/" + o.GetName() }

// parse reads an object, without a look at what it says.
func parse(t *testing.T, text string) object {
	t.Helper()
	o := object{text: []byte(text)}
	data, err := yaml.YAMLToJSONStrict(o.text)
	if err == nil {
		err = o.UnmarshalJSON(data)
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return o
}

// objects calls visit with each object of each variant.
func objects(t *testing.T, visit func(variant string, o object)) {
	t.Helper()
	all, err := renderAll()
	if err != nil {
		t.Fatal(err)
	}
	for variant, text := range all {
		for one := range strings.SplitSeq(text, "\n---\n") {
			visit(variant, parse(t, one))
		}
	}
}

// What an overlay comes to is kept, so that a change of it shows in a review.
func TestWhatIsRenderedIsKept(t *testing.T) {
	t.Parallel()
	all, err := renderAll()
	if err != nil {
		t.Fatal(err)
	}
	for variant, text := range all {
		path := filepath.Join("..", "rendered", variant+".yaml")
		text = "# Made from overlays and components by `make render`: don't edit it.\n" + text
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		kept, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v: run `make render`", err)
		}
		if string(kept) != text {
			t.Errorf("rendered/%s.yaml is no longer what the overlay comes to: run `make render`, and look at the difference", variant)
		}
	}
}

// README.md tells what to add to an overlay, as a patch.
func TestThePatchesOfTheReadmeFit(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	patches := regexp.MustCompile("(?ms)^```yaml\n(patches:\n.*?)^```$").FindAllSubmatch(readme, -1)
	if len(patches) < 2 {
		t.Errorf("README.md has %d patches; want those of the database's address and of what is secret", len(patches))
	}
	unpatched := withPatch(t, nil)
	for _, patch := range patches {
		if withPatch(t, patch[1]) == unpatched {
			t.Errorf("nothing changes by\n%s", patch[1])
		}
	}
}

// withPatch is what the overlay single comes to with a patch in it.
func withPatch(t *testing.T, patch []byte) string {
	t.Helper()
	const path = "/overlays/single/kustomization.yaml"
	files, err := tree("..", "base", "components", "overlays")
	if err != nil {
		t.Fatal(err)
	}
	text, err := files.ReadFile(path)
	if err == nil {
		err = files.WriteFile(path, append(text, patch...))
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := render(files, filepath.Dir(path), "")
	if err != nil {
		t.Errorf("%v, by\n%s", err, patch)
	}
	return out
}
