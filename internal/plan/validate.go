package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/lethe-im/lethe/internal/purge"
)

// validator finds what is wrong with a plan alone, whatever the tables are.
type validator struct {
	problems
	plan Plan
	// ownerless is set where no condition of the messages uses $user.
	ownerless bool
}

// validate returns what is wrong with the plan, beside what is known.
func (p Plan) validate(known problems) error {
	v := &validator{problems: known, plan: p}
	v.ids()
	v.messages()
	v.members()
	v.everyone()
	v.conversations()
	for i, c := range p.Children {
		path := nth("children", i)
		v.child(path, c)
		v.below(path, c)
	}
	if app := v.usesApp(); (p.Tenant == "") != app {
		found := "no condition uses $app, and there is no tenant"
		if app {
			found = "a condition uses $app, and there is a tenant"
		}
		v.add(0, "tenant: %s: name the one app that the tables belong to if, and only if, they have no app column", found)
	}
	return v.err()
}

// messages checks the messages' entry and its parents, one of which has the position where the
// messages have none.
func (v *validator) messages() {
	m := v.plan.Messages
	if m.line == 0 && m.Table == "" {
		v.add(0, "messages is missing: expected a mapping%s", fieldsOf("messages"))
		return
	}
	conds := m.Conditions()
	v.entry("messages", m)
	pointed := v.plan.Pointed()
	for i, parent := range m.Parents {
		path := nth("messages.parents", i)
		v.entry(path, parent)
		v.needsReference(path, parent)
		switch {
		case i == pointed:
			conds = append(conds, parent.Conditions()...)
		case parent.Seq.Column != "":
			v.add(parent.at("seq"), "%s.seq: %s has the position already: just one entry may have it", path, v.seqAt())
		case m.Seq.Column == "" && pointed < 0: // which is said below
		case parent.Columns != Columns{}:
			v.add(parent.line, "%s: app, user and conversation belong to the entry with seq, %s: expected where", path, v.seqAt())
		case parent.SentAt.Column != "":
			v.add(parent.at("sent_at"), "%s.sent_at: expected it beside seq, at %s", path, v.seqAt())
		}
		v.below(path, parent)
	}
	if m.Seq.Column == "" && pointed < 0 {
		v.add(m.line, "messages.seq is missing: it must name a column, or one of the messages' parents must have seq")
	}
	v.ownerless = v.plan.binds(conds, "user") == notAtAll
	v.bound("messages", m, conds)
}

// seqAt is the path of the entry with the position.
func (v *validator) seqAt() string {
	if i := v.plan.Pointed(); i >= 0 {
		return nth("messages.parents", i)
	}
	return "messages"
}

func (v *validator) conversations() {
	c := v.plan.Conversations
	switch {
	case c.Table != "":
		v.entry("conversations", c)
		v.bound("conversations", c, c.Conditions())
	case len(c.Conditions()) > 0 || c.Unread != "" || c.Keep || len(c.Set) > 0:
		v.add(c.line, "conversations.table is missing: it must name a table")
	case c.line > 0 && len(c.Children) == 0:
		v.add(c.line, "conversations is empty: give a table, or children, or leave it out")
	}
	if c.Keep && len(c.Children) > 0 {
		v.add(c.at("keep"), "conversations.keep: children go with the conversation's row, which never goes; take out keep or the children")
	}
	for i, child := range c.Children {
		path := nth("conversations.children", i)
		v.entry(path, child)
		if child.References == nil {
			v.bound(path, child, child.Conditions())
		} else if c.Table == "" {
			v.add(child.at("references"), "%s.references: there is no conversations.table to refer to", path)
		}
	}
}

// child checks a child of messages.
func (v *validator) child(path string, c Entry) {
	v.entry(path, c)
	switch {
	case c.References == nil && c.Seq.Column == "" && !v.silent(path+".seq"):
		v.add(c.line, "%s.references is missing: expected it, or the messages' own columns: user, conversation and seq (and app)", path)
	case c.References == nil:
		v.bound(path, c, c.Conditions())
		if c.Seq.Unit != "" || v.plan.Messages.Seq.Unit != "" {
			v.add(c.at("seq"), "%s.seq: a position that is a time may belong to several messages: expected references", path)
		}
		if len(c.Set) > 0 {
			v.add(c.at("set"), "%s.set: a row that stays must lose its reference to the message: expected references", path)
		}
	case c.Seq.Column != "" || c.Columns != Columns{}:
		v.add(c.line, "%s: give either references or app, user, conversation and seq, not both", path)
	}
	v.sets(path, c)
}

