package plan

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/lethe-im/lethe/internal/purge"
)

// Checked is a plan that a catalog agrees with: quoted names, the types of
// columns, and the parts of statements that follow from them. Don't change it. Safe for
// concurrent use.
type Checked struct {
	Messages      Messages
	Conversations Conversations
	// Shared is set where the messages are a shared log, and Members says then who reads it: nil where no table does.
	Shared  bool
	Members *Members
	// Everyone says of which conversations all owners' copies can be deleted; nil for none, and in a shared log.
	Everyone *Everyone
	// Children are the tables of child rows, in the order in which their rows go: what refers to a row
	// comes before it. Parents are those of the messages.
	Children []*Child
	Parents  []*Parent
	// Locked is set where something refers to the messages by a foreign key or by
	// a reference: then child rows are deleted before their messages, or with them.
	Locked bool
	// Loose is set where a child row that comes in between could stay, and nothing would
	// show whose it was: then the messages are locked in a statement before that, too.
	Loose bool
	// Triggers is set where what the worker writes, or its commit, may fire a trigger, which may write anything: what it writes
	// last, no proof before has seen. The statements are the same without.
	Triggers bool
	// Encoding is the database's, as Postgres calls it.
	Encoding string
	// Warnings are what the check let pass but an operator should know, one line each.
	Warnings []string
	tenant   string
	// lookups are what the conditions compare columns with, each once.
	lookups []*lookup
	// bounds are the conditions that not every id can meet.
	bounds                                   []bound
	conversationsOfUser, usersOfConversation lists
	// cascades is the foreign key by which the history would go together with the
	// conversation's row, in words; "" if there is none.
	cascades string
}

// Tables are all tables from which rows go: the messages', the conversations', those of Children, those of
// AllParents, the conversations' children, and the members'.
func (s *Checked) Tables() []Table {
	out := []Table{s.Messages.Table, s.Conversations.Table}
	for _, c := range s.Children {
		out = append(out, c.Table)
	}
	for _, p := range s.AllParents() {
		out = append(out, p.Table)
	}
	for _, c := range s.Conversations.Children {
		out = append(out, c.Table)
	}
	if s.Members != nil && (s.Conversations.Name == "" || s.Conversations.Keep) { // else they are among the children
		out = append(out, s.Members.Table)
	}
	return out
}

// found are the tables with the conditions by which their rows are found.
func (s *Checked) found() []Table {
	out := s.Tables()
	if p := s.Messages.pointer; p != nil {
		out = append(out, p.Table)
	}
	if s.Members != nil {
		out = append(out, s.Members.Table)
	}
	return out
}

// bind collects the bounds and the lookups, so that a deletion is compared with no other columns.
func (s *Checked) bind() {
	seen := map[*lookup]bool{}
	var bind func(table string, conditions []condition)
	bind = func(table string, conditions []condition) {
		for _, c := range conditions {
			if !c.holdsAll() {
				s.bounds = append(s.bounds, bound{table, c})
			}
			if l := c.value.lookup; l != nil && !seen[l] {
				seen[l] = true
				bind(l.table, l.conditions)
			}
		}
	}
	for _, t := range s.found() {
		bind(t.Name, t.conditions)
		for _, c := range t.conditions {
			if l := c.value.lookup; l != nil && !slices.Contains(s.lookups, l) {
				s.lookups = append(s.lookups, l)
			}
		}
	}
	s.bindPins()
}

