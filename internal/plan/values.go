package plan

import (
	"fmt"
	"slices"
	"strings"
)

// conditions finds the columns of an entry's conditions, and what they are compared with.
func (k *checker) conditions(m *member, e Entry) []condition {
	short := map[Pair]string{
		{e.App, Value{Name, "app"}}: "app", {e.User, Value{Name, "user"}}: "user", {e.Conversation, Value{Name, "conversation"}}: "conversation",
	}
	var out []condition
	for _, p := range e.Conditions() {
		field := short[p]
		if field == "" {
			field = "where." + p.Column
		}
		out = append(out, k.condition(m, field, p))
	}
	return out
}

// condition finds one.
func (k *checker) condition(m *member, field string, p Pair) condition {
	col := k.column(m, field, p.Column)
	c := condition{column: quote(col.name), max: col.max}
	switch {
	case p.Value.Kind == Null:
		k.wantConstant(m, field, col, p.Value)
		c.value.constant = " is null"
		m.nulls = append(m.nulls, col.name)
		return c
	case p.Value.Kind != Name:
		k.wantConstant(m, field, col, p.Value)
		c.value.constant = constant(col, p.Value.Text)
		m.constants = append(m.constants, col.name)
		return c
	}
	m.keys, m.ids = append(m.keys, col.name), append(m.ids, p.Value.String())
	id, planned := k.plan.ID(p.Value.Text)
	if planned && id.Lookup != nil {
		c.typ, c.value.lookup = k.lookup(m, field, col, id)
		return c
	}
	var why string
	if c.typ, why = keyTypeOf(col); c.typ == sameKey {
		k.refuse("%s.%s: column %s of %s is %s%s; a key must be text, varchar, bigint, integer or uuid", m.path, field, quote(col.name), m.rel, col.typeName, why)
	}
	c.value.id = p.Value.Text + "_id"
	if planned {
		c.value.id, c.value.part = id.Split.Of+"_id", k.part(*id.Split)
	}
	return c
}

// constant is the condition behind the column that it has this value.
func constant(c column, value string) string {
	if slices.Contains(textTypes, c.typ) {
		return "::text = " + text(value)
	}
	return " = " + text(value) + "::" + c.typeName
}

// part counts how many parts the id has: as many as the greatest that the plan names.
func (k *checker) part(s Split) idPart {
	p := idPart{at: s.At, n: s.Part}
	for _, id := range k.plan.IDs {
		if o := id.Split; o != nil && o.Of == s.Of && o.At == s.At {
			p.of = max(p.of, o.Part)
		}
	}
	return p
}

// lookup finds the table, with which the column is compared. Text may be compared with a number or a
// UUID, as Postgres writes it.
func (k *checker) lookup(m *member, field string, col column, id ID) (keyType, *lookup) {
	found := k.lookups[id.Name]
	if found == nil {
		found = k.newLookup(id)
	}
	with := found.column
	switch {
	case col.typ == 0 || with.typ == 0:
	case slices.Contains(textTypes, col.typ) && (joinable(col, with) || isInteger(with) || with.typeName == "uuid"):
		return textKey, found.lookup
	case !joinable(col, with):
		k.refuse("%s.%s: column %s of %s is %s, and $%s, %s of %s, is %s; both must be of one type and collation, or the first text",
			m.path, field, quote(col.name), m.rel, col.typeName, id.Name, quote(with.name), found.rel, with.typeName)
	}
	return sameKey, found.lookup
}

// lookedUp is a table in which ids are looked up.
type lookedUp struct {
	member
	column column // what is found
	lookup *lookup
}

// newLookup finds the table of an id and its columns. Of two rows with the same key the statements would find
// just any.
func (k *checker) newLookup(id ID) *lookedUp {
	l := &lookedUp{member: k.member("ids."+id.Name, id.Lookup.Table), lookup: &lookup{}}
	if k.lookups == nil {
		k.lookups = map[string]*lookedUp{}
	}
	k.lookups[id.Name] = l
	l.lookup.table = name(l.rel)
	l.column = k.column(&l.member, "column", id.Lookup.Column)
	l.lookup.column, l.lookup.typeName = quote(l.column.name), l.column.typeName
	for _, p := range id.Lookup.Where {
		l.lookup.conditions = append(l.lookup.conditions, k.condition(&l.member, "where."+p.Column, p))
	}
	if by := l.found(); l.rel != nil && !slices.Contains(by, "") && !l.rel.unique(by...) {
		k.refuse("%s: nothing keeps two rows of %s from having the same %s, so that $%s could be either's (a unique index on an expression, such as lower(jid), doesn't count; ids are compared as written); run: %s",
			l.path, l.rel, strings.Join(by, ", "), id.Name, createIndex("create unique index", l.rel, by))
	}
	return l
}

// found are the columns by which an index finds the member's rows.
func (m *member) found() []string { return append(slices.Clone(m.keys), m.constants...) }

// spell makes a text column match a UUID as Postgres writes it where another
// table has a uuid column for the same id: an id that comes in upper case must be
// found in both.
func (k *checker) spell(s *Checked) {
	var all []struct {
		table      string
		conditions []condition
	}
	add := func(table string, conditions []condition) {
		all = append(all, struct {
			table      string
			conditions []condition
		}{table, conditions})
	}
	for _, t := range s.found() {
		add(t.Name, t.conditions)
	}
	for _, id := range k.plan.IDs {
		if l := k.lookups[id.Name]; l != nil {
			add(l.lookup.table, l.lookup.conditions)
		}
	}
	uuids := map[string]string{} // the id, or its part: the table
	for _, t := range all {
		for _, c := range t.conditions {
			if c.typ == uuidKey && c.value.id != "" {
				uuids[c.value.String()] = t.table
			}
		}
	}
	for _, t := range all {
		for i, c := range t.conditions {
			if other := uuids[c.value.String()]; c.typ == textKey && c.value.id != "" && other != "" {
				t.conditions[i].typ = uuidTextKey
				k.warnings = append(k.warnings, fmt.Sprintf("%s is uuid in %s and text in %s: rows of the latter are found only if it is in lower case there", c.value, other, t.table))
			}
		}
	}
}
