package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Child is a table whose rows go before the row that they belong to: a message, a row of
// another child table, or one of a parent.
type Child struct {
	Table
	Path       string    // in the plan
	Seq        string    // quoted; "" for a reference
	messageSeq string    // the messages' seq column, quoted
	Reference  reference // to the row above; none for a range of positions
	// Set are the assignments by which a row that stays loses its reference; "" where rows are deleted.
	Set string
	// Children refer to this table's rows, and Parents are referred to by them.
	Children []*Child
	Parents  []*Parent
	// path leads from a message down to the row above, or begins with the rows of a range.
	path []hop
}

// Parent is a table whose rows go with the last row that refers to them.
type Parent struct {
	Table
	Path      string    // in the plan
	Reference reference // of the table above to this one
	// Referrers are the tables whose rows keep a row of this one, that of the entry above first.
	Referrers []Referrer
	// Children refer to this table's rows, and go before them.
	Children []*Child
}

// Referrer is a table with rows that refer to a parent's.
type Referrer struct {
	Table
	Reference reference
	// Own is set for the table of the entry above: its rows don't keep the parent when they go, too.
	Own bool
}

// reference is how a row refers to another one: pairs of columns.
type reference []pairOf

// pairOf is a column that refers, and the one that it refers to, both quoted. cast is a type that
// both are compared in, as in [condition.equals]; "" for none.
type pairOf struct{ column, to, cast string }

// joins is the condition that the row from refers to the row to.
func (r reference) joins(from, to string) string {
	conds := make([]string, len(r))
	for i, p := range r {
		conds[i] = fmt.Sprintf("%s.%s%s = %s.%s%[3]s", from, p.column, p.cast, to, p.to)
	}
	return strings.Join(conds, " and ")
}

func (r reference) columns() []string { return mapped(r, func(p pairOf) string { return p.column }) }
func (r reference) targets() []string { return mapped(r, func(p pairOf) string { return p.to }) }

