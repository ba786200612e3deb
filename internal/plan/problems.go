package plan

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// problems are what is wrong with a plan, each with its line of the file.
type problems struct {
	found []problem
	paths []string // of what was found wrong: nothing more is said about it
}

// problem is a line of an error.
type problem struct {
	line int // of the file; 0 for none
	text string
}

// add notes a problem at a line of the file. Its text begins with the path.
func (p *problems) add(line int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	path, _, _ := strings.Cut(text, " ")
	path = strings.TrimSuffix(path, ":")
	if p.silent(path) {
		return
	}
	p.found = append(p.found, problem{line, text})
}

// err is nil if nothing is wrong, and else has a line for each problem, in the file's order.
func (p *problems) err() error {
	slices.SortStableFunc(p.found, func(a, b problem) int { return cmp.Compare(a.order(), b.order()) })
	errs := make([]error, len(p.found))
	for i, f := range p.found {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// order puts what has no line at the end.
func (p problem) order() int {
	if p.line == 0 {
		return math.MaxInt
	}
	return p.line
}

// Error implements error.
func (p problem) Error() string {
	if p.line == 0 {
		return "plan: " + p.text
	}
	return fmt.Sprintf("plan: line %d: %s", p.line, p.text)
}

// silent reports whether something is known to be wrong at the path.
func (p *problems) silent(path string) bool {
	return slices.ContainsFunc(p.paths, func(known string) bool {
		rest, below := strings.CutPrefix(path, known)
		return known == "" || below && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// known silences what else is wrong at the path.
func (p *problems) known(path string) { p.paths = append(p.paths, path) }

// fieldsOf is what an entry of the kind may be.
func fieldsOf(kind string) string {
	switch known := fields[kind]; {
	case known == nil:
		return " of names to values"
	case kind == "members":
		return " of " + strings.Join(known, ", ") + ", or none"
	default:
		return " of " + strings.Join(known, ", ")
	}
}

// describe says what a node is.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.NullNode:
		return "empty"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.IntegerNode, *ast.FloatNode:
		return "the number " + n.GetToken().Value
	case *ast.BoolNode:
		return n.GetToken().Value
	case *ast.StringNode:
		return strconv.Quote(n.Value)
	case *ast.LiteralNode:
		return strconv.Quote(n.Value.Value)
	case nil:
		return "empty"
	}
	return n.Type().YAMLName()
}

// misplaced are fields that people look for in a kind that hasn't got them.
var misplaced = map[string]map[string]string{
	"messages":      {"children": " (children of messages stand beside messages, at the top of the plan)"},
	"conversations": {"seq": " (only messages and their children have a position)"},
	"members":       {"keep": " (keep says of the conversations' row whether it stays)", "seq": " (the position through which a member has deleted the conversation is watermark)"},
}

// synonyms are what people write for a field.
var synonyms = map[string]string{
	"owner": "user", "owner_id": "user", "user_id": "user", "app_id": "app", "conversation_id": "conversation", "room": "conversation", "thread": "conversation", "chat": "conversation",
	"id": "seq", "position": "seq", "sequence": "seq", "created_at": "sent_at", "created": "sent_at", "time": "sent_at", "timestamp": "sent_at",
	"condition": "where", "conditions": "where", "filter": "where", "if": "where", "foreign_key": "references", "refers": "references", "reference": "references",
	"cleared_through": "watermark", "cleared_before": "watermark", "joined_at": "visible_from", "joined_seq": "visible_from", "participants": "members", "memberships": "members",
	"from": "column", "select": "column", "name": "table", "update": "set", "parent": "parents", "child": "children",
}

// didYouMean proposes the field that is the nearest to what was written.
func didYouMean(kind, name string) (hint, field string) {
	if hint := misplaced[kind][name]; hint != "" {
		return hint, ""
	}
	if known := synonyms[strings.ToLower(name)]; slices.Contains(fields[kind], known) {
		return " (did you mean " + known + "?)", known
	}
	best, least := "", 3
	for _, f := range slices.Sorted(slices.Values(fields[kind])) {
		if n := distance(strings.ToLower(name), f); n < least {
			best, least = f, n
		}
	}
	if best == "" {
		return "", ""
	}
	return " (did you mean " + best + "?)", best
}

// distance is how many characters must be changed, added or taken away to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
