package render

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var update = flag.Bool("update", false, "write what is rendered to ../../rendered")

// What an overlay comes to is kept, so that a change of it shows in a review.
func TestWhatIsRenderedIsKept(t *testing.T) {
	t.Parallel()
	all, err := All("../..")
	if err != nil {
		t.Fatal(err)
	}
	for variant, text := range all {
		path := filepath.Join("../../rendered", variant+".yaml")
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
	readme, err := os.ReadFile("../../README.md")
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
	files, err := tree("../..", "base", "components", "overlays")
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
