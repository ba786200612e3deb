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
	at := m.at(row)
	return m.pointer.Name + " " + at + m.pointing(table, row, of) + "\n  where " + allOf(at, m.pointer.conditions, of)
}

// pointing joins the messages that point to the row before.
func (m Messages) pointing(table, row string, of ids) string {
	columns := append([]string{"tableoid", "ctid", "xmin", "xmax"}, m.pointer.columns...)
	return fmt.Sprintf(" cross join lateral (\n  select %s from %s u where %s and %s offset 0) %s", qualified("u", columns), table,
		allOf("u", m.conditions, of), m.pointer.reference.joins("u", m.at(row)), row)
}

// keys are the columns, under the alias at, of the rows with positions by which statements go.
func (m Messages) keys(at string) string {
	columns := append(m.pointer.reference.targets(), m.Seq)
	if m.SentAt != "" {
		columns = append(columns, m.SentAt)
	}
	return qualified(at, columns)
}

// WalkArgs is [Messages.OfArgs] for messages above low and at or below high, among the first @span rows that they may point to.
func (m Messages) WalkArgs(row, low, high string) string {
	at := m.at(row)
	return fmt.Sprintf("(\n  select %s from %s and %s\n  order by %s fetch first (@span::bigint) rows with ties) %s%s\n  where true",
		m.keys(at), m.RowsArgs(at, low), m.position.AtOrBelow(at, high), at+"."+m.Seq, at, m.pointing(m.Name, row, idArgs()))
}

// RowsArgs are the rows, under the alias at, with positions above low, that messages of a statement's one deletion may point to.
func (m Messages) RowsArgs(at, low string) string {
	return m.pointer.Name + " " + at + " where " + m.pointer.MatchArgs(at) + " and " + m.position.Above(at, low)
}

// PositionsArgs is [Messages.OfArgs] for the messages whose positions are listed in @positions.
func (m Messages) PositionsArgs(row string) string { return m.positions(m.Name, row) }

// OnlyPositionsArgs is [Messages.PositionsArgs] for a statement that goes by ctid; see [Table.From].
func (m Messages) OnlyPositionsArgs(row string) string { return m.positions(m.From(), row) }

func (m Messages) positions(table, row string) string {
	at := m.at(row)
	rows := m.pointer.Name + " " + at + " where " + m.pointer.MatchArgs(at) + " and " + m.position.at(at, "l.position")
	return fmt.Sprintf("pg_catalog.unnest(@positions::bigint[]) l (position) cross join lateral (\n  select %s from %s offset 0) %s%s\n  where true",
		m.keys(at), rows, at, m.pointing(table, row, idArgs()))
}

// counted is up to how many rows are counted to find out whether fewer of the user's messages, or of the conversation's, are to be read.
const counted = 100_000

// smaller is what query makes of the messages m of the deletion under the alias q, above low and at or below high, "" for no
// bound, for which more is true of the position. Those that are pointers it reads from the side with fewer rows: all that the user
// has, in any conversation, or all that the conversation has, whoever's.
func (m Messages) smaller(q, low, high, more string, query func(of string) string) string {
	of, bounds := idsOf(q), func(row, seq string) string {
		p, out := m.position, ""
		p.Seq = seq
		if low != "" {
			out += " and " + p.Above(row, low)
		}
		if high != "" {
			out += " and " + p.AtOrBelow(row, high)
		}
		return out
	}
	at := m.at("m")
	along := query(m.Of("m", q) + bounds(at, m.Seq) + more)
	if m.pointer == nil {
		return along
	}
	rows := m.pointer.Name + " " + at + " where " + allOf(at, m.pointer.conditions, of) + bounds(at, m.Seq)
	pointers := m.Name + " m where " + allOf("m", m.conditions, of)
	if r := m.pointer.reference; len(r) == 1 && r[0].to == m.Seq && r[0].cast == "" && !m.time {
		pointers += bounds("m", r[0].column)
	}
	pointed := fmt.Sprintf("(select %s from %s offset 0) m cross join lateral (\n  select %s from %s and %s offset 0) %s\n  where true",
		qualified("m", append([]string{"tableoid", "ctid", "xmin", "xmax"}, append(m.pointer.reference.columns(), m.pointer.columns...)...)), pointers,
		m.keys(at), rows+more, m.pointer.reference.joins("m", at), at)
	return fmt.Sprintf(`(case when (
    select (select pg_catalog.count(*) from (select from %s limit c.n) u) < c.n
    from (select pg_catalog.count(*) as n from (select from %s limit %d) c) c) then %s else %s end)`, pointers, rows, counted, query(pointed), along)
}

// Exists is the condition that there are messages m of the deletion under the alias q above low and at or below high, "" for no
// bound, for which more is true, which may be of their position.
func (m Messages) Exists(q, low, high, more string) string {
	return m.smaller(q, low, high, more, func(of string) string { return "exists (select from " + of + ")" })
}

// First is the expression for the positions, ascending, of the first so many messages that [Messages.Exists] is of.
func (m Messages) First(q, low, high, more string, count int) string {
	return m.smaller(q, low, high, more, func(of string) string {
		return fmt.Sprintf("array(select %s from %s order by %s limit %d)", m.Position("m"), of, m.Order("m"), count)
	})
}

// Newest is the expression for what expr is of the last message m of the deletion under the alias q for which more is true.
func (m Messages) Newest(q, expr, more string) string { return m.first(q, expr, more, " desc") }

// oldest is [Messages.Newest] for the first message.
func (m Messages) oldest(q, expr string) string { return m.first(q, expr, "", "") }

func (m Messages) first(q, expr, more, direction string) string {
	return m.smaller(q, "", "", more, func(of string) string {
		return "(select " + expr + " from " + of + " order by " + m.Order("m") + direction + " limit 1)"
	})
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