// Incompatible returns why the tables can't hold the deletion, nil if they can:
// [purge.ErrBoundaryRequired] where only through_seq is missing, and one that wraps
// [purge.ErrUnsupportedScope] where the plan can't do what is asked. whole is set where the reason is the
// command's, and not one conversation's.
func (s *Checked) Incompatible(d purge.Deletion) (whole bool, err error) {
	if s.tenant != "" && d.App != s.tenant {
		return true, fmt.Errorf("app_id must be %q, whose tables these are", s.tenant)
	}
	if s.cascades != "" && d.KeepHistory {
		return true, fmt.Errorf("keep_history: the history would go with the conversation's row, by %s", s.cascades)
	}
	if whole, err := s.unsupported(d); err != nil {
		return whole, fmt.Errorf("%w: %w", purge.ErrUnsupportedScope, err)
	}
	ids := map[string]string{"app_id": d.App, "user_id": d.User, "conversation_id": d.Conversation}
	for _, b := range s.bounds {
		id := ids[b.condition.value.id]
		switch {
		case id == "": // not known yet: of a command that names its deletions by a rule
			continue
		case d.Scope == purge.ScopeEveryone && d.User == d.RequestedBy && b.condition.value.id == "user_id": // who asks needn't be a member
			continue
		}
		if err := b.condition.fits(id); err != nil {
			return b.condition.value.id != "conversation_id", fmt.Errorf("table %s: %w", b.table, err)
		}
	}
	if s.Messages.SentAt == "" && d.ThroughSeq == nil && d.Boundary == nil {
		return false, purge.ErrBoundaryRequired
	}
	return false, nil
}

// unsupported returns why the plan can't do what the deletion asks for.
func (s *Checked) unsupported(d purge.Deletion) (whole bool, err error) {
	everyone := d.Scope == purge.ScopeEveryone
	switch {
	case s.Shared && d.KeepHistory:
		return true, errors.New("keep_history removes the conversation's row alone; in a shared log that is the app's to do")
	case s.Shared && s.Members == nil && !everyone:
		return true, errors.New("all users share the messages, and no table says who reads them (members: none), so that only scope everyone can delete them")
	case s.Shared || !everyone:
	case s.Everyone == nil:
		return true, errors.New("the plan doesn't say for which conversations all owners share the id (everyone: {prefix: …}), so that scope everyone could mean others' conversations")
	case d.Conversation != "" && !strings.HasPrefix(d.Conversation, s.Everyone.Prefix):
		return false, fmt.Errorf("scope everyone is for conversations whose ids begin with %q; %q may be another conversation for each owner", s.Everyone.Prefix, d.Conversation)
	}
	return false, nil
}

// Conversation names the conversation as the tables do: the same for two
// spellings of one UUID, and for all users where no table says who they are.
func (s *Checked) Conversation(d purge.Deletion) [3]string {
	ids := map[string]string{"app_id": d.App, "user_id": d.User, "conversation_id": d.Conversation}
	for id, spelled := range ids {
		for _, p := range s.uuids(id) {
			ids[id] = p.lower(spelled)
			spelled = ids[id]
		}
	}
	if s.Shared && s.Members == nil {
		ids["user_id"] = ""
	}
	return [3]string{ids["app_id"], ids["user_id"], ids["conversation_id"]}
}

// LogID is the expression for the conversation's id in q as the tables have it, like [Checked.Conversation].
func (s *Checked) LogID(q string) string {
	id := q + ".conversation_id"
	for _, p := range s.uuids("conversation_id") {
		id = p.lowerSQL(id)
	}
	return id
}

// uuids are the parts of the id that are UUIDs, whose spelling doesn't matter, each once. The zero part stands for all of the id.
func (s *Checked) uuids(id string) (parts []idPart) {
	for _, b := range s.bounds {
		if c := b.condition; c.value.id == id && (c.typ == uuidKey || c.typ == uuidTextKey) && !slices.Contains(parts, c.value.part) {
			parts = append(parts, c.value.part)
		}
	}
	return parts
}

// StoresEveryID reports whether the database's encoding can store every id: that of Unicode,
// and the one that takes bytes as they come.
func (s *Checked) StoresEveryID() bool { return s.Encoding == "UTF8" || s.Encoding == "SQL_ASCII" }

// Same reports whether statements made from both are the same, and both accept the same
// ids. Warnings and Triggers don't count.
func (s *Checked) Same(other *Checked) bool {
	a, b := *s, *other
	a.Warnings, b.Warnings, a.Triggers, b.Triggers = nil, nil, false, false
	return reflect.DeepEqual(a, b)
}
