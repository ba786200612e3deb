package plan

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// tree builds the entries below the messages, in the order in which their rows go: what refers
// to a row comes before it.
func (k *checker) tree(s *Checked) {
	for i, e := range k.plan.Children {
		k.child(s, nth("children", i), e, &k.messages, nil)
	}
	for i, e := range k.plan.Messages.Parents {
		s.Parents = append(s.Parents, k.parent(s, nth("messages.parents", i), e, &k.messages, nil))
	}
	for i, e := range k.plan.Conversations.Children {
		s.Conversations.Children = append(s.Conversations.Children, k.conversationChild(nth("conversations.children", i), e))
	}
}

// child builds an entry of children, after those below it. above is what it belongs to, and path leads there.
func (k *checker) child(s *Checked, at string, e Entry, above *member, path []hop) *Child {
	m := k.member(at, e.Table)
	m.above, m.where = above, e.Where
	c := &Child{Path: at, messageSeq: s.Messages.Seq, path: path}
	c.Table = k.table(&m, e)
	if e.References != nil {
		c.Reference = k.reference(&m, &m, above, *e.References)
		s.Locked = true
		k.wantUnique(m.path, above.rel, e.References.To, "the deletion of one would remove child rows of the other")
	} else {
		m.above = nil
		c.Seq = k.seq(&m, e.Seq.Column)
		switch {
		case s.Messages.pointer != nil:
			k.refuse("%s.seq: the messages are pointers and have no position; join %s by references", m.path, name(m.rel))
		case s.Messages.time:
			k.refuse("%s.seq: the messages' position is a time, which several may share; join %s by references", m.path, name(m.rel))
		}
	}
	c.Set = k.assigned(&m, e.Set)
	below := append(slices.Clone(path), hop{child: c})
	for i, b := range e.Children {
		c.Children = append(c.Children, k.child(s, nth(at+".children", i), b, &m, below))
	}
	for i, b := range e.Parents {
		if len(b.Children) > 0 {
			k.refuse("%s.children: a parent of a child has no children in a plan; leave them to its foreign keys (on delete cascade, or set null)", nth(at+".parents", i))
		}
		c.Parents = append(c.Parents, k.parent(s, nth(at+".parents", i), b, &m, nil))
	}
	k.children = append(k.children, m)
	s.Children = append(s.Children, c)
	return c
}

// parent builds an entry of parents, and the children below it. above are the rows that refer to it.
func (k *checker) parent(s *Checked, at string, e Entry, above *member, path []hop) *Parent {
	m, p := k.pointed, &Parent{Path: at}
	if at == m.path { // its conditions are the messages', too
		p.Table = Table{Name: name(m.rel), Partitioned: m.rel != nil && m.rel.partitioned}
	} else {
		m = k.member(at, e.Table)
		p.Table = k.table(&m, e)
	}
	m.above, m.parent, m.where = above, true, e.Where
	p.Reference = k.reference(&m, above, &m, *e.References)
	if at == k.pointed.path {
		s.Messages.pointer.reference = p.Reference
		s.Messages.UniqueSeq = m.rel != nil && above.rel != nil && !s.Messages.time && m.rel.unique(append(m.found(), m.seq)...) &&
			above.rel.unique(append(above.found(), m.ref.Column...)...)
	}
	s.Locked = true
	k.wantUnique(m.path, m.rel, e.References.To, "the row would be none that goes with the last reference")
	p.Referrers = append(p.Referrers, Referrer{Table{Name: above.name(), Partitioned: above.rel != nil && above.rel.partitioned}, p.Reference, true})
	for i, b := range e.KeptBy {
		keeper := k.member(nth(at+".kept_by", i), b.Table)
		keeper.above, keeper.where = &m, b.Where
		p.Referrers = append(p.Referrers, Referrer{k.table(&keeper, b), k.reference(&keeper, &keeper, &m, *b.References), keeper.rel == above.rel})
		k.keepers = append(k.keepers, keeper)
	}
	if len(e.Parents) > 0 {
		k.refuse("%s.parents: a parent has no parents in a plan", at)
	}
	for i, b := range e.Children {
		p.Children = append(p.Children, k.child(s, nth(at+".children", i), b, &m, append(slices.Clone(path), hop{parent: p})))
	}
	k.parents = append(k.parents, m)
	return p
}

// reference finds both ends of a reference of m, from the rows of one table to those of another.
func (k *checker) reference(m, from, to *member, r Reference) reference {
	var out reference
	found := Reference{}
	for i := range r.Column {
		c, t := k.columnOf(m, from, "references.column", r.Column[i]), k.columnOf(m, to, "references.to", r.To[i])
		found.Column, found.To = append(found.Column, c.name), append(found.To, t.name)
		if c.typ == 0 || t.typ == 0 {
			continue
		}
		cast, ok := comparedAs(c, t, m == from)
		if !ok {
			k.refuse("%s.references: column %s of %s is %s and %s of %s is %s; both must be of one type and collation", m.path,
				quote(c.name), from.rel, c.typeName, quote(t.name), to.rel, t.typeName)
		}
		out = append(out, pairOf{quote(c.name), quote(t.name), cast})
	}
	m.ref = found
	return out
}

