package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// Members is the table of those who read a shared log. Its Match finds the row, at most one, of the
// deletion's user in the conversation, whether it counts or not.
type Members struct {
	Table
	// Watermark, VisibleFrom and Unread are columns, quoted; "" if there is none.
	Watermark, VisibleFrom, Unread string
	// counts are the conditions beside those of Match for a row to count.
	counts []condition
	// user and conversation are the ids in a row, as texts: formats for the row. conversation is "" where the
	// row doesn't have it.
	user, conversation     string
	watermark, visibleFrom position
	// active are those of the conditions of Match by which a member has at most one row: others are of times when they were one.
	active []condition
}

// never is the number of a watermark below all positions.
const never = firstNumber

// Never is the number of a watermark below all positions.
func (m *Members) Never() string { return never }

// Cleared is the number of the row's watermark: below all positions where the member has deleted nothing, or there
// is no such column.
func (m *Members) Cleared(row string) string {
	if m.Watermark == "" {
		return never
	}
	return fmt.Sprintf("coalesce(nullif(%s, 0), %s)", m.watermark.Position(row), never)
}

// SetCleared is what the watermark's column becomes for a number of type bigint.
func (m *Members) SetCleared(number string) string {
	return m.watermark.of(m.watermark.highest, number)
}

// AtOrBelow is the condition that the row's watermark, as it is, is at or below the bound; a row without one is not.
func (m *Members) AtOrBelow(row, bound string) string { return m.watermark.AtOrBelow(row, bound) }

// Sets reports whether a deletion changes columns of a row.
func (m *Members) Sets() bool { return m.Watermark != "" || m.Unread != "" }

// leaving are the rows of a conversation as a child table of it: they go with its row.
func (m *Members) leaving() *Child {
	t := m.Table
	t.conditions = slices.DeleteFunc(without(t.conditions, "user_id"), func(c condition) bool { return slices.Contains(m.active, c) })
	return &Child{Path: "members", Table: t}
}

// Visible is the number of the position below the first one that the row's member sees; "" where there is no such
// column.
func (m *Members) Visible(row string) string {
	if m.VisibleFrom == "" {
		return ""
	}
	return fmt.Sprintf("coalesce(greatest(%s, -9223372036854775807) - 1, %s)", m.visibleFrom.Position(row), never)
}

// Counts is the condition that the row's member counts: the floor is at or below their watermark.
func (m *Members) Counts(row string) string { return allOf(row, m.counts, ids{}) }

// UserID is the row's user_id as text, a UUID in lower case.
func (m *Members) UserID(row string) string { return fmt.Sprintf(m.user, row) }

// ConversationID is the row's conversation_id as text, a UUID in lower case; "" where the plan compares no
// column with the whole of it.
func (m *Members) ConversationID(row string) string {
	if m.conversation == "" {
		return ""
	}
	return fmt.Sprintf(m.conversation, row)
}

// OfConversation is the condition that the row is one of the conversation of the deletion under the alias q,
// whoever's it is.
func (m *Members) OfConversation(row, q string) string {
	return allOf(row, without(m.conditions, "user_id"), idsOf(q))
}

// OfConversationArgs is [Members.OfConversation] for a statement about one conversation; see [Table.MatchArgs].
func (m *Members) OfConversationArgs(row string) string {
	return allOf(row, without(m.conditions, "user_id"), idArgs())
}

// OfUserArgs is the condition that the row is one of the statement's user, of whatever conversation.
func (m *Members) OfUserArgs(row string) string {
	return allOf(row, without(m.conditions, "conversation_id"), idArgs())
}

// without are the conditions that don't depend on the id.
func without(conditions []condition, id string) []condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c condition) bool { return c.uses(id) })
}

// uses reports whether the condition depends on the id of the command.
func (c condition) uses(id string) bool {
	return c.value.id == id || c.value.lookup != nil && c.value.lookup.uses(func(of string) bool { return of == id })
}

// buildMembers finds the members' table, after the messages'.
func (k *checker) buildMembers(s *Checked, e Entry) *Members {
	k.memb = k.member("members", e.Table)
	out := &Members{Table: k.table(&k.memb, e)}
	out.Watermark, out.watermark = k.memberPosition(s, "watermark", e.Watermark)
	out.VisibleFrom, out.visibleFrom = k.memberPosition(s, "visible_from", e.VisibleFrom)
	if e.Unread != "" {
		out.Unread = k.unread(&k.memb, e.Unread)
	}
	for _, planned := range []string{e.Watermark.Column, e.Unread} {
		if name, _ := parseColumn(planned); planned != "" { // validated
			k.memb.sets = append(k.memb.sets, name)
		}
	}
	k.single(out, e.Conditions())
	if out.user = idText(out.conditions, "user_id"); out.user == "" {
		k.refuse("members: the user is looked up, so that a row doesn't tell whose it is: compare a column with $user, or columns with all of its parts")
	}
	out.conversation = idText(out.conditions, "conversation_id")
	return out
}

