package plan

import (
	"fmt"
	"strings"
)

// lineOf is the line of the plan's file at which the path begins: that of its field, or of
// the nearest above it; 0 for none.
func (p Plan) lineOf(path string) int {
	for _, id := range p.IDs {
		if rest, ok := below(path, join("ids", id.Name)); ok {
			return id.at(rest)
		}
	}
	if _, ok := below(path, "everyone"); ok && p.Everyone != nil {
		return p.Everyone.line
	}
	line, longest := 0, -1
	for _, e := range p.Entries() {
		if rest, ok := below(path, e.Path); ok && len(e.Path) > longest {
			line, longest = e.at(rest), len(e.Path)
		}
	}
	return line
}

// below returns what of the path is below another one, and whether it is there at all.
func below(path, above string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, above)
	return strings.TrimPrefix(rest, "."), ok && (rest == "" || rest[0] == '.')
}

// lined puts the line of the plan's file in front of a text that begins with a path.
func (p Plan) lined(text string) string {
	rest, isProblem := strings.CutPrefix(text, "plan: ")
	path, _, _ := strings.Cut(rest, " ")
	line := p.lineOf(strings.TrimSuffix(path, ":"))
	switch {
	case line == 0:
		return text
	case isProblem:
		return fmt.Sprintf("plan: line %d: %s", line, rest)
	}
	return fmt.Sprintf("line %d: %s", line, rest)
}