// comparedAs says in which type a column is compared with the one that it refers to, so that an index
// on either can be used, or, for a text that refers to a number or a UUID, on the text.
func comparedAs(from, to column, child bool) (cast string, ok bool) {
	text := slices.Contains(textTypes, from.typ)
	switch {
	case joinable(from, to) && text:
		return "::text", true
	case joinable(from, to):
		return "", true
	}
	return "::text", child && text && (isInteger(to) || to.typ == pgtype.UUIDOID)
}

// wantUnique refuses a reference to what isn't unique.
func (k *checker) wantUnique(path string, rel *relation, columns []string, why string) {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i], _ = parseColumn(c) // validated
		if rel == nil || rel.columns[names[i]].typ == 0 {
			return // which has been reported
		}
	}
	if rel.unique(names...) {
		return
	}
	if rel.kind == "p" { // where no index is unique without the partition key
		for _, i := range rel.indexes {
			if i.unique && !slices.Contains(i.columns, "") && !slices.ContainsFunc(names, func(c string) bool { return !slices.Contains(i.columns, c) }) {
				k.refuse("%s.references.to: %s is partitioned, and %s are unique only together, so that %s; refer to all of them, by as many columns: to: %s", path, rel, list(i.columns), why, scalars(i.columns))
				return
			}
		}
	}
	what := "a column with a unique index on it alone"
	if len(names) > 1 {
		what = "columns with a unique index on them alone"
	}
	k.refuse("%s.references.to: nothing keeps two rows of %s from having the same %s, so that %s; name %s (valid, without a condition)", path, rel, list(names), why, what)
}

// assigned are the assignments of set.
func (k *checker) assigned(m *member, set []Pair) string {
	var out []string
	for _, p := range set {
		c := k.columnOf(m, m, "set", p.Column)
		switch {
		case c.typ == 0:
			continue
		case c.generated:
			k.refuse("%s.set.%s: column %s of %s is generated and can't be set", m.path, p.Column, quote(c.name), m.rel)
		case p.Value.Kind == Null && c.notNull:
			k.refuse("%s.set.%s: column %s of %s may not be null", m.path, p.Column, quote(c.name), m.rel)
		}
		m.sets = append(m.sets, c.name)
		out = append(out, quote(c.name)+" = "+k.assignable(p.Value, c))
	}
	return strings.Join(out, ", ")
}

// Assignment is a column of the conversation's row and what it becomes: a column of the newest message
// that remains, the number of messages that remain, or a constant.
type Assignment struct {
	Column   string // quoted
	Newest   string // quoted; "" for another
	Count    bool
	Constant string
}

// conversationSet are the assignments to a conversation's row.
func (k *checker) conversationSet(set []Pair) []Assignment {
	var out []Assignment
	for _, p := range set {
		if p.Value.Kind != Newest && p.Value.Kind != Count {
			if k.assigned(&k.convs, []Pair{p}) != "" {
				c := k.convs.rel.columns[k.convs.sets[len(k.convs.sets)-1]]
				out = append(out, Assignment{Column: quote(c.name), Constant: k.assignable(p.Value, c)})
			}
			continue
		}
		c := k.columnOf(&k.convs, &k.convs, "set", p.Column)
		if c.typ == 0 {
			continue
		}
		k.convs.sets = append(k.convs.sets, c.name)
		a := Assignment{Column: quote(c.name), Count: p.Value.Kind == Count}
		if a.Count {
			if !isInteger(c) {
				k.refuse("conversations.set.%s: column %s of %s is %s; $count needs smallint, integer or bigint", p.Column, a.Column, k.convs.rel, c.typeName)
			}
		} else {
			of := k.columnOf(&k.convs, &k.messages, "set", p.Value.Text)
			if a.Newest = quote(of.name); of.typ != 0 && of.typ != c.typ && !joinable(of, c) {
				k.refuse("conversations.set.%s: column %s of %s is %s and %s of %s is %s; both must be of one type", p.Column, a.Column, k.convs.rel, c.typeName, a.Newest, k.messages.rel, of.typeName)
			}
			k.newest = append(k.newest, of.name)
		}
		if c.generated {
			k.refuse("conversations.set.%s: column %s of %s is generated and can't be set", p.Column, a.Column, k.convs.rel)
		}
		out = append(out, a)
	}
	return out
}

// assignable is a constant as an expression of the column's type.
func (k *checker) assignable(v Value, c column) string {
	if v.Kind == Null {
		return "null"
	}
	return text(v.Text) + "::" + c.typeName
}

// name is the table's, quoted; "" if there is none.
func (m *member) name() string { return name(m.rel) }

// columnOf finds a column of a table for a field of the entry m.
func (k *checker) columnOf(m, of *member, field, planned string) column {
	at := *of
	at.path = m.path
	return k.column(&at, field, planned)
}

// conversationChild builds an entry of the conversations' children.
func (k *checker) conversationChild(at string, e Entry) *Child {
	m := k.member(at, e.Table)
	c := &Child{Path: at, Table: k.table(&m, e)}
	if e.References != nil {
		m.above = &k.convs
		c.Reference = k.reference(&m, &m, &k.convs, *e.References)
		k.wantUnique(m.path, k.convs.rel, e.References.To, "the rows of one conversation would go with another")
	}
	k.convChildren = append(k.convChildren, m)
	return c
}