// single divides the conditions: a constant on a column of the unique index by which a member has one row is part of
// Match, or in the condition of that index, and others say whether the row counts.
func (k *checker) single(m *Members, conditions []Pair) {
	rel := k.memb.rel
	if rel == nil || slices.Contains(k.memb.found(), "") {
		return // which has been reported
	}
	var key []string
	unique := len(rel.heirs) == 0
	for tries := [][]string{k.memb.keys, k.memb.found()}; unique && key == nil && len(tries) > 0; tries = tries[1:] {
		for _, i := range rel.indexes {
			if i.unique && !slices.ContainsFunc(i.columns, func(c string) bool { return !slices.Contains(tries[0], c) }) {
				key = i.columns
			}
		}
	}
	active := k.memb.activeIndexes(conditions)
	for _, i := range active {
		if key == nil && unique && i.unique && !slices.ContainsFunc(i.columns, func(c string) bool { return !slices.Contains(k.memb.found(), c) }) {
			constants, _ := rel.constants(i)
			key = slices.Clone(i.columns)
			for _, c := range constants {
				key = append(key, c.Column)
			}
			for _, c := range m.conditions {
				if c.value.constant != "" && slices.Contains(key, unquoted(c.column)) && !slices.Contains(i.columns, unquoted(c.column)) {
					m.active = append(m.active, c)
				}
			}
			k.active = active
		}
	}
	if key == nil {
		k.refuse("members: nothing keeps a user from having two rows of %s for one conversation, of which just one would say what they have deleted; run: %s%s",
			rel, createIndex("create unique index", rel, k.memb.keys), k.rejoins(rel, k.memb.keys, conditions))
		return
	}
	counts := func(c condition) bool {
		return c.value.constant != "" && !slices.Contains(key, unquoted(c.column))
	}
	for _, c := range m.conditions {
		if counts(c) {
			m.counts = append(m.counts, c)
		}
	}
	m.conditions = slices.DeleteFunc(m.conditions, counts)
}

// idText is the command's id as the columns of a row have it: a format for the row; "" where they don't have all of it.
func idText(conditions []condition, id string) string {
	parts := map[idPart]string{} // by the number alone, too
	for _, c := range conditions {
		column := "%[1]s." + strings.ReplaceAll(c.column, "%", "%%") + "::text"
		switch p := c.value.part; {
		case c.value.id != id:
		case p.of == 0:
			return column
		default:
			parts[p] = column
		}
	}
	for p := range parts {
		all := make([]string, p.of)
		for i := range all {
			all[i] = parts[idPart{p.at, i + 1, p.of}]
		}
		if !slices.Contains(all, "") {
			return "(" + strings.Join(all, " || "+strings.ReplaceAll(text(p.at), "%", "%%")+" || ") + ")"
		}
	}
	return ""
}

// memberPosition finds a column of the members' with a position, of the kind of the messages'.
func (k *checker) memberPosition(s *Checked, field string, r Reading) (quoted string, p position) {
	if r.Column == "" {
		return "", position{}
	}
	c, kind := k.positionColumn(&k.memb, field, r)
	p = position{quote(c.name), scales[kind]}
	of, reading := k.messages, k.plan.Messages.Seq
	if i := k.plan.Pointed(); i >= 0 {
		of, reading = k.pointed, k.plan.Messages.Parents[i].Seq
	}
	seq := of.rel.columnNamed(of.seq)
	stamps := []uint32{pgtype.TimestampOID, pgtype.TimestamptzOID}
	switch where := "members." + field + ": column %s of %s is %s"; {
	case c.typ == 0 || seq.typ == 0:
	case p.time != s.Messages.time:
		expected := "a number as that is"
		if s.Messages.time {
			expected = "a time, or a number with its unit: {column: " + scalar(c.name) + ", unit: s, ms, us or ns}"
		}
		k.refuse(where+", and not of the kind of the messages' position, %s of %s, which is %s; expected %s", p.Seq, k.memb.rel, c.typeName, quote(seq.name), of.rel, seq.typeName, expected)
	case slices.Contains(stamps, c.typ) && slices.Contains(stamps, seq.typ) && c.typ != seq.typ:
		k.refuse(where+", and the messages' position, %s of %s, is %s: how they compare depends on the session's time zone; both must be of one type", p.Seq, k.memb.rel, c.typeName, quote(seq.name), of.rel, seq.typeName)
	case field != "watermark":
	case c.generated:
		k.refuse(where+", generated, and can't be set; leave watermark out, and read lethe.watermarks", p.Seq, k.memb.rel, c.typeName)
	case p.time && fineness(c, r) < fineness(seq, reading):
		k.refuse(where+", coarser than the messages' position, %s of %s: a message at the boundary would stay visible; store it as finely", p.Seq, k.memb.rel, c.typeName, quote(seq.name), of.rel)
	}
	return p.Seq, p
}

// fineness is how many digits of a second's fraction the column keeps.
func fineness(c column, r Reading) int {
	if r.Unit == "" {
		return c.digits
	}
	return 3 * slices.Index(units, r.Unit)
}
