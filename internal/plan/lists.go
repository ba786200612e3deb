package plan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lethe-im/lethe/internal/purge"
)

// List is a table in which an index lists ids: the conversations of a user, or the users of a conversation. A
// statement reads a page along the index, or skips from one id to the next.
type List struct {
	Name       string      // of the table, quoted
	Skips      bool        // an id may have many rows, and the index leads from the first of one to that of the next
	conditions []condition // on the ids that are given
	id         condition   // on the one that is listed
}

// OfArgs is the condition that the row belongs to the list of a statement's one user or conversation; see [Table.MatchArgs].
func (l *List) OfArgs(row string) string { return allOf(row, l.conditions, idArgs()) }

// ID is the id that the row lists, as text, a UUID in lower case.
func (l *List) ID(row string) string { return row + "." + l.id.column + "::text" }

// Order is the column in whose order ids are listed.
func (l *List) Order(row string) string { return row + "." + l.id.column }

// Text says that the ids are text. The empty text is none.
func (l *List) Text() bool { return l.id.typ != bigintKey && l.id.typ != intKey && l.id.typ != uuidKey }

// After is the condition that the row's id is behind the one of the expression, of type text.
func (l *List) After(row, id string) string {
	if !l.Text() {
		return fmt.Sprintf("%s.%s > (%s)::%s", row, l.id.column, id, l.id.typ)
	}
	return fmt.Sprintf("%s.%s::text > %s", row, l.id.column, id)
}

// From is the condition that the row's id is behind the one of the expression, of type text, or that there is none of it, for a scan
// that begins there.
func (l *List) From(row, id string) string {
	least, typed := map[keyType]string{
		bigintKey: "-9223372036854775808", intKey: "-2147483648", uuidKey: "00000000-0000-0000-0000-000000000000",
	}[l.id.typ]
	from := fmt.Sprintf("%s.%s::text >= %s", row, l.id.column, id)
	if typed {
		from = fmt.Sprintf("%s.%s >= coalesce(nullif(%s, ''), '%s')::%s", row, l.id.column, id, least, l.id.typ)
	}
	return from + " and " + l.ID(row) + " <> " + id
}

// lists are the tables that list ids, or why there are none.
type lists struct {
	tables []*List
	why    string
}

func (l lists) get() ([]*List, error) {
	if l.why != "" {
		return nil, fmt.Errorf("%w: %s", purge.ErrUnsupportedScope, l.why)
	}
	return l.tables, nil
}

// ConversationsOfUser lists the conversations of a user: in copies by the messages first and then, if there is such a table,
// by the conversations' rows; in a shared log by the members' rows. The error wraps [purge.ErrUnsupportedScope].
func (s *Checked) ConversationsOfUser() ([]*List, error) { return s.conversationsOfUser.get() }

// UsersOfConversation lists the users who have rows of a conversation, for scope everyone: in copies by the messages or the
// conversations' rows, as far as an index does, in a shared log by the members' rows. There is none where no table says who reads
// a shared log. The error wraps [purge.ErrUnsupportedScope].
func (s *Checked) UsersOfConversation() ([]*List, error) { return s.usersOfConversation.get() }

// checkLists finds the indexes by which ids are listed.
func (k *checker) checkLists(s *Checked) {
	tables := []listed{{&k.messages, s.Messages.conditions, nil}, {&k.convs, s.Conversations.conditions, nil}}
	if s.Members != nil {
		tables = []listed{{&k.memb, s.Members.conditions, k.active}}
	}
	tables = slices.DeleteFunc(tables, func(t listed) bool { return t.member.rel == nil })
	switch {
	case s.Shared && s.Members == nil:
		s.conversationsOfUser.why = "no table says whose the conversations are (members: none)"
		return
	case s.Messages.pointer != nil:
		s.conversationsOfUser.why = "the messages are pointers, whose conversations no index of theirs lists"
	default:
		s.conversationsOfUser = k.listAll(tables, "conversation")
	}
	switch {
	case s.Members != nil:
		s.usersOfConversation = k.listAll(tables, "user")
	case s.Everyone == nil:
		s.usersOfConversation.why = "the plan has no everyone: {prefix: …}"
	default:
		k.listAny(s, tables)
	}
}

// listed is a table that may list ids, and its conditions.
type listed struct {
	*member
	conditions []condition
	active     []index // of the rows that the conditions let through
}

// listAll wants each of the tables to list the ids.
func (k *checker) listAll(tables []listed, name string) (out lists) {
	for _, t := range tables {
		l, missing, err := t.list(name)
		switch {
		case err != nil:
			return lists{why: err.Error()}
		case missing != "":
			why := fmt.Sprintf("no index of %s lists the %ss of a %s", t.rel, name, map[string]string{"user": "conversation", "conversation": "user"}[name])
			if name == "conversation" {
				k.notes = append(k.notes, fmt.Sprintf("%s: %s, so that commands with all_conversations are refused (unsupported_scope); for them, run: %s", t.path, why, missing))
			}
			return lists{why: why + "; run: " + missing}
		}
		out.tables = append(out.tables, l)
	}
	return out
}

// listAny wants one of the tables to list the owners of a conversation.
func (k *checker) listAny(s *Checked, tables []listed) {
	var missing []string
	for _, t := range tables {
		switch l, create, err := t.list("user"); {
		case err != nil: // which the plan's validation has found
		case create != "":
			missing = append(missing, create)
		default:
			s.usersOfConversation.tables = append(s.usersOfConversation.tables, l)
		}
	}
	if len(s.usersOfConversation.tables) == 0 && len(missing) > 0 {
		// Not refused: a worker must start on tables that were enough for an older plan.
		const why = "no index lists the owners of a conversation"
		s.usersOfConversation.why = why + "; run: " + missing[len(missing)-1]
		k.warn("everyone: %s, so that commands with scope everyone are refused (unsupported_scope); run: %s; or take everyone out of the plan", why, missing[len(missing)-1])
	}
}

// list is how the table lists the ids of this name; missing is the statement that makes the index for it.
func (t listed) list(name string) (l *List, missing string, err error) {
	l = &List{Name: t.name(), Skips: t.path == "messages"}
	for _, c := range t.conditions {
		switch {
		case c.value.id == name+"_id" && c.value.part.of == 0:
			l.id = c
		case c.uses(name + "_id"):
			return nil, "", fmt.Errorf("%s of %s has no more than a part of $%s, or what is looked up by it, so that no %[3]s can be listed", c.column, t.rel, name)
		default:
			l.conditions = append(l.conditions, c)
		}
	}
	if l.id.column == "" {
		return nil, "", errors.New("no column of " + t.name() + " is compared with $" + name)
	}
	id, constants := unquoted(l.id.column), t.constants
	keys := slices.DeleteFunc(slices.Clone(t.keys), func(c string) bool { return c == id })
	if slices.ContainsFunc(t.active, func(i index) bool { return i.leads(keys, constants, id) || i.leads(keys, constants, "") }) {
		return l, "", nil
	}
	for _, rel := range append([]*relation{t.rel}, t.rel.heirs...) {
		// Of few rows, one for each id, all may be read for a page of them; of messages only the first of each id.
		if !rel.indexed(keys, constants, id) && (t.path == "messages" || !rel.indexed(keys, constants, "")) {
			return nil, createIndex("create index", rel, slices.Concat(keys, constants, []string{id})), nil
		}
	}
	return l, "", nil
}
