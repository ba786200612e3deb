package plan

import (
	"fmt"
	"slices"
)

// pointer is the messages' parent that has their position, and with it the conversation and the time. Scans go along
// its index and look for the message that points to each row.
type pointer struct {
	Table
	reference reference // of the messages to it
	columns   []string  // of the messages, quoted, that statements read
}

// Of are the messages, under the alias row, of the deletion under the alias q: what stands
// behind from, with conditions to which more may be added.
func (m Messages) Of(row, q string) string { return m.of(m.Name, row, idsOf(q)) }

// OfArgs is [Messages.Of] for a statement about one deletion; see [Table.MatchArgs].
func (m Messages) OfArgs(row string) string { return m.of(m.Name, row, idArgs()) }

// OnlyOfArgs is [Messages.OfArgs] for a statement that goes by ctid; see [Table.From].
func (m Messages) OnlyOfArgs(row string) string { return m.of(m.From(), row, idArgs()) }

func (m Messages) of(table, row string, of ids) string {
	if m.pointer == nil {
		return table + " " + row + " where " + allOf(row, m.conditions, of)
	}
	at, columns := m.at(row), append([]string{"tableoid", "ctid", "xmin", "xmax"}, m.pointer.columns...)
	return fmt.Sprintf("%s %s cross join lateral (\n  select %s from %s u where %s and %s offset 0) %s\n  where %s", m.pointer.Name, at,
		qualified("u", columns), table, allOf("u", m.conditions, of), m.pointer.reference.joins("u", at), row, allOf(at, m.pointer.conditions, of))
}

// at is the alias of the row with the position of the message under the alias row.
func (m Messages) at(row string) string {
	if m.pointer == nil {
		return row
	}
	return row + "_at"
}

// is is the condition that a message, found in another way, belongs to a statement's one deletion
// and that more is true, which may be of its position.
func (m Messages) is(row, more string) string {
	if m.pointer == nil {
		return m.MatchArgs(row) + more
	}
	at := m.at(row)
	return fmt.Sprintf("%s and exists (select from %s %s where %s and %s%s offset 0)", m.MatchArgs(row),
		m.pointer.Name, at, m.pointer.reference.joins(row, at), m.pointer.MatchArgs(at), more)
}

// Order is the column in whose order messages are read.
func (m Messages) Order(row string) string { return m.at(row) + "." + m.Seq }

// ForUpdate locks the messages m, and not the rows with their positions.
func (m Messages) ForUpdate() string {
	if m.pointer == nil {
		return "for update"
	}
	return "for update of m"
}

// Pointed reports whether the messages point to the rows with their positions.
func (m Messages) Pointed() bool { return m.pointer != nil }

// Position is the number of the message's position.
func (m Messages) Position(row string) string { return m.position.Position(m.at(row)) }

// AtOrBelow is the condition that the message's position is at or below the bound.
func (m Messages) AtOrBelow(row, bound string) string {
	return m.position.AtOrBelow(m.at(row), bound)
}

// Above is the condition that the message's position is above the bound.
func (m Messages) Above(row, bound string) string { return m.position.Above(m.at(row), bound) }

// pointer builds what all statements need of the messages' parent with the position.
func (k *checker) pointer(s *Checked, at string, e Entry) {
	k.pointed = k.member(at, e.Table)
	s.Messages.pointer = &pointer{Table: k.table(&k.pointed, e)}
	s.Messages.position = k.position(&k.pointed, e.Seq)
	s.Messages.SentAt, s.Messages.clock = k.sentAt(&k.pointed, e)
}

// readByPointer collects the columns that are read of messages which are pointers.
func (k *checker) readByPointer(s *Checked) {
	p := s.Messages.pointer
	if p == nil {
		return
	}
	add := func(columns ...string) {
		for _, c := range columns {
			if c != "" && !slices.Contains(p.columns, c) {
				p.columns = append(p.columns, c)
			}
		}
	}
	for _, c := range s.OfMessages() {
		if c.Reference != nil {
			add(c.Reference.targets()...)
		}
	}
	for _, parent := range s.Parents {
		add(parent.Reference.columns()...)
	}
	for _, a := range s.Conversations.Set {
		add(a.Newest)
	}
}
