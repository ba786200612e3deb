package plan

import (
	"fmt"
	"slices"
	"strings"
)

// checkForeignKeys checks every foreign key that refers to a table of the plan
// or is of one, and decides whether what refers to a message has to go before it.
func (k *checker) checkForeignKeys(s *Checked) {
	for _, f := range k.cat.keys {
		s.Locked = s.Locked || k.at(f.to, "messages") && f.from != f.to && !k.at(f.from, "conversations") && !k.at(f.from, "members")
	}
	s.Loose = k.loose(s)
	for _, f := range k.cat.keys {
		if k.planned(f.from) && k.elsewhere(f) {
			continue // and no more of a key that the plan takes for another
		}
		if !k.planned(f.to) {
			continue
		}
		if deletes, _ := k.changes("members"); k.at(f.to, "conversations") && k.plan.Conversations.Keep || k.at(f.to, "members") && !deletes {
			continue // its rows never go
		}
		if parent, covered := k.ofParent(f); parent {
			if !covered {
				k.refuse("table %s refers to %s by foreign key %s (%s), and the plan doesn't say whether its rows keep a row of %[2]s or go with it; %[5]s",
					f.fromName, f.to, quote(f.name), f.action(), k.either(f))
				continue
			}
			k.wantIndex(f.from, "foreign key "+quote(f.name), f.columns, nil, "")
			continue
		}
		if !k.planned(f.from) {
			k.refuse("table %s refers to %s by foreign key %s (%s) and is not in the plan: it would block the deletion, or be changed without a bound; %s",
				f.fromName, f.to, quote(f.name), f.action(), k.either(f))
			continue
		}
		if why := k.conflict(f, s.Locked); why != "" {
			k.refuse("foreign key %s of %s to %s (%s): %s", quote(f.name), f.from, f.to, f.action(), why)
		}
		ending := slices.ContainsFunc(k.convChildren, func(m member) bool { return m.rel == f.from })
		if k.at(f.to, "conversations") && f.from != f.to && f.changes() && !ending && !k.plan.Shared() {
			s.cascades = fmt.Sprintf("foreign key %s of %s (%s)", quote(f.name), f.from, f.action())
			k.warnings = append(k.warnings, "commands with keep_history will fail, for the history would go with the conversation's row, by "+s.cascades)
		}
		k.wantIndex(f.from, "foreign key "+quote(f.name), f.columns, nil, "")
	}
}

// loose decides [Checked.Loose]: whether a foreign key takes the message from a child row, or
// rows belong to a message by a reference and no foreign key keeps it, or deletes them with it.
func (k *checker) loose(s *Checked) bool {
	for i, m := range k.children {
		tied := s.Children[i].Reference == nil // by the message's position, which the row still has when the message is gone
		for _, f := range k.cat.keys {
			if above := m.above; f.from != m.rel || above == nil && !k.at(f.to, "messages") || above != nil && f.to != above.rel {
				continue
			}
			if f.changes() && f.onDelete != "c" {
				return true
			}
			tied = tied || m.ref.within(f) && (f.required() || len(f.columns) == 1)
		}
		if !tied {
			return true
		}
	}
	return false
}

// ofParent reports whether the foreign key refers to a parent, and whether the plan has its rows: as those
// above the parent, below it, or in kept_by.
func (k *checker) ofParent(f foreignKey) (parent, covered bool) {
	for _, p := range k.parents {
		if p.rel != f.to {
			continue
		}
		parent = true
		covered = covered || p.above.rel == f.from && p.ref.within(f)
		for _, m := range k.children {
			covered = covered || m.rel == f.from && m.above != nil && m.above.path == p.path && m.ref.within(f)
		}
		for _, m := range k.keepers { // a row that its conditions leave out would block the deletion
			covered = covered || m.rel == f.from && m.above.path == p.path && m.ref.within(f) && (len(m.where) == 0 || f.changes())
		}
	}
	return parent, covered
}

