package plan

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/lethe-im/lethe/internal/purge"
)

// fields are those that each kind of entry may have, and what else is a mapping.
var fields = map[string][]string{
	"the plan":               {"tenant", "ids", "messages", "members", "conversations", "children", "everyone"},
	"messages":               {"table", "app", "user", "conversation", "where", "seq", "sent_at", "parents"},
	"members":                {"table", "app", "user", "conversation", "where", "watermark", "visible_from", "unread"},
	"everyone":               {"prefix"},
	"conversations":          {"table", "app", "user", "conversation", "where", "unread", "set", "keep", "children"},
	"a conversation's child": {"table", "app", "user", "conversation", "where", "references"},
	"a child":                {"table", "app", "user", "conversation", "where", "seq", "references", "set", "children", "parents"},
	"a child's child":        {"table", "where", "references", "set", "children", "parents"},
	"a message's parent":     {"table", "references", "app", "user", "conversation", "where", "seq", "sent_at", "children", "parents", "kept_by"},
	"a child's parent":       {"table", "references", "where", "kept_by"},
	"kept_by":                {"table", "references", "where"},
	"an id":                  {"split", "at", "part", "lookup", "where", "column"},
	"references":             {"column", "to"},
	"seq":                    {"column", "unit"},
	"sent_at":                {"column", "unit", "shift", "since"},
	"watermark":              {"column", "unit"},
	"visible_from":           {"column", "unit"},
}

// kinds are the kinds of entries that a kind's lists hold.
var kinds = map[string]map[string]string{
	"messages":           {"parents": "a message's parent"},
	"conversations":      {"children": "a conversation's child"},
	"a child":            {"children": "a child's child", "parents": "a child's parent"},
	"a child's child":    {"children": "a child's child", "parents": "a child's parent"},
	"a message's parent": {"children": "a child's child", "kept_by": "kept_by"},
	"a child's parent":   {"kept_by": "kept_by"},
}

// maxMappings bounds what aliases may blow a plan up to.
const maxMappings = 10_000

// decoder turns YAML into a plan, and collects what is wrong, with lines.
type decoder struct {
	problems
	anchors  map[string]ast.Node
	mappings int
}

// decode reads the plan's file, and returns what is wrong with it beside what could be read.
func decode(data []byte) (Plan, problems) {
	d := &decoder{anchors: map[string]ast.Node{}}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return Plan{}, d.problems
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	if len(bodies) == 0 {
		d.fail(0, "", " is empty: expected messages, with a table and its columns")
		return Plan{}, d.problems
	}
	p := d.plan(bodies[0])
	if len(bodies) > 1 {
		d.add(line(bodies[1]), "a second document begins: expected one plan in a file")
	}
	return p, d.problems
}

// fail notes a problem with the value at the path, whose text follows it, and silences what else is wrong there.
func (d *decoder) fail(line int, path, format string, args ...any) {
	d.add(line, "%s", or(path, "the plan")+fmt.Sprintf(format, args...))
	d.known(path)
}

// syntax notes what the parser of YAML says, without the excerpt of the file that it draws.
func (d *decoder) syntax(err error) {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		d.fail(0, "", " is not YAML: %s", err)
		return
	}
	d.fail(at.GetToken().Position.Line, "", " is not YAML: %s; expected name: value, one below the other, indented by blanks", at.GetMessage())
}

// resolve follows anchors, aliases and tags to what they stand for: nil, after a complaint, if that is nothing.
func (d *decoder) resolve(n ast.Node, path string) ast.Node {
	for {
		switch at := n.(type) {
		case *ast.AnchorNode:
			d.anchors[at.Name.GetToken().Value] = at.Value
			n = at.Value
		case *ast.AliasNode:
			name := at.Value.GetToken().Value
			n = d.anchors[name]
			if _, again := n.(*ast.AliasNode); again || n == nil {
				d.fail(line(at), path, " is *%s: expected an anchor &%[1]s above it", name)
				return nil
			}
		case *ast.TagNode:
			n = at.Value
		default:
			return n
		}
	}
}

