package check

import (
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/lethe-im/lethe/deploy/kubernetes/check/render"
)

// renderAll is each variant's text.
var renderAll = sync.OnceValues(func() (map[string]string, error) { return render.All("..") })

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
		for _, one := range render.Objects(text) {
			visit(variant, parse(t, one))
		}
	}
}
