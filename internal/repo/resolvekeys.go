package repo

import (
	"fmt"
	"slices"
)

// checkForeignKeys looks at every foreign key that refers to a table of the
// plan, and decides whether what refers to a message has to go before it.
func (k *checker) checkForeignKeys(s *schema) {
	for _, f := range k.cat.keys {
		s.Locked = s.Locked || k.at(f.to, "messages") && f.from != f.to && !k.at(f.from, "conversations")
	}
	for _, f := range k.cat.keys {
		if !k.planned(f.to) {
			continue // the ledger's
		}
		if !k.planned(f.from) {
			k.refuse("table %s refers to %s by foreign key %s (%s) and is not in the plan: it would hold the deletion up, or be changed without a bound; add it to the children, or drop the foreign key",
				f.fromName, f.to, quote(f.name), f.action())
			continue
		}
		if why := k.conflict(f, s.Locked); why != "" {
			k.refuse("foreign key %s of %s to %s (%s): %s", quote(f.name), f.from, f.to, f.action(), why)
		}
		if k.at(f.to, "conversations") && f.from != f.to && f.changes() {
			s.cascades = fmt.Sprintf("foreign key %s of %s (%s)", quote(f.name), f.from, f.action())
			k.warnings = append(k.warnings, "commands with keep_history will fail, for the history would go with the conversation's row, by "+s.cascades)
		}
		k.wantIndex(f.from, "foreign key "+quote(f.name), f.columns, "")
	}
}

// action is what the key does when the row that it refers to is deleted.
func (f foreignKey) action() string {
	return "on delete " + map[string]string{"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}[f.onDelete]
}

// changes says that the referring row is changed or deleted, and blocks says
// that it is an obstacle.
func (f foreignKey) changes() bool { return !f.blocks() }
func (f foreignKey) blocks() bool  { return f.onDelete == "a" || f.onDelete == "r" }

// at says that the relation is the messages or the conversations.
func (k *checker) at(r *relation, path string) bool {
	m := k.messages
	if path == "conversations" {
		m = k.convs
	}
	return r != nil && m.rel == r
}

func (k *checker) planned(r *relation) bool {
	return r != nil && slices.ContainsFunc(k.members(), func(m member) bool { return m.rel == r })
}

// conflict says why the plan can't be carried out with the foreign key, and
// what to do about it; "" if it can.
func (k *checker) conflict(f foreignKey, locked bool) string {
	const mend = "make it on delete set null, or drop it"
	fromChild := !k.at(f.from, "messages") && !k.at(f.from, "conversations")
	switch {
	case fromChild && k.at(f.to, "messages"):
		return k.uncovered(f)
	case fromChild && k.at(f.to, "conversations"), k.at(f.from, "messages") && k.at(f.to, "conversations"):
		return "" // the row goes when nothing of the history is left
	case fromChild: // to a child
		return k.misplaced(f)
	case f.onDelete == "c":
		return "rows that the deletion doesn't cover would go, too; " + mend
	case f.blocks() && k.at(f.from, "messages") && !k.at(f.to, "messages") && !locked:
		return "" // messages go before their children
	case f.blocks():
		return "a row that stays would keep the deletion from finishing; " + mend
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

// uncovered says that rows of a child may refer to a message and yet not hang on
// it by the plan.
func (k *checker) uncovered(f foreignKey) string {
	for _, m := range k.children {
		if m.rel != f.from {
			continue
		}
		if m.ref.Column == "" || m.ref.To == "" {
			return "" // a range, or something is missing, which has been told
		}
		for i, c := range f.columns {
			if c == m.ref.Column && f.refs[i] == m.ref.To {
				return ""
			}
		}
	}
	return fmt.Sprintf("no entry of the plan goes this way; add to children: {table: %s, references: {column: %s, to: %s}}",
		f.from, quote(f.columns[len(f.columns)-1]), quote(f.refs[len(f.refs)-1]))
}

// misplaced says that a child stands in the plan after another to which it
// refers, and which goes first.
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
