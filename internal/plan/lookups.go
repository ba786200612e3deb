package plan

import (
	"fmt"
	"slices"
	"strings"
)

// checkLookups refuses conditions on what was looked up that rows of others meet, too: where the looked-up column isn't unique
// alone, the conditions beside it must complete a unique key of that table.
func (k *checker) checkLookups() {
	entries := k.plan.Entries()
	for _, e := range entries {
		conds := e.Conditions()
		beside := conds
		if i := k.plan.Pointed(); i >= 0 && e.Path == nth("messages.parents", i) {
			beside = append(beside, k.plan.Messages.Conditions()...) // of the pointer, with which it is found
		}
		k.checkLookedUp(e.Path, e.Table, conds, beside)
	}
	for _, id := range k.plan.IDs {
		if id.Lookup != nil {
			k.checkLookedUp("ids."+id.Name, id.Lookup.Table, id.Lookup.Where, id.Lookup.Where)
		}
	}
}

func (k *checker) checkLookedUp(path, table string, conds, beside []Pair) {
	for _, c := range conds {
		id, _ := k.plan.ID(c.Value.Text)
		if c.Value.Kind != Name || id.Lookup == nil || !k.plan.commands(c.Value) {
			continue
		}
		rel, column := k.relation(id.Lookup.Table), ""
		if column, _ = parseColumn(id.Lookup.Column); rel == nil || rel.columns[column].typ == 0 || k.relation(table) == nil {
			continue // which has been reported
		}
		missing, ok := k.completes(rel, column, *id.Lookup, beside)
		if ok && len(missing) == 0 {
			continue
		}
		what := fmt.Sprintf("%s: %s is compared with $%s, and several rows of %s may have the same %s: rows that belong to another of them would be deleted",
			path, scalar(c.Column), id.Name, rel, quote(column))
		if !ok {
			k.refuse("%s; look up a column that is unique, or if this one is, run: %s", what, createIndex("create unique index", rel, []string{column}))
			continue
		}
		var names []string
		var add []Pair
		for _, p := range missing {
			names, add = append(names, p.Column), append(add, Pair{"…", p.Value})
		}
		k.refuse("%s; which column of %s has what %s of %s has? add to where: %s", what, k.relation(table), list(names), rel, strings.ReplaceAll(pairs(add), "'…'", "…"))
	}
}

// completes finds the conditions of a lookup that are missing beside one on what it finds, for both to be of one row. It isn't ok
// where no unique index has the column and, of the others, only those of the lookup's conditions.
func (k *checker) completes(rel *relation, column string, l Lookup, beside []Pair) (missing []Pair, ok bool) {
	if rel.unique(column) {
		return nil, true
	}
	if len(rel.heirs) > 0 {
		return nil, false
	}
	for _, i := range rel.indexes {
		if !i.unique || !slices.Contains(i.columns, column) {
			continue
		}
		var lacks []Pair
		known := true
		for _, other := range i.columns {
			at := slices.IndexFunc(l.Where, func(w Pair) bool { name, _ := parseColumn(w.Column); return name == other })
			switch {
			case other == column, k.sameRow(l, other, beside):
			case at < 0:
				known = false
			case !slices.ContainsFunc(beside, func(c Pair) bool { return c.Value == l.Where[at].Value }):
				lacks = append(lacks, Pair{other, l.Where[at].Value})
			}
		}
		if known && (!ok || len(lacks) < len(missing)) {
			missing, ok = lacks, true
		}
	}
	return missing, ok
}

// sameRow reports whether one of the conditions is on another column of the row that the lookup finds.
func (k *checker) sameRow(l Lookup, column string, beside []Pair) bool {
	return slices.ContainsFunc(beside, func(c Pair) bool {
		id, _ := k.plan.ID(c.Value.Text)
		if c.Value.Kind != Name || id.Lookup == nil || id.Lookup.Table != l.Table || !slices.Equal(id.Lookup.Where, l.Where) {
			return false
		}
		name, _ := parseColumn(id.Lookup.Column)
		return name == column
	})
}