// below checks what is below an entry: its children and parents, at any depth.
func (v *validator) below(path string, e Entry) {
	for _, list := range e.below() {
		for i, below := range list.entries {
			at := nth(path+"."+list.field, i)
			v.entry(at, below)
			v.needsReference(at, below)
			v.sets(at, below)
			v.below(at, below)
		}
	}
	if len(e.Set) > 0 && len(e.Children)+len(e.Parents) > 0 {
		v.add(e.at("set"), "%s.set: the row stays, and so do its children and parents; take out set, or them", path)
	}
}

func (v *validator) needsReference(path string, e Entry) {
	if e.References == nil {
		v.add(e.line, "%s.references is missing: it must join %s to the entry above", path, or(e.Table, "the table"))
	}
}

// sets checks that a child which is updated isn't found again.
func (v *validator) sets(path string, e Entry) {
	if len(e.Set) == 0 || e.References == nil {
		return
	}
	if !slices.ContainsFunc(e.Set, func(p Pair) bool { return p.Value.Kind == Null && slices.Contains(e.References.Column, p.Column) }) {
		v.add(e.at("set"), "%s.set: expected %s: null, or else the row would be found again", path, strings.Join(e.References.Column, ": null or "))
	}
	for _, p := range e.Set {
		if p.Value.Kind == Count || p.Value.Kind == Newest {
			v.add(e.at("set."+p.Column), "%s.set.%s: %s is only for the conversation's row: expected a constant or null", path, p.Column, p.Value)
		}
	}
}

// entry checks what all entries have.
func (v *validator) entry(path string, e Entry) {
	v.table(e.at("table"), path+".table", e.Table)
	by := map[string]string{}
	column := func(field, name string) {
		v.column(e.at(field), path+"."+field, name)
		if other := by[name]; other != "" && name != "" {
			v.add(e.at(field), "%s.%s: column %s is %s already", path, field, name, other)
		}
		by[name] = field
	}
	optional := func(field, name string) {
		if name != "" {
			column(field, name)
		}
	}
	optional("app", e.App)
	optional("conversation", e.Conversation)
	optional("seq", e.Seq.Column)
	if e.SentAt.Column != e.Seq.Column { // which may be a time
		optional("sent_at", e.SentAt.Column)
	}
	optional("user", e.User)
	for _, p := range e.Where {
		column("where."+p.Column, p.Column)
		v.value(e.at("where."+p.Column), path+".where."+p.Column, p.Value)
	}
	v.reading(e, path, "seq", e.Seq)
	v.reading(e, path, "sent_at", e.SentAt)
	optional("watermark", e.Watermark.Column)
	v.reading(e, path, "watermark", e.Watermark)
	optional("visible_from", e.VisibleFrom.Column)
	v.reading(e, path, "visible_from", e.VisibleFrom)
	if e.Unread != "" {
		v.column(e.at("unread"), path+".unread", e.Unread)
	}
	for _, p := range e.Set {
		v.column(e.at("set."+p.Column), path+".set", p.Column)
		switch {
		case p.Column == e.Unread:
			v.add(e.at("set."+p.Column), "%s.set.%s: the column is unread already", path, p.Column)
		case by[p.Column] != "":
			v.add(e.at("set."+p.Column), "%s.set.%s: rows are found by the column, as %s", path, p.Column, by[p.Column])
		case p.Value.Kind == Name:
			v.add(e.at("set."+p.Column), "%s.set.%s is %s: expected a constant, null, $count or $newest.column", path, p.Column, p.Value)
		case p.Value.Kind == Newest:
			v.column(e.at("set."+p.Column), path+".set."+p.Column, p.Value.Text)
		}
	}
	if e.References != nil {
		v.reference(e, path+".references", *e.References)
	}
	if e.References != nil && e.Seq.Column == "" {
		for _, p := range e.Where {
			if v.plan.commands(p.Value) {
				v.add(e.at("where."+p.Column), "%s.where.%s is %s: the reference says whose the row is; expected a constant or null, or what is looked up by constants", path, p.Column, p.Value)
			}
		}
	}
}