func line(n ast.Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0
	}
	return n.GetToken().Position.Line
}

// member is a field of a mapping.
type field struct {
	name  string
	line  int
	value ast.Node
}

// mapping returns the node's fields in order, and notes those that it may not have, or has twice. known is nil
// where the fields are names that the plan chooses.
func (d *decoder) mapping(n ast.Node, path, kind string) []field {
	var values []*ast.MappingValueNode
	at := line(n)
	switch n := d.resolve(n, path).(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.fail(at, path, " is %s: expected a mapping%s", describe(n), fieldsOf(kind))
		return nil
	}
	if d.mappings++; d.mappings > maxMappings {
		d.add(at, "the plan: its aliases make more than %s: expected less", purge.Count(maxMappings, "mapping"))
		d.known("")
		return nil
	}
	var out, merged []field
	seen := map[string]int{}
	for _, v := range values {
		if v.Key.IsMergeKey() {
			merged = append(merged, d.mapping(v.Value, join(path, "<<"), kind)...)
			continue
		}
		key := d.resolve(v.Key, path)
		if key == nil {
			continue
		}
		f := field{name: key.GetToken().Value, line: line(key), value: v.Value}
		if _, ok := key.(ast.ScalarNode); !ok {
			d.add(f.line, "%s: %s stands where a field's name is expected", or(path, "the plan"), describe(key))
			continue
		}
		switch known := fields[kind]; {
		case seen[f.name] > 0:
			d.add(f.line, "%s is given twice, first at line %d", join(path, f.name), seen[f.name])
		case known != nil && !slices.Contains(known, f.name):
			hint, meant := didYouMean(kind, f.name)
			d.add(f.line, "%s: there is no such field%s; the fields of %s are %s", join(path, f.name), hint, kind, strings.Join(known, ", "))
			if meant != "" {
				d.known(join(path, meant))
			}
		default:
			seen[f.name] = f.line
			out = append(out, f)
		}
	}
	for _, f := range merged {
		if seen[f.name] == 0 {
			seen[f.name] = f.line
			out = append(out, f)
		}
	}
	return out
}

// items returns a list's nodes.
func (d *decoder) items(n ast.Node, path, expected string) []ast.Node {
	if _, empty := d.resolve(n, path).(*ast.NullNode); empty {
		return nil
	}
	list, ok := d.resolve(n, path).(*ast.SequenceNode)
	if !ok {
		d.fail(line(n), path, " is %s: expected a list of %s", describe(d.resolve(n, path)), expected)
		return nil
	}
	return list.Values
}

func (d *decoder) plan(n ast.Node) Plan {
	var p Plan
	for _, f := range d.mapping(n, "", "the plan") {
		switch f.name {
		case "tenant":
			p.Tenant = d.text(f.value, f.name, "the app's id")
		case "ids":
			for _, g := range d.mapping(f.value, "ids", "") {
				p.IDs = append(p.IDs, d.id(g))
			}
		case "messages":
			p.Messages = d.entry(f.value, f.name, f.name)
		case "conversations":
			p.Conversations = d.entry(f.value, f.name, f.name)
		case "children":
			p.Children = d.entries(f.value, f.name, "a child")
		case "members":
			p.Members, p.NoMembers = d.members(f)
		case "everyone":
			p.Everyone = d.everyone(f)
		}
	}
	return p
}

// members reads the members' entry, or none.
func (d *decoder) members(f field) (members *Entry, none bool) {
	if word, ok := d.resolve(f.value, f.name).(*ast.StringNode); ok && word.Value == "none" {
		return nil, true
	}
	e := d.entry(f.value, f.name, f.name)
	return &e, false
}

func (d *decoder) everyone(f field) *Everyone {
	e, given := &Everyone{line: f.line}, false
	for _, g := range d.mapping(f.value, f.name, f.name) {
		e.Prefix, given = d.text(g.value, join(f.name, g.name), "a text"), true
	}
	if !given && !d.silent(f.name) {
		d.fail(f.line, "everyone.prefix", ` is missing: expected what the ids begin with that all owners share, or "" if all do`)
	}
	return e
}

