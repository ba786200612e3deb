package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// planTable is a table as a plan writes it.
func planTable(r *relation) string {
	part := func(s string) string {
		if strings.ContainsAny(s, `."`) {
			return quote(s)
		}
		return s
	}
	return part(r.schema) + "." + part(r.name)
}

// plainScalar needs no quotes in YAML, unless it is one of the words that mean something else.
var (
	plainScalar = regexp.MustCompile(`^\$?[A-Za-z_][A-Za-z0-9_.]*$`)
	yamlWords   = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
)

// scalar writes a text as YAML.
func scalar(s string) string {
	if plainScalar.MatchString(s) && !slices.Contains(yamlWords, strings.ToLower(s)) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

func scalars(all []string) string {
	if len(all) == 1 {
		return scalar(all[0])
	}
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = scalar(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func pairs(all []Pair) string {
	out := make([]string, len(all))
	for i, p := range all {
		v := p.Value.String()
		if p.Value.Kind == Text {
			v = scalar(v)
		}
		out[i] = scalar(p.Column) + ": " + v
	}
	return "{" + strings.Join(out, ", ") + "}"
}

func (r Reading) yaml() string {
	if r.Unit == "" {
		return scalar(r.Column)
	}
	return fmt.Sprintf("{column: %s, unit: %s}", scalar(r.Column), r.Unit)
}

// yamlField is a field of an entry.
type yamlField struct{ name, value string }

// yamlFields are an entry's own, without the lists below it.
func (e Entry) yamlFields() []yamlField {
	all := []yamlField{{"table", scalar(e.Table)}}
	add := func(name, value string, there bool) {
		if there {
			all = append(all, yamlField{name, value})
		}
	}
	if e.References != nil {
		add("references", fmt.Sprintf("{column: %s, to: %s}", scalars(e.References.Column), scalars(e.References.To)), true)
	}
	add("app", scalar(e.App), e.App != "")
	add("user", scalar(e.User), e.User != "")
	add("conversation", scalar(e.Conversation), e.Conversation != "")
	add("where", pairs(e.Where), len(e.Where) > 0)
	add("seq", e.Seq.yaml(), e.Seq.Column != "")
	add("sent_at", e.SentAt.yaml(), e.SentAt.Column != "")
	add("watermark", e.Watermark.yaml(), e.Watermark.Column != "")
	add("unread", scalar(e.Unread), e.Unread != "")
	add("set", pairs(e.Set), len(e.Set) > 0)
	add("keep", "true", e.Keep)
	return all
}

// flow writes an entry on one line.
func flow(e Entry) string {
	var parts []string
	for _, f := range e.yamlFields() {
		parts = append(parts, f.name+": "+f.value)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func flowID(id ID) string {
	return fmt.Sprintf("{lookup: %s, where: %s, column: %s}", scalar(id.Lookup.Table), pairs(id.Lookup.Where), scalar(id.Lookup.Column))
}

// text writes the draft as YAML. questions is how often open stands in it.
func (d *draft) text() (text string, questions int) {
	plan := d.planText()
	questions = strings.Count(plan, open)
	w := &draftWriter{draft: d}
	asks := ""
	if questions > 0 {
		asks = fmt.Sprintf("Each %s is a question: the plan is refused until it is answered. ", open)
	}
	w.comment("", "A first plan, drafted from the catalog. "+asks+"Read all of it, then run: worker plan check --plan FILE")
	for _, h := range d.head {
		w.comment("", h)
	}
	return w.b.String() + plan, questions
}

// planText is the plan without the comments at the top.
func (d *draft) planText() string {
	w := &draftWriter{draft: d}
	if d.plan.Tenant != "" {
		w.notes("", "tenant")
		w.line("", "tenant: "+scalar(d.plan.Tenant))
	}
	if len(d.plan.IDs) > 0 {
		w.notes("", "ids")
		w.line("", "ids:")
		for _, id := range d.plan.IDs {
			w.line("  ", id.Name+": "+flowID(id))
		}
	}
	w.notes("", "messages")
	w.line("", "messages:")
	w.fields("  ", "  ", "messages", d.plan.Messages)
	switch {
	case d.plan.Members != nil:
		w.notes("", "members")
		w.line("", "members:")
		w.fields("  ", "  ", "members", *d.plan.Members)
	case d.plan.NoMembers:
		w.notes("", "members")
		w.line("", "members: "+d.none)
	}
	if d.plan.Conversations.Table != "" {
		w.notes("", "conversations")
		w.line("", "conversations:")
		w.fields("  ", "  ", "conversations", d.plan.Conversations)
	}
	w.list("", "children", "children", d.plan.Children)
	return w.b.String()
}

// draftWriter writes lines of YAML.
type draftWriter struct {
	*draft
	b strings.Builder
}

func (w *draftWriter) line(indent, text string) { w.b.WriteString(indent + text + "\n") }

// comment writes a text in lines that fit a screen.
func (w *draftWriter) comment(indent, text string) {
	line := "#"
	for _, word := range strings.Fields(text) {
		if len(indent)+len(line)+1+len(word) > 120 {
			w.line(indent, line)
			line = "#  "
		}
		line += " " + word
	}
	w.line(indent, line)
}

func (w *draftWriter) notes(indent, path string) {
	for _, n := range w.draft.notes[path] {
		w.comment(indent, n)
	}
}

// fields writes an entry, one field to a line; first is what the first line begins with.
func (w *draftWriter) fields(first, indent, path string, e Entry) {
	for i, f := range e.yamlFields() {
		w.notes(indent, path+"."+f.name)
		begin := indent
		if i == 0 {
			begin = first
		}
		w.line(begin, f.name+": "+f.value)
	}
	w.list(indent, path+".children", "children", e.Children)
	w.list(indent, path+".parents", "parents", e.Parents)
}

// list writes a list of entries, and those that it may need as comments.
func (w *draftWriter) list(indent, path, name string, all []Entry) {
	maybe, comment := w.maybe[path], "  # "
	if len(all) > 0 {
		w.line(indent, name+":")
	} else if len(maybe) > 0 {
		w.line(indent, "# "+name+":")
		comment = "#   "
	}
	for i, e := range all {
		at := nth(path, i)
		w.notes(indent+"  ", at)
		if w.simple(at, e) {
			w.line(indent, "  - "+flow(e))
		} else {
			w.fields(indent+"  - ", indent+"    ", at, e)
		}
	}
	for _, m := range maybe {
		w.line(indent, comment+m)
	}
}

// simple reports whether an entry fits on a line.
func (w *draftWriter) simple(path string, e Entry) bool {
	below := func(noted map[string][]string) bool {
		for p := range noted {
			if strings.HasPrefix(p, path+".") {
				return true
			}
		}
		return false
	}
	return len(e.Children)+len(e.Parents) == 0 && !below(w.draft.notes) && !below(w.maybe)
}
