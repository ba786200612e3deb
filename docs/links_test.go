// Package docs_test holds the project's Markdown together: whoever follows a link
// arrives, and what is meant as a heading is one.
package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// page is what a Markdown file offers and asks for.
type page struct {
	anchors map[string]bool
	links   []string // targets, as they are written
	faults  []string // what is not what it looks like
}

var (
	// Also as the first thing of a list's item.
	fenceLine = regexp.MustCompile("^\\s*(?:(?:[-*+]|\\d+[.)])\\s+)*(```+|~~~+)")
	heading   = regexp.MustCompile(`^#{1,6}\s+(.+?)\s*#*$`)
	codeSpan  = regexp.MustCompile("`[^`]+`")
	// The text of a link may hold an image, which is a link by itself.
	link     = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	linkText = regexp.MustCompile(`!?\[([^\]]*)\]\([^()]*\)`)
)

// parse reads Markdown line by line, as far as links and headings need it.
func parse(text string) page {
	p := page{anchors: map[string]bool{}}
	fence := ""
	for n, line := range strings.Split(text, "\n") {
		m := fenceLine.FindStringSubmatch(line)
		switch {
		case fence != "":
			if m != nil && strings.HasPrefix(m[1], fence) && strings.TrimSpace(line) == m[1] {
				fence = ""
			}
		case m != nil:
			fence = m[1]
		default:
			p.line(n+1, line)
		}
	}
	if fence != "" {
		p.faults = append(p.faults, "a block of code has no end")
	}
	return p
}

// line reads one that is not code.
func (p *page) line(n int, line string) {
	words := codeSpan.ReplaceAllString(line, "")
	if strings.Contains(words, "```") {
		p.faults = append(p.faults, fmt.Sprintf("line %d: a block of code begins behind words, so it is none", n))
	}
	for _, m := range link.FindAllStringSubmatch(words, -1) {
		p.links = append(p.links, m[1])
	}
	if m := heading.FindStringSubmatch(line); m != nil {
		p.add(anchor(m[1]))
	}
}

// add takes up a heading's anchor; the second of one name gets a number.
func (p *page) add(name string) {
	unique := name
	for i := 1; p.anchors[unique]; i++ {
		unique = fmt.Sprintf("%s-%d", name, i)
	}
	p.anchors[unique] = true
}

// anchor is what GitHub makes of a heading.
func anchor(text string) string {
	text = linkText.ReplaceAllString(text, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, text)
}

// texts reads the files below root that end so, by path.
func texts(root string, ends ...string) (map[string]string, error) {
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case d.IsDir() || !slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(path, end) }):
			return nil
		}
		data, err := os.ReadFile(path)
		all[path] = string(data)
		return err
	})
	return all, err
}

// faults are the links below root that lead nowhere, and what parse has found.
func faults(root string) (found []string, links int, err error) {
	files, err := texts(root, ".md")
	all := map[string]page{}
	for path, text := range files {
		all[path] = parse(text)
	}
	for path, p := range all {
		for _, f := range p.faults {
			found = append(found, path+": "+f)
		}
		for _, target := range p.links {
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue // no test of ours depends on somebody's server
			}
			links++
			if why := broken(all, path, target); why != "" {
				found = append(found, fmt.Sprintf("%s: %s: %s", path, target, why))
			}
		}
	}
	return found, links, err
}

// broken says why the target leads nowhere; "" if it leads somewhere.
func broken(all map[string]page, from, target string) string {
	name, fragment, hasFragment := strings.Cut(target, "#")
	path := from
	if name != "" {
		path = filepath.Join(filepath.Dir(from), filepath.FromSlash(name))
	}
	if _, err := os.Stat(path); err != nil {
		return "there is no such file"
	}
	p, isPage := all[path]
	if hasFragment && isPage && !p.anchors[fragment] {
		return "there is no such heading"
	}
	return ""
}

func TestEveryLinkArrives(t *testing.T) {
	t.Parallel()
	found, links, err := faults("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(strings.TrimPrefix(f, "../"))
	}
	if links < 100 {
		t.Errorf("%d links; they are no longer found", links)
	}
}

func TestLinksThatLeadNowhereAreFound(t *testing.T) {
	t.Parallel()
	const good = "# One\n[a](b.md) [b](b.md#two--a-b_c-1) [c](#one) [![d](b.md)](b.md) `[x](no.md)`\n1. ```\n   # no heading [x](no.md)\n   ```\n[e](https://example.com/no#x)\n"
	for text, want := range map[string]string{
		good:                              "",
		good + "[x](no.md)":               "no such file",
		good + "[x](b.md#three)":          "no such heading",
		good + "[x](#no-heading)":         "no such heading",
		good + "**Look:** ```\nx\n```\n":  "behind words",
		good + "```\nx\n":                 "has no end",
		good + "[![x](no.svg)](b.md#two)": "no such file",
	} {
		dir := t.TempDir()
		for name, content := range map[string]string{"a.md": text, "b.md": "## Two – `a-b_c`\n## [Two](a.md) – a-b_c\n# Two\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		found, _, err := faults(dir)
		if all := strings.Join(found, "\n"); err != nil || (all == "") != (want == "") || !strings.Contains(all, want) {
			t.Errorf("%q: %v, found %q; want %q", text, err, all, want)
		}
	}
}

// A page that names a test as its proof names one that is there; "…" stands for
// the rest of a name, or of several.
func TestEveryTestThatIsNamedIsThere(t *testing.T) {
	t.Parallel()
	all, err := texts("..", ".md", "_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for path, text := range all {
		if strings.HasSuffix(path, ".go") {
			code.WriteString(text)
		}
	}
	named := 0
	for path, text := range all {
		if !strings.HasSuffix(path, ".md") {
			continue
		}
		for _, m := range regexp.MustCompile(`\b(Test[A-Z]\w*)(…?)`).FindAllStringSubmatch(text, -1) {
			named++
			if end := map[bool]string{true: "", false: "("}[m[2] != ""]; !strings.Contains(code.String(), "\nfunc "+m[1]+end) {
				t.Errorf("%s: there is no test %s", strings.TrimPrefix(path, "../"), m[0])
			}
		}
	}
	if named < 20 {
		t.Errorf("%d tests are named; they are no longer found", named)
	}
}