func (d *decoder) entries(n ast.Node, path, kind string) []Entry {
	var out []Entry
	for i, item := range d.items(n, path, "entries, each a mapping with a table") {
		out = append(out, d.entry(item, nth(path, i), kind))
	}
	return out
}

// maxDepth is more than any plan needs.
const maxDepth = 20

func (d *decoder) entry(n ast.Node, path, kind string) Entry {
	if strings.Count(path, "[") > maxDepth {
		d.add(line(n), "the plan: entries are nested more than %d deep: expected less; does an alias stand below its own anchor?", maxDepth)
		d.known("")
		return Entry{}
	}
	e := Entry{line: line(n), lines: map[string]int{}}
	for _, f := range d.mapping(n, path, kind) {
		at := join(path, f.name)
		e.lines[f.name] = f.line
		e.line = min(e.line, f.line)
		switch f.name {
		case "table":
			e.Table = d.text(f.value, at, "a table")
		case "app":
			e.App = d.text(f.value, at, "a column")
		case "user":
			e.User = d.text(f.value, at, "a column")
		case "conversation":
			e.Conversation = d.text(f.value, at, "a column")
		case "unread":
			e.Unread = d.text(f.value, at, "a column")
		case "where":
			e.Where = d.pairs(f.value, at, e.lines, f.name)
		case "set":
			e.Set = d.pairs(f.value, at, e.lines, f.name)
		case "seq":
			e.Seq = d.reading(f.value, at, f.name)
		case "sent_at":
			e.SentAt = d.reading(f.value, at, f.name)
		case "watermark":
			e.Watermark = d.reading(f.value, at, f.name)
		case "visible_from":
			e.VisibleFrom = d.reading(f.value, at, f.name)
		case "references":
			e.References = d.reference(f.value, at, e.lines)
		case "keep":
			e.Keep = d.bool(f.value, at)
		case "children":
			e.Children = d.entries(f.value, at, kinds[kind][f.name])
		case "parents":
			e.Parents = d.entries(f.value, at, kinds[kind][f.name])
		case "kept_by":
			e.KeptBy = d.entries(f.value, at, kinds[kind][f.name])
		}
	}
	return e
}

// text reads a name or another text. Numbers and the like are the text as which they are written.
func (d *decoder) text(n ast.Node, path, expected string) string {
	switch v := d.resolve(n, path).(type) {
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		return v.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return v.GetToken().Value
	case *ast.NullNode: // as if it were left out
	default:
		d.fail(line(n), path, " is %s: expected %s", describe(v), expected)
	}
	return ""
}

func (d *decoder) bool(n ast.Node, path string) bool {
	if b, ok := d.resolve(n, path).(*ast.BoolNode); ok {
		return b.Value
	}
	d.fail(line(n), path, " is %s: expected true or false", describe(d.resolve(n, path)))
	return false
}

func (d *decoder) number(n ast.Node, path string) int {
	if v, ok := d.resolve(n, path).(*ast.IntegerNode); ok {
		if i, err := strconv.Atoi(v.Token.Value); err == nil {
			return i
		}
	}
	d.fail(line(n), path, " is %s: expected a whole number", describe(d.resolve(n, path)))
	return 0
}

// reading reads a column, or a mapping with a column and how it is read.
func (d *decoder) reading(n ast.Node, path, kind string) Reading {
	var r Reading
	switch d.resolve(n, path).(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		r.Column = d.text(n, path, "a column, or a mapping"+fieldsOf(kind))
		return r
	}
	for _, f := range d.mapping(n, path, kind) {
		at := join(path, f.name)
		switch f.name {
		case "column":
			r.Column = d.text(f.value, at, "a column")
		case "unit":
			r.Unit = d.text(f.value, at, "one of s, ms, us, ns")
		case "shift":
			r.Shift = d.number(f.value, at)
		case "since":
			const expected = "a time such as 2015-01-01T00:00:00Z"
			written := d.text(f.value, at, expected)
			since, err := time.Parse(time.RFC3339, written)
			if err != nil && written != "" {
				d.fail(f.line, at, " is %s: expected %s", written, expected)
			}
			r.Since = since
		}
	}
	if r.Column == "" {
		d.fail(line(n), path, ".column is missing: it must name a column")
	}
	return r
}

