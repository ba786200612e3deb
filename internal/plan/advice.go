package plan

import (
	"fmt"
	"slices"
	"strings"
)

// either is what to do about a foreign key that the plan doesn't follow. What an entry does must be
// right for whoever just adds it: it deletes rows only where each of them refers to one that goes, and else
// takes the reference from them. Whether they are to go nobody but the operator knows.
func (k *checker) either(f foreignKey) string {
	drop := fmt.Sprintf("run: alter table %s drop constraint %s", f.fromName, quote(f.name))
	place, entry := k.entry(f)
	switch {
	case entry == "":
		return "no entry of the plan can describe just its rows: keep them, or delete them yourself; " + drop
	case strings.HasSuffix(place, "kept_by"):
		return fmt.Sprintf("if they keep it, add to %s: %s; if they go with it, add that to %s", place, entry, strings.TrimSuffix(place, "kept_by")+"children")
	case f.required():
		return fmt.Sprintf("if each of its rows is a part of what it refers to and may be deleted with it, add to %s: %s; if not, %s", place, entry, drop)
	case f.loses() != "" && !strings.HasPrefix(place, "conversations"):
		entry = fmt.Sprintf("{table: %s, references: {column: %s, to: %s}, set: {%s: null}}", scalar(tableOf(f.fromName)), scalars(f.columns), scalars(f.refs), scalar(f.loses()))
		return fmt.Sprintf("if its rows stay, and lose the reference, add to %s: %s; if each of them is a part of what it refers to, and is to be deleted with it, leave set out; else %s", place, entry, drop)
	}
	return "add an entry by references if each row that refers to it is a part of it; else " + drop
}

// entry is the plan's entry for the rows that refer by the foreign key, and where it stands; "" if there is none.
func (k *checker) entry(f foreignKey) (place, entry string) {
	table := scalar(tableOf(f.fromName))
	to, columns := f.refs, f.columns
	switch above := k.entryOf(f.to); {
	case above == nil || above.rel == nil:
		return "", ""
	case above.path == k.messages.path:
		place = "children"
		for i, ref := range f.refs {
			if above.rel.unique(ref) {
				to, columns = f.refs[i:i+1], f.columns[i:i+1]
			}
		}
		if len(to) > 1 {
			if e := k.rangeEntry(f, table); e != "" {
				return place, e
			}
		}
	case above.path == k.convs.path:
		place = "conversations.children"
		if k.plan.Conversations.Keep {
			return "", ""
		}
	case above.parent:
		place = above.path + ".kept_by"
	default:
		if e := k.rangeEntry(f, table); e != "" {
			return "children", e
		}
		place = above.path + ".children"
	}
	if !f.to.unique(to...) {
		return "", ""
	}
	return place, fmt.Sprintf("{table: %s, references: {column: %s, to: %s}}", table, scalars(columns), scalars(to))
}

// entryOf is the entry of the table with rows that go; nil if there is none.
func (k *checker) entryOf(rel *relation) *member {
	for _, m := range slices.Concat([]member{k.messages, k.convs}, k.children, k.parents) {
		if m.rel == rel && len(m.sets) == 0 || m.rel == rel && m.path == k.convs.path {
			return &m
		}
	}
	return nil
}

// rangeEntry is the entry for rows that have the messages' own columns; "" if they haven't.
func (k *checker) rangeEntry(f foreignKey, table string) string {
	by := map[string]string{} // the messages' column: that of the foreign key
	for i, ref := range f.refs {
		by[k.meaning(f.to, ref)] = f.columns[i]
	}
	var conds []string
	for i, key := range k.messages.keys {
		if key == "" || by[key] == "" {
			return ""
		}
		conds = append(conds, scalar(by[key])+": "+k.messages.ids[i])
	}
	if k.messages.seq == "" || by[k.messages.seq] == "" {
		return ""
	}
	return fmt.Sprintf("{table: %s, where: {%s}, seq: %s}", table, strings.Join(conds, ", "), scalar(by[k.messages.seq]))
}

// tableOf is a quoted table as a plan writes it.
func tableOf(quoted string) string {
	n, _ := parseTable(quoted)
	return planTable(&relation{schema: n.schema, name: n.name})
}

// checkTied warns where nothing makes a new reference to a parent wait for the deletion that is about to remove it.
func (k *checker) checkTied() {
	for _, m := range slices.Concat(k.parents, k.keepers) {
		from, to := m.rel, m.above.rel
		if m.parent {
			from, to = to, from
		}
		if from == nil || to == nil || m.ref.none() || k.tied(from, to, m.ref) {
			continue
		}
		advice := fmt.Sprintf("if there can be one, run: alter table %s add foreign key (%s) references %s (%s) not valid", from, list(m.ref.Column), to, list(m.ref.To))
		if len(m.where) > 0 && !m.parent || !k.sameTypes(from, to, m.ref) {
			advice = "writers must lock the row that they refer to (select … for key share)"
		}
		k.warn("%s: no foreign key ties %s of %s to %s: a reference that is added while its last other one is deleted may be left with none; %s",
			m.path, list(m.ref.Column), from, to, advice)
	}
}

// tied reports whether a foreign key has the reference's columns.
func (k *checker) tied(from, to *relation, r Reference) bool {
	return slices.ContainsFunc(k.cat.keys, func(f foreignKey) bool { return f.from == from && f.to == to && r.within(f) })
}

func (k *checker) sameTypes(from, to *relation, r Reference) bool {
	for i, c := range r.Column {
		if !joinable(from.columns[c], to.columns[r.To[i]]) {
			return false
		}
	}
	return true
}
