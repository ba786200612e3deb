package deploy_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// step is one of a workflow's.
type step struct {
	Uses string            `yaml:"uses"`
	With map[string]any    `yaml:"with"`
	Run  string            `yaml:"run"`
	Env  map[string]string `yaml:"env"`
}

// workflow is what concerns us of one; make lint lets actionlint read all of it.
type workflow struct {
	Permissions map[string]string `yaml:"permissions"`
	Jobs        map[string]struct {
		Permissions map[string]string `yaml:"permissions"`
		Strategy    struct {
			Matrix struct{ Target, Cell []string }
		} `yaml:"strategy"`
		Steps []step `yaml:"steps"`
	} `yaml:"jobs"`
}

// What the forge does anybody can do: it gets the source and Go, and calls make.
func TestWorkflowsCallMakeTargetsAndNothingElse(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(files) != 4 {
		t.Fatalf("workflows: %v, %v; want 4", files, err)
	}
	targets := found(`(?m)^\.PHONY: (\S+)$`, read(t, "../Makefile"))
	toolchain := found(`(?m)^FROM golang:(\d+\.\d+\.\d+)`, read(t, "Dockerfile"))[0]
	pinned, uses := regexp.MustCompile(`uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+\n`), regexp.MustCompile(`uses: `)
	called := map[string]bool{}
	for _, file := range files {
		text := read(t, file)
		if a, b := len(uses.FindAllString(text, -1)), len(pinned.FindAllString(text, -1)); a != b || a == 0 {
			t.Errorf("%s: %d of %d actions are pinned by commit, with their version behind it", file, b, a)
		}
		var w workflow
		if err := yaml.Unmarshal([]byte(text), &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if w.Permissions == nil || w.Permissions["contents"] == "write" {
			t.Errorf("%s: permissions %v; want none or contents: read, and more for single jobs alone", file, w.Permissions)
		}
		for name, job := range w.Jobs {
			if job.Permissions["contents"] == "write" && filepath.Base(file) != "release.yml" {
				t.Errorf("%s: %s may write", file, name)
			}
			for _, s := range job.Steps {
				action, _, _ := strings.Cut(s.Uses, "@")
				switch {
				case s.Run == "make ${{ matrix.target }}":
					for _, target := range job.Strategy.Matrix.Target {
						called[target] = true
					}
				case regexp.MustCompile(`^make [a-z-]+$`).MatchString(s.Run):
					called[strings.TrimPrefix(s.Run, "make ")] = true
				case action == "actions/checkout":
					if s.With["persist-credentials"] != false {
						t.Errorf("%s: %s leaves its credentials in the checkout", file, name)
					}
				case action == "actions/setup-go":
					if s.With["go-version"] != toolchain {
						t.Errorf("%s: %s has Go %v; want the Dockerfile's %s", file, name, s.With["go-version"], toolchain)
					}
				default:
					t.Errorf("%s: %s has the step %+v; want a make target", file, name, s)
				}
			}
		}
	}
	for target := range called {
		if !slices.Contains(targets, target) {
			t.Errorf("a workflow calls make %s, which there is not", target)
		}
	}
	// What "make check" has stands in the workflows too.
	for target := range strings.FieldsSeq(found(`(?m)^check: ([a-z -]+) ##`, read(t, "../Makefile"))[0] + " vuln image-scan release") {
		if !called[target] {
			t.Errorf("no workflow calls make %s", target)
		}
	}
}

// The matrix in the workflow, in the script and in what the page says was run are one.
func TestTheMatrixIsOne(t *testing.T) {
	t.Parallel()
	cells := strings.Fields(found(`(?m)^all="(.*)"$`, read(t, "../scripts/test-matrix"))[0])
	var w workflow
	if err := yaml.Unmarshal([]byte(read(t, "../.github/workflows/matrix.yml")), &w); err != nil {
		t.Fatal(err)
	}
	if got := w.Jobs["make"].Strategy.Matrix.Cell; !slices.Equal(got, cells) {
		t.Errorf("the workflow runs %v; want %v", got, cells)
	}
	page := read(t, "../docs/versions.md")
	for _, cell := range cells {
		if !strings.Contains(page, "| `"+cell+"` |") {
			t.Errorf("docs/versions.md has no line for %s", cell)
		}
	}
}

// form is an issue template, as far as the forge reads one.
type form struct {
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	Labels      []string `yaml:"labels"`
	Body        []struct {
		Type        string            `yaml:"type"`
		ID          string            `yaml:"id"`
		Attributes  map[string]string `yaml:"attributes"`
		Validations map[string]bool   `yaml:"validations"`
	} `yaml:"body"`
}

// The forge shows a form that it can't read to nobody, and says so nowhere.
func TestIssueFormsAreReadable(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../.github/ISSUE_TEMPLATE/*.yml")
	if err != nil || len(files) < 3 {
		t.Fatalf("forms: %v, %v", files, err)
	}
	attributes := map[string][]string{"markdown": {"value"}, "textarea": {"label", "description", "placeholder", "value", "render"}}
	for _, file := range files {
		if filepath.Base(file) == "config.yml" {
			continue
		}
		strict := yaml.NewDecoder(strings.NewReader(read(t, file)))
		strict.KnownFields(true)
		var f form
		if err := strict.Decode(&f); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if f.Name == "" || f.Description == "" || len(f.Body) == 0 {
			t.Errorf("%s: want a name, a description and a body", file)
		}
		ids := map[string]bool{}
		for n, field := range f.Body {
			where := fmt.Sprintf("%s: field %d", file, n+1)
			known := attributes[field.Type]
			for name := range field.Attributes {
				if !slices.Contains(known, name) {
					t.Errorf("%s: a %q has no attribute %s", where, field.Type, name)
				}
			}
			if field.Type != "markdown" && (field.ID == "" || ids[field.ID] || field.Attributes["label"] == "") {
				t.Errorf("%s: want a label, and an id for itself; found %+v", where, field)
			}
			ids[field.ID] = true
		}
	}
}