func (v *validator) reference(e Entry, path string, r Reference) {
	for _, side := range []struct {
		field string
		names []string
	}{{"column", r.Column}, {"to", r.To}} {
		at := e.at("references." + side.field)
		if len(side.names) == 0 {
			v.add(at, "%s.%s is missing: it must name a column", path, side.field)
		}
		for _, name := range side.names {
			v.column(at, path+"."+side.field, name)
		}
	}
	if len(r.Column) != len(r.To) && len(r.Column) > 0 && len(r.To) > 0 {
		v.add(e.at("references"), "%s: %s to %d in to: expected lists of one length", path, purge.Count(len(r.Column), "column refers", "columns refer"), len(r.To))
	}
}

var units = []string{"s", "ms", "us", "ns"}

func (v *validator) reading(e Entry, path, field string, r Reading) {
	if r.Unit != "" && !slices.Contains(units, r.Unit) {
		v.add(e.at(field), "%s.%s.unit is %s: expected one of %s", path, field, r.Unit, strings.Join(units, ", "))
	}
	if r.Shift < 0 || r.Shift > 62 {
		v.add(e.at(field), "%s.%s.shift is %d: expected 0 to 62 bits", path, field, r.Shift)
	}
	if r.Unit == "" && (r.Shift != 0 || !r.Since.IsZero()) {
		v.add(e.at(field), "%s.%s.unit is missing: shift and since are for a number, expected one of %s", path, field, strings.Join(units, ", "))
	}
}

// ids checks the plan's ids, and that none needs itself.
func (v *validator) ids() {
	seen := map[string]bool{}
	for _, id := range v.plan.IDs {
		path := join("ids", id.Name)
		if slices.Contains(commandIDs, id.Name) || id.Name == "count" || id.Name == "newest" || strings.ContainsAny(id.Name, "$. ") || id.Name == "" {
			v.add(id.line, "%s: the name is taken, or not one word without dots and dollar signs: expected another", path)
		}
		seen[id.Name] = true
		switch {
		case id.Split != nil:
			v.split(id, path)
		case id.Lookup != nil:
			v.lookup(id, path)
		}
	}
}

func (v *validator) split(id ID, path string) {
	if !slices.Contains(commandIDs, id.Split.Of) {
		v.add(id.at("split"), "%s.split is %s: expected app, user or conversation", path, or(id.Split.Of, "missing"))
	}
	if id.Split.At == "" {
		v.add(id.at("at"), "%s.at is missing: expected the text between the parts", path)
	}
	if id.Split.Part < 1 || id.Split.Part > maxParts {
		v.add(id.at("part"), "%s.part is %d: expected 1 to %d", path, id.Split.Part, maxParts)
	}
	for _, f := range []string{"where", "column"} {
		if id.lines[f] > 0 {
			v.add(id.at(f), "%s.%s is for a lookup: expected split, at and part alone", path, f)
		}
	}
}

// maxParts is more than any id has.
const maxParts = 100

func (v *validator) lookup(id ID, path string) {
	v.table(id.at("lookup"), path+".lookup", id.Lookup.Table)
	v.column(id.at("column"), path+".column", id.Lookup.Column)
	if len(id.Lookup.Where) == 0 {
		v.add(id.at("where"), "%s.where is missing: expected the conditions that find the row", path)
	}
	for _, p := range id.Lookup.Where {
		v.column(id.at("where."+p.Column), path+".where", p.Column)
		v.value(id.at("where."+p.Column), path+".where."+p.Column, p.Value)
	}
	uses := map[string]bool{}
	for _, w := range id.Lookup.Where {
		maps.Copy(uses, v.plan.needs(w.Value))
	}
	if uses[id.Name] {
		v.add(id.line, "%s needs itself: $%s is found by way of $%s: expected an id that is found by the command's", path, id.Name, strings.Join(slices.Sorted(maps.Keys(uses)), ", $"))
	}
	for _, f := range []string{"at", "part"} {
		if id.lines[f] > 0 {
			v.add(id.at(f), "%s.%s is for a split: expected lookup, where and column alone", path, f)
		}
	}
}

// commandIDs are the names of the command's ids.
var commandIDs = []string{"app", "user", "conversation"}

