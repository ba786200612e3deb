package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Table is a table as statements name it.
type Table struct {
	Name string // quoted
	// Partitioned reports whether the rows are in several tables, partitions or heirs,
	// whose ctids repeat each other's.
	Partitioned bool
	keys        []keyColumn
}

// From is the table for a statement that goes by ctid alone where the rows are in
// one table: whatever comes to inherit from it later is left out.
func (t Table) From() string {
	if t.Partitioned {
		return t.Name
	}
	return "only " + t.Name
}

// At is the condition that the row under the alias row is one of those that the
// query found lists by part and id. It makes one scan of all places: a join makes
// one for each, which begins by asking the kernel how large the table is.
func (t Table) At(row, found string) string {
	at := row + ".ctid = any (array(select f.id from " + found + " f))"
	if t.Partitioned {
		at += " and (" + row + ".tableoid, " + row + ".ctid) in (select f.part, f.id from " + found + " f)"
	}
	return at
}

// Keys are the key columns of a row of t, under the alias row.
func (t Table) Keys(row string) string {
	keys := make([]string, len(t.keys))
	for i, k := range t.keys {
		keys[i] = row + "." + k.column
	}
	return strings.Join(keys, ", ")
}

// Match returns the condition that a row of t, under the alias row, belongs to
// the deletion under the alias q, whose ids are text.
func (t Table) Match(row, q string) string {
	conds := make([]string, len(t.keys))
	for i, k := range t.keys {
		conds[i] = k.equals(row, q+"."+k.id)
	}
	return strings.Join(conds, " and ")
}

// MatchArgs is [Table.Match] for a statement about one deletion, whose app, user
// and conversation are parameters of these names.
func (t Table) MatchArgs(row string) string {
	args := map[string]string{"app_id": "@app::text", "user_id": "@user::text", "conversation_id": "@conversation::text"}
	conds := make([]string, len(t.keys))
	for i, k := range t.keys {
		conds[i] = k.equals(row, args[k.id])
	}
	return strings.Join(conds, " and ")
}

// Messages is the messages' table.
type Messages struct {
	Table
	Seq, SentAt string // quoted
	// UniqueSeq reports whether no two messages of a conversation have the same position, so
	// that a range of positions holds at most as many messages as it is wide.
	UniqueSeq bool
	clock     clock // how SentAt keeps a time
}

// Conversations is the conversations' table.
type Conversations struct {
	Table
	Unread string // quoted; "" if there is none
	// Hints are the columns, quoted, that show whether there were messages: above 0.
	Hints []string
}

// Doubt is the expression for the Hints of a row, given as hint_0 and so on, by name and
// value: empty where none of them shows a message.
func (c Conversations) Doubt() string {
	if len(c.Hints) == 0 {
		return "''"
	}
	parts := make([]string, len(c.Hints))
	for i, t := range c.Hints {
		parts[i] = fmt.Sprintf("case when hint_%d > 0 then %s || hint_%d::text end", i, text(unquoted(t)+" "), i)
	}
	return "pg_catalog.concat_ws(', ', " + strings.Join(parts, ", ") + ")"
}

// unquoted is the name that a quoted one stands for.
func unquoted(s string) string { return strings.ReplaceAll(s[1:len(s)-1], `""`, `"`) }

// text writes a string as SQL.
func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Child is a table of child rows.
type Child struct {
	Table
	Seq           string // quoted; "" for a reference
	messageSeq    string // the messages' seq column, quoted
	Reference, To string // quoted; "" for a range
	referenceCast string // "::text" for a varchar, as in [keyColumn.equals]
}

// BelongsTo returns the condition that the child's row belongs to the message.
func (c Child) BelongsTo(row, message, q string) string {
	if c.Reference != "" {
		return fmt.Sprintf("%s.%s%s = %s.%s%[3]s", row, c.Reference, c.referenceCast, message, c.To)
	}
	return fmt.Sprintf("%s and %s.%s = %s.%s", c.Match(row, q), row, c.Seq, message, c.messageSeq)
}

// BelongsToArgs is [Child.BelongsTo] for a statement about one deletion; see
// [Table.MatchArgs].
func (c Child) BelongsToArgs(row, message string) string {
	if c.Reference != "" {
		return c.BelongsTo(row, message, "")
	}
	return fmt.Sprintf("%s and %s.%s = %s.%s", c.MatchArgs(row), row, c.Seq, message, c.messageSeq)
}

// ChildKeys are the messages' columns, under the alias row, by which child rows are
// found: no more, so that the worker needn't be allowed to read a body.
func (s *Checked) ChildKeys(row string) string {
	columns := []string{s.Messages.Seq}
	for _, c := range s.Children {
		if c.To != "" && !slices.Contains(columns, c.To) {
			columns = append(columns, c.To)
		}
	}
	return row + "." + strings.Join(columns, ", "+row+".")
}

// RangeChildren returns the children that can still be found when their
// messages are deleted.
func (s *Checked) RangeChildren() []Child {
	var out []Child
	for _, c := range s.Children {
		if c.Reference == "" {
			out = append(out, c)
		}
	}
	return out
}

// Boundary returns the expression that decides the boundary of the deletion
// under the alias q, whose wish is in the column through.
func (s *Checked) Boundary(q, through string) string {
	m := s.Messages
	newest := func(expr, cond string) string {
		return fmt.Sprintf("(select %s from %s m where %s%s order by m.%s desc limit 1)", expr, m.Name, m.Match("m", q), cond, m.Seq)
	}
	sentBy := m.clock.sentBy("m."+m.SentAt, q+".stored_at", newest("m."+m.SentAt, ""))
	return fmt.Sprintf("case when %s.%s is null then coalesce(%s, 0) else least(%s.%s, coalesce(%s, 0)) end",
		q, through, newest("m."+m.Seq+"::bigint", " and "+sentBy), q, through, newest("m."+m.Seq+"::bigint", ""))
}

// Moment is an expression of type timestamptz as it compares with the messages'
// sent_at: what is at or before it was sent by then, in every reading.
func (s *Checked) Moment(expr string) string { return s.Messages.clock.earliest(expr) }