// action is what the key does when the row that it refers to is deleted.
func (f foreignKey) action() string {
	return "on delete " + map[string]string{"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}[f.onDelete]
}

// changes reports whether the referring row is changed or deleted, and blocks
// whether it is an obstacle.
func (f foreignKey) changes() bool { return !f.blocks() }
func (f foreignKey) blocks() bool  { return f.onDelete == "a" || f.onDelete == "r" }

// at reports whether the relation is the messages', the conversations' or the members'.
func (k *checker) at(r *relation, path string) bool {
	m := map[string]*member{"messages": &k.messages, "conversations": &k.convs, "members": &k.memb}[path]
	return r != nil && m.rel == r
}

func (k *checker) planned(r *relation) bool {
	return r != nil && slices.ContainsFunc(k.members(), func(m member) bool { return m.rel == r })
}

// conflict returns why the plan can't be carried out with the foreign key, and
// what to do about it; "" if it can.
func (k *checker) conflict(f foreignKey, locked bool) string {
	const advice = "make it on delete set null, or drop it"
	fromChild := !k.at(f.from, "messages") && !k.at(f.from, "conversations") && !k.at(f.from, "members")
	switch {
	case k.at(f.to, "members"), k.at(f.from, "members") && k.at(f.to, "conversations"):
		return "" // members' rows go when no message is left, and the conversation's after them
	case fromChild && k.at(f.to, "messages"):
		return k.uncovered(f)
	case fromChild && k.at(f.to, "conversations"), k.at(f.from, "messages") && k.at(f.to, "conversations"):
		return "" // the row goes when nothing of the history is left
	case fromChild: // to a child
		return k.misplaced(f)
	case f.onDelete == "c":
		return "rows that the deletion doesn't cover would go, too; " + advice
	case f.blocks() && k.at(f.from, "messages") && !k.at(f.to, "messages") && !locked:
		return "" // messages go before their children
	case f.blocks():
		return "a row that stays would keep the deletion from finishing; " + advice
	}
	for _, m := range k.members() {
		for _, c := range f.sets {
			if m.rel == f.from && (m.seq == c || slices.Contains(m.keys, c)) {
				return fmt.Sprintf("it would change %s, by which the plan finds rows; drop it, or have it set other columns only", quote(c))
			}
		}
	}
	return ""
}

// uncovered returns why rows of a child may refer to a message and yet not belong to
// it by the plan.
func (k *checker) uncovered(f foreignKey) string {
	for _, m := range k.children {
		if m.rel != f.from {
			continue
		}
		if m.ref.none() || m.above != nil && m.above.rel == f.to && m.ref.within(f) {
			return "" // a range is none, and so is one of which something is missing, which has been reported
		}
	}
	return "the plan has no entry for it; " + k.either(f)
}

// meaning is the messages' column whose value stands in the column of a table of
// the plan, by the plan; "" for none.
func (k *checker) meaning(rel *relation, column string) string {
	for _, m := range k.members() {
		i := slices.Index(m.keys, column)
		switch {
		case m.rel == nil || m.rel != rel || column == "":
		case m.path == k.messages.path:
			return column
		case m.own().to(column) != "":
			return m.own().to(column)
		case column == m.seq:
			return k.messages.seq
		case i >= 0:
			if at := slices.Index(k.messages.ids, m.ids[i]); at >= 0 {
				return k.messages.keys[at]
			}
		}
	}
	return ""
}

// elsewhere refuses a column by which the plan finds rows where its foreign key
// shows that it refers to something else: the same number is another row's there, and
// others' rows would go.
func (k *checker) elsewhere(f foreignKey) bool {
	for _, m := range k.members() {
		if m.rel != f.from {
			continue
		}
		for i, c := range f.columns {
			position := slices.Contains(m.own().Column, c) || c == m.seq
			id := slices.Contains(m.keys, c) && k.planned(f.to) && !k.at(f.to, "messages")
			switch {
			case m.above != nil && f.to == m.above.rel && f.refs[i] == m.own().to(c):
			case m.path == k.messages.path && !id, !position && !id, k.meaning(m.rel, c) == "":
			case k.planned(f.to) && k.meaning(f.to, f.refs[i]) == k.meaning(m.rel, c), k.lookedUp(m, c, f.to, f.refs[i]):
			case k.follows(m, c), k.toParent(f):
			case !k.planned(f.to) && k.sharesKey(k.meaning(m.rel, c), f.toName, f.refs[i]):
			default:
				k.refuse("%s: column %s of %s refers to %s of %s by foreign key %s, and not to %s of %s: rows of others would be deleted; take it out of the plan, and don't drop the foreign key while it is there",
					m.path, quote(c), m.rel, quote(f.refs[i]), f.toName, quote(f.name), quote(k.meaning(m.rel, c)), k.messages.rel)
				return true
			}
		}
	}
	return false
}

// follows reports whether another foreign key, which has the column, is just the entry's reference: then the rows are those that
// the plan means, whatever else the column refers to.
func (k *checker) follows(m member, column string) bool {
	ref, to := m.own(), k.messages.rel
	if m.above != nil {
		to = m.above.rel
	}
	if to == nil || ref.none() {
		return false
	}
	return ref.to(column) != "" && slices.ContainsFunc(k.cat.keys, func(f foreignKey) bool { return f.from == m.rel && f.to == to && ref.within(f) })
}

// toParent reports whether the foreign key is just that of a parent's reference: (tenant_id, file_id) of a message
// refers to its file, and its tenant_id stays the message's own.
func (k *checker) toParent(f foreignKey) bool {
	return slices.ContainsFunc(k.parents, func(p member) bool { return p.rel == f.to && p.above.rel == f.from && p.ref.within(f) })
}

// lookedUp reports whether the column is compared with the key of a row that the plan looks up there.
func (k *checker) lookedUp(m member, column string, to *relation, key string) bool {
	i := slices.Index(m.keys, column)
	if i < 0 {
		return false
	}
	id, _ := k.plan.ID(strings.TrimPrefix(m.ids[i], "$"))
	if id.Lookup == nil {
		return false
	}
	table, _ := parseTable(id.Lookup.Table) // validated
	name, _ := parseColumn(id.Lookup.Column)
	return k.cat.relations[table] == to && name == key
}

// sharesKey reports whether the messages' column refers to the same key of another table.
func (k *checker) sharesKey(column, table, key string) bool {
	return slices.ContainsFunc(k.cat.keys, func(f foreignKey) bool {
		for i, c := range f.columns {
			if k.at(f.from, "messages") && c == column && f.toName == table && f.refs[i] == key {
				return true
			}
		}
		return false
	})
}

// misplaced returns why a child must come earlier in the plan: it refers to another one,
// which is deleted first.
func (k *checker) misplaced(f foreignKey) string {
	if f.changes() || f.from == f.to {
		return ""
	}
	first := slices.IndexFunc(k.children, func(m member) bool { return m.rel == f.to })
	for i, m := range k.children {
		if m.rel == f.from && i > first {
			return fmt.Sprintf("%s goes first, which it doesn't allow; in the plan, put %s before %s", f.to, m.path, k.children[first].path)
		}
	}
	return ""
}
