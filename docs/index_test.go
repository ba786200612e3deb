package docs_test

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// The index is the order in which the site has the pages (docs/site/content/_content.gotmpl).
func TestTheIndexHasEveryPageOnce(t *testing.T) {
	t.Parallel()
	index, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]int{}
	_, groups, _ := strings.Cut(string(index), "\n## ")
	for _, m := range link.FindAllStringSubmatch(groups, -1) {
		listed[path.Join("docs", m[1])]++
	}
	var pages []string
	for _, pattern := range []string{"docs/*.md", "*/README.md", "deploy/*.md", "deploy/*/README.md", "examples/*/README.md"} {
		found, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	for _, name := range pages {
		name = strings.TrimPrefix(filepath.ToSlash(name), "../")
		if want := map[bool]int{false: 1}[name == "docs/README.md"]; listed[name] != want {
			t.Errorf("README.md lists %s %d times; want %d", name, listed[name], want)
		}
	}
	for name, times := range listed {
		if times > 1 || !strings.HasSuffix(name, ".md") {
			t.Errorf("README.md lists %s %d times; want each page once, and pages alone", name, times)
		}
		// No front matter, which is noise on a forge: the site has a page's title from its first line.
		if text, err := os.ReadFile(filepath.Join("..", name)); err != nil || !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s doesn't begin with its title: %v", name, err)
		}
	}
	if len(pages) < 10 {
		t.Errorf("%d pages; they are no longer found", len(pages))
	}
}