func mapped[T any](list []T, f func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

// where is " and " with the table's own conditions, which are constants; "" without any.
func (t Table) where(row string) string {
	if len(t.conditions) == 0 {
		return ""
	}
	return " and " + t.Match(row, "")
}

// BelongsTo returns the condition that the child's row belongs to the row above, of a deletion q.
func (c *Child) BelongsTo(row, above, q string) string {
	if c.Reference != nil {
		return c.Reference.joins(row, above) + c.where(row)
	}
	return fmt.Sprintf("%s and %s.%s = %s.%s", c.Match(row, q), row, c.Seq, above, c.messageSeq)
}

// BelongsToArgs is [Child.BelongsTo] for a statement about one deletion; see
// [Table.MatchArgs].
func (c *Child) BelongsToArgs(row, above string) string {
	if c.Reference != nil {
		return c.BelongsTo(row, above, "")
	}
	return fmt.Sprintf("%s and %s.%s = %s.%s", c.MatchArgs(row), row, c.Seq, above, c.messageSeq)
}

// Targets are the columns of the row above to which the child's refers.
func (c *Child) Targets(above string) string { return qualified(above, c.Reference.targets()) }

// Refers is the condition that the row above refers to the parent's row.
func (p *Parent) Refers(above, row string) string {
	return p.Reference.joins(above, row) + p.where(row)
}

// Refers is the condition that the referrer's row refers to the parent's.
func (r Referrer) Refers(row, parent string) string {
	return r.Reference.joins(row, parent) + r.where(row)
}

// Columns are the columns of the row above that refer to the parent.
func (p *Parent) Columns(above string) string { return qualified(above, p.Reference.columns()) }

// ParentColumns are the columns of a row that refer to any of the parents.
func ParentColumns(parents []*Parent, row string) string {
	var all []string
	for _, p := range parents {
		all = append(all, p.Reference.columns()...)
	}
	return qualified(row, all)
}

// Targets are the columns of the parent's row that are referred to.
func (p *Parent) Targets(row string) string {
	var all []string
	for _, r := range p.Referrers {
		all = append(all, r.Reference.targets()...)
	}
	for _, c := range p.Children {
		all = append(all, c.Reference.targets()...)
	}
	return qualified(row, all)
}

// qualified lists columns of a row, each once.
func qualified(row string, columns []string) string {
	var out []string
	for _, c := range columns {
		if c = row + "." + c; !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return strings.Join(out, ", ")
}

// Locked is the condition that an earlier statement of the transaction has locked the row, or a trigger or a
// key's action has changed it for us since.
func Locked(row string) string {
	return "pg_catalog.pg_current_xact_id()::xid in (" + row + ".xmax, " + row + ".xmin)"
}

// Doomed is the condition that nothing keeps the row of a parent of messages, which is locked, but messages of
// the batch.
func (s *Checked) Doomed(p *Parent, row string, replay bool) string {
	return Locked(row) + p.unreferred(row, func(r string) string { return s.OutsideBatch(r, replay) })
}

// OutsideBatch is the condition that the message is none of the batch.
func (s *Checked) OutsideBatch(row string, replay bool) string {
	batch := " and " + s.Messages.Above(row, "@low::bigint") + " and " + s.Messages.AtOrBelow(row, "@high::bigint")
	if replay {
		batch += " and " + s.SentBy(row, "@completed_at::timestamptz")
	}
	return "(" + s.Messages.is(row, batch) + ") is not true"
}

// unreferred is " and " with the condition that no row of the referrers keeps the parent's row, of the
// entry above none to which the condition other applies.
func (p *Parent) unreferred(row string, other func(row string) string) string {
	out := ""
	for _, r := range p.Referrers {
		cond := r.Refers("r", row)
		if r.Own {
			cond += " and " + other("r")
		}
		out += fmt.Sprintf(" and not exists (select from %s r where %s offset 0)", r.Name, cond)
	}
	return out
}

// hop leads from a row to those of a child of it, or to a parent that goes with it.
type hop struct {
	child  *Child
	parent *Parent
}

// needs are the columns of the row before the hop by which it finds rows.
func (h hop) needs() []string {
	switch {
	case h.parent != nil:
		return h.parent.Reference.columns()
	case h.child.Reference != nil:
		return h.child.Reference.targets()
	}
	return []string{h.child.messageSeq}
}

// Above is the alias of the row above the child's, in a query that the Checked's hops are a part of.
func (c *Child) Above() string { return alias(len(c.path)) }

func alias(n int) string {
	if n == 0 {
		return "m"
	}
	return fmt.Sprintf("above_%d", n)
}

// Top is the range of rows, beside the messages, from which the child's rows are found; nil
// where they are found from messages. What such rows belong to may be gone.
func (c *Child) Top() *Child {
	if len(c.path) > 0 && c.path[0].child != nil && c.path[0].child.Reference == nil {
		return c.path[0].child
	}
	return nil
}

// Hops lead from the messages m to the rows above the child's, in a batch whose parents are locked.
func (s *Checked) Hops(c *Child, replay bool) string {
	return s.hops(c, func(p *Parent, row string) string { return s.Doomed(p, row, replay) })
}

// ReadHops are [Checked.Hops] for a statement about one deletion that has locked nothing: parents go where
// no other row than this conversation's refers to them.
func (s *Checked) ReadHops(c *Child) string {
	return s.hops(c, func(p *Parent, row string) string { return s.Goes(p, row, "") })
}

// Goes is the condition that the parent's row goes with the rows of one deletion, for a statement that has
// locked nothing: no message of another conversation refers to it, or, of a parent of a child, no other
// row than this one.
func (s *Checked) Goes(p *Parent, row, child string) string {
	return "true" + p.unreferred(row, func(r string) string {
		if child != "" {
			return fmt.Sprintf("(%s.tableoid, %[1]s.ctid) <> (%s.tableoid, %[2]s.ctid)", r, child)
		}
		return "(" + s.Messages.is(r, "") + ") is not true"
	})
}

func (s *Checked) hops(c *Child, goes func(p *Parent, row string) string) string {
	out := ""
	for i, h := range c.path {
		if i == 0 && c.Top() != nil {
			continue // the query begins there
		}
		next := hop{child: c}
		if i+1 < len(c.path) {
			next = c.path[i+1]
		}
		from, row := alias(i), alias(i+1)
		table, cond := "", ""
		if h.parent != nil {
			table, cond = h.parent.Name, h.parent.Refers(from, "r0")+" and "+goes(h.parent, "r0")
		} else {
			table, cond = h.child.Name, h.child.BelongsToArgs("r0", from)
		}
		out += fmt.Sprintf("\n  cross join lateral (select %s from %s r0 where %s offset 0) %s", qualified("r0", next.needs()), table, cond, row)
	}
	return out
}

// Many reports whether two messages may lead to one row of the child: by way of a parent that both refer to.
func (c *Child) Many() bool {
	return slices.ContainsFunc(c.path, func(h hop) bool { return h.parent != nil })
}

// TopKeys are the columns of the rows that the hops begin with: the messages', or those of Top.
func (s *Checked) TopKeys(c *Child, row string) string {
	next := hop{child: c}
	if len(c.path) > 1 {
		next = c.path[1]
	}
	return qualified(row, next.needs())
}

// ChildKeys are the messages' columns, under the alias row, by which the rows of other
// tables are found: no more, so that the worker needn't be allowed to read a body.
func (s *Checked) ChildKeys(row string) string {
	var columns []string
	if s.Messages.pointer == nil {
		columns = append(columns, s.Messages.Seq)
	}
	for _, c := range s.Children {
		if c.Reference != nil && len(c.path) == 0 {
			columns = append(columns, c.Reference.targets()...)
		}
	}
	for _, p := range s.Parents {
		columns = append(columns, p.Reference.columns()...)
	}
	return qualified(row, columns)
}

// RangeChildren returns the children that can still be found when their
// messages are deleted.
func (s *Checked) RangeChildren() []*Child {
	return slices.DeleteFunc(slices.Clone(s.Children), func(c *Child) bool { return c.Reference != nil })
}

// OfMessages returns the children that belong to messages.
func (s *Checked) OfMessages() []*Child {
	return slices.DeleteFunc(slices.Clone(s.Children), func(c *Child) bool { return len(c.path) > 0 })
}

// ReferringChildren returns the children that refer to messages.
func (s *Checked) ReferringChildren() []*Child {
	return slices.DeleteFunc(slices.Clone(s.Children), func(c *Child) bool { return c.Reference == nil || len(c.path) > 0 })
}

// AllParents are the parents of messages, and then those of each child table.
func (s *Checked) AllParents() []*Parent {
	all := slices.Clone(s.Parents)
	for _, c := range s.Children {
		all = append(all, c.Parents...)
	}
	return all
}

// Locks are the tables whose rows a deletion locks: those of Tables, and those that keep parents.
func (s *Checked) Locks() []Table {
	out := s.Tables()
	for _, p := range s.AllParents() {
		for _, r := range p.Referrers[1:] {
			out = append(out, r.Table)
		}
	}
	return out
}

// Single reports whether each deletion needs transactions of its own: where rows are found by way of others
// than messages, or go with the last reference to them.
func (s *Checked) Single() bool {
	return len(s.AllParents()) > 0 || slices.ContainsFunc(s.Children, func(c *Child) bool { return len(c.path) > 0 })
}
