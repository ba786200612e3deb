// Check reads the built site of the documentation and fails if a link leads nowhere, a picture is missing, or a page
// asks another server for something.
//
//	go run . FOLDER REPOSITORY
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// forge is where links to files go that are no page of the site, as docs/site/hugo.yaml has it.
const forge = "https://github.com/lethe-im/lethe/blob/main/"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: check FOLDER REPOSITORY")
		os.Exit(2)
	}
	s, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(2)
	}
	found := s.faults(os.Args[2])
	for _, f := range found {
		fmt.Fprintln(os.Stderr, f)
	}
	if len(found) > 0 {
		os.Exit(1)
	}
	fmt.Printf("pages: %d, links and sources: %d; each leads somewhere, and none to another server's script, style, font or picture\n", len(s.pages), s.links())
}

// site is what was built.
type site struct {
	files map[string]bool  // by path from the site's folder, with slashes
	pages map[string]*page // those that are HTML
}

// page is what a page offers and asks for.
type page struct {
	ids  map[string]bool
	uses []use
}

// use is a link, or something that the browser loads.
type use struct {
	target string
	loaded bool // without a click
}

// read reads the site in a folder.
func read(folder string) (*site, error) {
	s := &site{files: map[string]bool{}, pages: map[string]*page{}}
	err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		s.files[rel] = true
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		switch path.Ext(rel) {
		case ".html":
			s.pages[rel], err = parse(string(data))
		case ".css":
			s.pages[rel] = &page{uses: urlsIn(string(data))}
		}
		return err
	})
	if err == nil && !s.files["index.html"] {
		err = errors.New(folder + " has no index.html: is this a site?")
	}
	return s, err
}

// parse reads a page of HTML.
func parse(text string) (*page, error) {
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	p := &page{ids: map[string]bool{}}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "style" && n.FirstChild != nil {
			p.uses = append(p.uses, urlsIn(n.FirstChild.Data)...)
		}
		for _, a := range n.Attr {
			p.attribute(n.Data, a.Key, a.Val)
		}
	}
	return p, nil
}

// attribute takes up what an attribute of an element says.
func (p *page) attribute(element, name, value string) {
	switch name {
	case "id":
		p.ids[value] = true
	case "href", "src", "poster", "data-pages":
		p.uses = append(p.uses, use{value, element != "a"})
	case "srcset":
		for candidate := range strings.SplitSeq(value, ",") {
			if words := strings.Fields(candidate); len(words) > 0 {
				p.uses = append(p.uses, use{words[0], true})
			}
		}
	case "style":
		p.uses = append(p.uses, urlsIn(value)...)
	}
}

// urlsIn are those that a style sheet loads.
func urlsIn(css string) []use {
	var all []use
	for i, part := range strings.Split(css, "url(") {
		if value, _, ok := strings.Cut(part, ")"); ok && i > 0 {
			all = append(all, use{strings.Trim(value, `"' `), true})
		}
	}
	for i, part := range strings.Split(css, "@import") {
		if fields := strings.Fields(part); i > 0 && len(fields) > 0 {
			all = append(all, use{strings.Trim(fields[0], `"';`), true})
		}
	}
	return all
}

// links is how many there are.
func (s *site) links() (n int) {
	for _, p := range s.pages {
		n += len(p.uses)
	}
	return n
}

// faults are what leads nowhere, in the order of the pages' paths. Files on the forge have to be in the repository.
func (s *site) faults(repository string) []string {
	var all []string
	for name, p := range s.pages {
		for _, u := range p.uses {
			if why := s.fault(name, u, repository); why != "" {
				all = append(all, fmt.Sprintf("%s: %s: %s", name, u.target, why))
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// fault is what is wrong with a use, or "".
func (s *site) fault(from string, u use, repository string) string {
	if file, ok := strings.CutPrefix(u.target, forge); ok && !u.loaded {
		file, _, _ = strings.Cut(file, "#")
		if _, err := os.Stat(filepath.Join(repository, filepath.FromSlash(file))); err != nil {
			return "the repository has no such file"
		}
		return ""
	}
	to, err := url.Parse(u.target)
	switch {
	case err != nil:
		return err.Error()
	case to.Scheme == "data" && u.loaded, to.Scheme == "mailto" && !u.loaded:
		return ""
	case to.Scheme != "" || to.Host != "":
		if u.loaded {
			return "is loaded from another server"
		}
		return "" // no test of ours depends on somebody's server
	case strings.HasPrefix(to.Path, "/"):
		return "is not relative: it leads nowhere where the site isn't at the server's root"
	}
	return s.missing(from, to)
}

// missing says what of a relative target isn't there.
func (s *site) missing(from string, to *url.URL) string {
	name := from
	if to.Path != "" {
		name = path.Join(path.Dir(from), to.Path)
		if strings.HasSuffix(to.Path, "/") || name == "." || !s.files[name] && s.files[path.Join(name, "index.html")] {
			name = path.Join(name, "index.html")
		}
	}
	if !s.files[name] {
		return "there is no such file"
	}
	if p := s.pages[name]; to.Fragment != "" && (p == nil || !p.ids[to.Fragment]) {
		return "there is no such heading"
	}
	return ""
}
