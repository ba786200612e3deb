package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lethe-im/lethe/internal/purge"
)

// Listing is a table in which the deletions of a command are found that names them by a rule: the ids in one of
// its columns, along an index in their order, of the rows that meet the other conditions.
type Listing struct {
	Table
	// Messages says that it is the messages' table.
	Messages bool
	id       condition
}

// Text says that the ids are text. The empty text is no id.
func (l *Listing) Text() bool { return l.id.typ == textKey || l.id.typ == uuidTextKey }

// ID is the id in the row.
func (l *Listing) ID(row string) string { return l.Cast(row + "." + l.id.column) }

// Cast is a value as an id.
func (l *Listing) Cast(expr string) string {
	if l.Text() {
		return expr + "::text"
	}
	return expr + "::" + string(l.id.typ)
}

// Order is the column in whose order the rows are read.
func (l *Listing) Order(row string) string { return row + "." + l.id.column }

// Others is the condition that the row meets all conditions but that on the listed id, for the deletion under the alias q.
func (l *Listing) Others(row, q string) string {
	others := slices.DeleteFunc(slices.Clone(l.conditions), func(c condition) bool { return c == l.id })
	return allOf(row, others, idsOf(q))
}

// listings are the tables for one rule, or why there are none.
type listings struct {
	tables []*Listing
	why    string
}

func (l listings) usable() ([]*Listing, error) {
	if l.why != "" {
		return nil, fmt.Errorf("%w: %s", purge.ErrUnsupportedScope, l.why)
	}
	return l.tables, nil
}

// AllConversations are the tables that list the conversations of a user: first the messages', then the conversations', if
// there is one. The error, which wraps [purge.ErrUnsupportedScope], says what is missing.
func (s *Checked) AllConversations() ([]*Listing, error) { return s.all.usable() }

// Owners are the tables that list the owners of a conversation's copies. The error is as that of [Checked.AllConversations].
func (s *Checked) Owners() ([]*Listing, error) { return s.owners.usable() }

// Sent reports in SQL whether the conversation of the deletion under the alias q has a message that was sent by the time of
// its boundary.
func (s *Checked) Sent(q string) string {
	m := s.Messages
	if m.SentAt == "" {
		return "false"
	}
	sentAt := m.at("m") + "." + m.SentAt
	sentBy := m.clock.sentBy(sentAt, q+".stored_at", m.Newest(q, sentAt, ""))
	return m.Newest(q, m.Position("m"), " and "+sentBy) + " is not null"
}

// list finds the tables for both rules.
func (k *checker) list(s *Checked) {
	const conversation, user = "conversation_id", "user_id"
	if s.Messages.pointer != nil {
		why := "the plan's messages are pointers, and no index lists what they point to"
		s.all.why, s.owners.why = "all_conversations: "+why, "everyone: "+why
		return
	}
	messages := listed{&k.messages, &Listing{Table: s.Messages.Table, Messages: true}}
	both := []listed{messages}
	if s.Conversations.Name != "" {
		both = append(both, listed{&k.convs, &Listing{Table: s.Conversations.Table}})
	}
	var missing []string
	for _, l := range both {
		if why := l.by(conversation); why != "" {
			missing = append(missing, why)
		}
		s.all.tables = append(s.all.tables, l.to)
	}
	if len(missing) > 0 {
		s.all = listings{why: "all_conversations: " + strings.Join(missing, "; and ")}
	}
	missing = nil
	for _, l := range slices.Backward(both) { // an index of the conversations is the smaller one
		l.to = &Listing{Table: l.to.Table, Messages: l.to.Messages}
		if why := l.by(user); why != "" {
			missing = append(missing, why)
			continue
		}
		s.owners.tables = append(s.owners.tables, l.to)
	}
	if len(s.owners.tables) == 0 {
		s.owners.why = "everyone: " + missing[0]
	}
}

// listed is a table of the plan that may list ids.
type listed struct {
	*member
	to *Listing
}

// by makes the table list the id of the command. It returns why it can't.
func (l listed) by(id string) string {
	name := strings.TrimSuffix(id, "_id")
	var columns []string
	for i, c := range l.to.conditions {
		switch {
		case c.value.id == id && c.value.part.of == 0 && l.to.id == (condition{}):
			l.to.id = c
		case c.value.id == id, c.value.lookup != nil && c.value.lookup.uses(func(used string) bool { return used == id }):
			return fmt.Sprintf("%s must have $%s in one column, as it is in the command, to be listed", l.rel, name)
		case c.value.constant == "":
			columns = append(columns, unquoted(l.to.conditions[i].column))
		}
	}
	if l.to.id == (condition{}) {
		return fmt.Sprintf("%s has no column with $%s", l.rel, name)
	}
	then := unquoted(l.to.id.column)
	for _, rel := range append([]*relation{l.rel}, l.heirs()...) {
		if rel != nil && !rel.indexed(columns, l.constants, then) {
			return fmt.Sprintf("%s has no btree index that leads with %s and goes on with %s; run: %s", rel, list(columns), quote(then),
				createIndex("create index", rel, append(append(slices.Clone(columns), l.constants...), then)))
		}
	}
	return ""
}

func (l listed) heirs() []*relation {
	if l.rel == nil {
		return nil
	}
	return l.rel.heirs
}