// value checks a condition's value.
func (v *validator) value(line int, path string, val Value) {
	switch val.Kind {
	case Count, Newest:
		v.add(line, "%s is %s, which is only for the conversation's set: expected a constant, null or an id", path, val)
	case Name:
		if _, ok := v.plan.ID(val.Text); !ok && !slices.Contains(commandIDs, val.Text) {
			names := []string{"$app", "$user", "$conversation"}
			for _, id := range v.plan.IDs {
				names = append(names, "$"+id.Name)
			}
			v.add(line, "%s is %s, which no id is called: expected one of %s, or $%[2]s for a text that begins with a dollar sign", path, val, strings.Join(names, ", "))
		}
	case Null, Text, Number, Bool:
	}
}

// needs are the names that a value depends on: its own, and those of the ids by which it is looked up.
func (p Plan) needs(val Value) map[string]bool {
	seen := map[string]bool{}
	var visit func(Value)
	visit = func(val Value) {
		if val.Kind != Name || seen[val.Text] {
			return
		}
		seen[val.Text] = true
		if id, _ := p.ID(val.Text); id.Lookup != nil {
			for _, w := range id.Lookup.Where {
				visit(w.Value)
			}
		}
	}
	visit(val)
	return seen
}

// commands reports whether the value depends on an id of the command.
func (p Plan) commands(val Value) bool {
	for name := range p.needs(val) {
		if id, ok := p.ID(name); !ok && slices.Contains(commandIDs, name) || id.Split != nil {
			return true
		}
	}
	return false
}

// binding is how far the conditions say whose rows they find, by an id of the command.
type binding int

const (
	notAtAll binding = iota
	partly           // by some parts of the id
	wholly
)

// binds says how far the conditions tell the command's id of this name: by itself, or by all of its parts.
func (p Plan) binds(conds []Pair, name string) binding {
	used := map[string]bool{}
	for _, c := range conds {
		maps.Copy(used, p.needs(c.Value))
	}
	if used[name] {
		return wholly
	}
	type part struct {
		at string
		n  int
	}
	named, greatest := map[part]bool{}, map[string]int{}
	for _, id := range p.IDs {
		if s := id.Split; s != nil && s.Of == name {
			named[part{s.At, s.Part}] = named[part{s.At, s.Part}] || used[id.Name]
			greatest[s.At] = max(greatest[s.At], s.Part)
		}
	}
	out := notAtAll
	for at, of := range greatest {
		n := 0
		for i := range min(of, maxParts) {
			if named[part{at, i + 1}] {
				n++
			}
		}
		switch {
		case n == of:
			return wholly
		case n > 0:
			out = partly
		}
	}
	return out
}

func (v *validator) usesApp() bool {
	return slices.ContainsFunc(v.plan.Entries(), func(e Placed) bool { return v.plan.binds(e.Conditions(), "app") != notAtAll })
}

// bound wants conditions on each of the command's ids, for else other people's rows would go. Where no entry
// has one on the app, that is said once, of the tenant.
func (v *validator) bound(path string, e Entry, conds []Pair) {
	for _, name := range commandIDs {
		if name == "user" && path != "members" && v.unowned(path, e, conds) {
			continue
		}
		how := v.plan.binds(conds, name)
		rows := "other people's rows"
		if name != "user" {
			rows = "rows of every " + name
		}
		switch {
		case how == wholly || name == "app" && (v.plan.Tenant != "" || !v.usesApp()):
		case how == partly:
			v.add(e.line, "%s.%s is bound by a part of $%[2]s only: expected conditions on all of its parts; without them, %s with the same part would go", path, name, rows)
		default:
			v.add(e.line, "%s.%s is missing: expected a column, or a condition on $%[2]s under where; without one, %s would go", path, name, rows)
		}
	}
}

func (v *validator) table(line int, path, name string) {
	if name == "" {
		v.add(line, "%s is missing: it must name a table", path)
	} else if _, err := parseTable(name); err != nil {
		v.add(line, "%s: %s: %s", path, name, err)
	}
}

func (v *validator) column(line int, path, name string) {
	if name == "" {
		v.add(line, "%s is missing: it must name a column", path)
	} else if _, err := parseColumn(name); err != nil {
		v.add(line, "%s: %s: %s", path, name, err)
	}
}

// at is the line of a field, or of the nearest above it.
func (e Entry) at(field string) int { return nearest(e.lines, field, e.line) }

func (id ID) at(field string) int { return nearest(id.lines, field, id.line) }

func nearest(lines map[string]int, field string, otherwise int) int {
	for field != "" {
		if l := lines[field]; l > 0 {
			return l
		}
		field = field[:max(0, strings.LastIndexByte(field, '.'))]
	}
	return otherwise
}
