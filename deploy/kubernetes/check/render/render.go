// Package render renders the overlays of the manifests, as `kubectl apply -k` does.
package render

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// every component, as README.md says that it is switched on.
const every = "components: [../../components/keda, ../../components/pod-monitor, ../../components/plan, ../../components/tracing]\n"

// openshift is a whole installation on it: monitoring is part of OpenShift.
const openshift = "components: [../../components/pod-monitor, ../../components/openshift]\n"

// variants are what is rendered, with the line that takes the place of the overlay's own components.
var variants = map[string]struct{ overlay, components string }{
	"single":           {overlay: "single"},
	"single-with-all":  {overlay: "single", components: every},
	"single-openshift": {overlay: "single", components: openshift},
	"cluster":          {overlay: "cluster"},
	"cluster-with-all": {overlay: "cluster", components: every},
	"sharded":          {overlay: "sharded"},
	"quickstart":       {overlay: "quickstart"},
}

var componentsOf = regexp.MustCompile(`(?m)^components:.*\n(  - .*\n)*`)

// All renders each variant of the manifests in the folder root and returns its objects as YAML, by the variant's name. An
// error names the variant. It changes no file, and is safe for concurrent use.
func All(root string) (map[string]string, error) {
	all := map[string]string{}
	for name, v := range variants {
		files, err := tree(root, "base", "components", "overlays")
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
}

// Objects splits what All returns for a variant into the texts of its objects.
func Objects(text string) []string { return strings.Split(text, "\n---\n") }

var kustomize sync.Mutex // it isn't safe for concurrent use

func render(files filesys.FileSystem, overlay, components string) (string, error) {
	path := filepath.Join(overlay, "kustomization.yaml")
	text, err := files.ReadFile(path)
	if err != nil {
		return "", err
	}
	if components != "" {
		if !componentsOf.Match(text) {
			return "", fmt.Errorf("%s has no components: README.md says that it has", path)
		}
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