func (d *decoder) reference(n ast.Node, path string, lines map[string]int) *Reference {
	r := &Reference{}
	for _, f := range d.mapping(n, path, "references") {
		lines["references."+f.name] = f.line
		at := join(path, f.name)
		var names []string
		if list, ok := d.resolve(f.value, at).(*ast.SequenceNode); ok {
			for i, item := range list.Values {
				names = append(names, d.text(item, nth(at, i), "a column"))
			}
		} else {
			names = []string{d.text(f.value, at, "a column, or a list of columns")}
		}
		if f.name == "column" {
			r.Column = names
		} else {
			r.To = names
		}
	}
	return r
}

// pairs reads conditions, or what is set. Their lines are noted below the field's name.
func (d *decoder) pairs(n ast.Node, path string, lines map[string]int, name string) []Pair {
	var out []Pair
	for _, f := range d.mapping(n, path, "") {
		lines[join(name, f.name)] = f.line
		out = append(out, Pair{f.name, d.value(f.value, join(path, f.name))})
	}
	return out
}

var plainNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

func (d *decoder) value(n ast.Node, path string) Value {
	const expected = "a text, a number, true, false, null, or a name that begins with $"
	var s string
	switch v := d.resolve(n, path).(type) {
	case *ast.NullNode:
		return Value{}
	case *ast.BoolNode:
		return Value{Bool, strconv.FormatBool(v.Value)}
	case *ast.IntegerNode, *ast.FloatNode:
		if written := v.GetToken().Value; plainNumber.MatchString(written) {
			return Value{Number, written}
		}
		d.fail(line(n), path, " is %s: expected a decimal number such as 10, or quotes around a text", describe(v))
		return Value{}
	case *ast.StringNode:
		s = v.Value
	case *ast.LiteralNode:
		s = v.Value.Value
	default:
		d.fail(line(n), path, " is %s: expected %s", describe(v), expected)
		return Value{}
	}
	if strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
		d.fail(line(n), path, " is %s: expected a text without NUL, in UTF-8", strconv.Quote(s))
		return Value{}
	}
	name, isName := strings.CutPrefix(s, "$")
	column, isNewest := strings.CutPrefix(name, "newest.")
	switch {
	case !isName:
		return Value{Text, s}
	case strings.HasPrefix(name, "$"):
		return Value{Text, name}
	case name == "count":
		return Value{Kind: Count}
	case isNewest:
		return Value{Newest, column}
	}
	return Value{Name, name}
}

// id reads one of the plan's ids.
func (d *decoder) id(f field) ID {
	path := join("ids", f.name)
	id := ID{Name: f.name, line: f.line, lines: map[string]int{}}
	split, lookup := Split{}, Lookup{}
	var of []string
	for _, g := range d.mapping(f.value, path, "an id") {
		at := join(path, g.name)
		id.lines[g.name] = g.line
		if g.name == "split" || g.name == "lookup" {
			of = append(of, g.name)
		}
		switch g.name {
		case "split":
			split.Of = d.text(g.value, at, "app, user or conversation, with at and part beside split")
		case "at":
			split.At = d.text(g.value, at, "the text between the parts")
		case "part":
			split.Part = d.number(g.value, at)
		case "lookup":
			lookup.Table = d.text(g.value, at, "a table, with where and column beside lookup")
		case "where":
			lookup.Where = d.pairs(g.value, at, id.lines, g.name)
		case "column":
			lookup.Column = d.text(g.value, at, "a column")
		}
	}
	switch {
	case len(of) != 1:
		d.add(f.line, "%s: expected either split, at and part, or lookup, where and column", path)
	case of[0] == "split":
		id.Split = &split
	default:
		id.Lookup = &lookup
	}
	return id
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func nth(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
