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
	conditions  []condition
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

// Keys are the columns of a row of t, under the alias row, by which [Table.Match] finds it.
func (t Table) Keys(row string) string {
	var columns []string
	for _, c := range t.conditions {
		if column := row + "." + c.column; !slices.Contains(columns, column) {
			columns = append(columns, column)
		}
	}
	return strings.Join(columns, ", ")
}

// Match returns the condition that a row of t, under the alias row, belongs to
// the deletion under the alias q, whose ids are text.
func (t Table) Match(row, q string) string { return allOf(row, t.conditions, idsOf(q)) }

// MatchArgs is [Table.Match] for a statement about one deletion, whose app, user
// and conversation are parameters of these names.
func (t Table) MatchArgs(row string) string { return allOf(row, t.conditions, idArgs()) }

// idsOf are the ids of the deletion under the alias q, with what the plan looks up in looked_up.
func idsOf(q string) ids {
	return ids{
		command: func(id string) string { return q + "." + id },
		pinned:  func(p pin, _ *lookup) string { return p.in(q) },
	}
}

// idArgs are the ids of a statement about one deletion, which the ledger may know.
func idArgs() ids {
	return ids{
		command: func(id string) string {
			return map[string]string{"app_id": "@app::text", "user_id": "@user::text", "conversation_id": "@conversation::text"}[id]
		},
		pinned: pinOfArgs,
	}
}

// Messages is the messages' table.
type Messages struct {
	Table
	position
	SentAt string // quoted; "" if nothing says when a message was sent
	// UniqueSeq reports whether no two messages of a conversation have the same position, a
	// number, so that a range of positions holds at most as many messages as it is wide.
	UniqueSeq bool
	clock     clock // how SentAt keeps a time
	// pointer is nil where the messages have their position themselves.
	pointer *pointer
}

// Conversations is the conversations' table. Its name is "" where there is none.
type Conversations struct {
	Table
	Unread string // quoted; "" if there is none
	// Set are the columns of a row that stays, and what they become; Keep says that it always stays.
	Set  []Assignment
	Keep bool
	// Children go with the conversation: those with a reference with its row.
	Children []*Child
	// Hints are the columns, quoted, that show whether there were messages: above 0.
	Hints []string
}

// Rows are the table's rows, for a statement that only reads; none where there is no table.
func (c Conversations) Rows() string {
	if c.Name == "" {
		return "(select null::oid as tableoid, null::tid as ctid, null::xid as xmin, null::xid as xmax where false)"
	}
	return c.Name
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

// text writes a string as SQL, whatever the session makes of a backslash.
func text(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// Boundary returns the expression that decides the boundary of the deletion
// under the alias q, whose wish is in the column through. Without a wish, and without a time
// that messages were sent at, there is none: see [Checked.Incompatible].
func (s *Checked) Boundary(q, through string) string {
	m := s.Messages
	newest := func(expr, more string) string { return m.Newest(q, expr, more) }
	sent := "null::bigint"
	if m.SentAt != "" {
		// Below the oldest message where none was sent by then: positions may be negative.
		none := fmt.Sprintf("coalesce(%s, 0)", m.oldest(q, fmt.Sprintf("least(0, greatest(%s, -9223372036854775807) - 1)", m.Position("m"))))
		sent = fmt.Sprintf("coalesce(%s, %s)", s.newestSent(q), none)
	}
	return fmt.Sprintf("case when %s.%s is null then %s else least(%[1]s.%[2]s, coalesce(%[4]s, 0)) end",
		q, through, sent, newest(m.Position("m"), ""))
}

// newestSent is the position of the last message that was sent by the time of the deletion under the alias q; null for none. Where the time
// isn't the position, an index by it would make the planner sort all messages before that time: "is true" keeps it from such a plan.
func (s *Checked) newestSent(q string) string {
	m := s.Messages
	sentAt := m.at("m") + "." + m.SentAt
	sentBy := m.clock.sentBy(sentAt, q+".stored_at", m.Newest(q, sentAt, ""))
	if m.SentAt != m.Seq {
		sentBy = "(" + sentBy + ") is true"
	}
	return m.Newest(q, m.Position("m"), " and "+sentBy)
}

// Sent is the condition that a message was sent by the time of the deletion under the alias q.
func (s *Checked) Sent(q string) string {
	if s.Messages.SentAt == "" {
		return "true"
	}
	return s.newestSent(q) + " is not null"
}

// SentBy is the condition that the message under the alias row was sent by the moment, of type timestamptz, in
// every reading of its time; true of each where nothing says when.
func (s *Checked) SentBy(row, moment string) string {
	if s.Messages.SentAt == "" {
		return "true"
	}
	return s.Messages.at(row) + "." + s.Messages.SentAt + " <= " + s.Messages.clock.earliest(moment)
}

// SentMicros is when the message under the alias row was sent, as microseconds since 1970 UTC, for people; null where nothing says when.
func (s *Checked) SentMicros(row string) string {
	if s.Messages.SentAt == "" {
		return "null::bigint"
	}
	return fmt.Sprintf(s.Messages.clock.micros, s.Messages.at(row)+"."+s.Messages.SentAt)
}
