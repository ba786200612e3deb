package plan

import (
	"regexp"
	"slices"
	"strings"
)

// checkDoubts warns of what is legal, and often not what was meant: names tell.
func (k *checker) checkDoubts() {
	for _, id := range k.plan.IDs {
		if id.Lookup != nil {
			k.doubtLookup(id)
		}
	}
	for _, e := range k.plan.Entries() {
		rel := k.relation(e.Table)
		if rel == nil {
			continue
		}
		if strings.HasPrefix(e.Path, "messages") {
			k.doubtSender(e, rel)
		}
		if e.References == nil || e.Seq.Column != "" {
			k.doubtAll(e, rel)
		} else if !e.isParent() {
			k.doubtReference(e, rel)
		}
	}
}

// doubtLookup warns of an id that rows of several people may have in common.
func (k *checker) doubtLookup(id ID) {
	rel := k.relation(id.Lookup.Table)
	column, _ := parseColumn(id.Lookup.Column) // validated
	if rel == nil || rel.columns[column].typ == 0 || !k.plan.commands(Value{Name, id.Name}) {
		return
	}
	with := []string{column}
	for _, w := range id.Lookup.Where {
		if w.Value == (Value{Name, "app"}) { // which the tables have, too
			name, _ := parseColumn(w.Column)
			with = append(with, name)
		}
	}
	if !rel.unique(with...) {
		k.warn("ids.%s: several rows of %s may have the same %s, and a deletion for one of them would find what belongs to the others; look up a column that is unique", id.Name, rel, quote(column))
	}
}

// isParent reports whether the entry above refers to this one.
func (e Placed) isParent() bool {
	return strings.HasPrefix(e.Path[strings.LastIndexByte(e.Path, '.')+1:], "parents[")
}

// senders are bare names of columns that say who has written a message, and not whose copy it is.
var senders = regexp.MustCompile(`^(sender|sentby|author|from|creat(or|edby)|post(er|edby)|writer|writtenby|fromuser)(id|jid|userid|uid|name)?$`)

func (k *checker) doubtSender(e Placed, rel *relation) {
	for _, c := range e.Conditions() {
		column, _ := parseColumn(c.Column) // validated
		if k.plan.binds([]Pair{c}, "user") != notAtAll && senders.MatchString(bare(column)) {
			k.warn("%s: by its name, column %s of %s is who sent the message, and not whose copy it is: a deletion would take what its user has sent from everybody, and leave what others have sent; "+
				"name the column of the message's owner; if there is none, the table is a log that members share, and no plan of copies fits it", e.Path, quote(column), rel)
		}
	}
}

// discriminators are bare names of columns that tell what kind of row it is. The first ones say so alone, the others where a key
// counts on them.
var (
	discriminators     = regexp.MustCompile(`^(store|box|folder|mailbox|namespace|bucket|scope)(id|name)?$`)
	discriminatorsKeys = regexp.MustCompile(`^(.*type|.*kind|class|category)$`)
)

// doubtAll warns where an index by which rows are found has a column more, which tells rows apart, and no condition names it.
func (k *checker) doubtAll(e Placed, rel *relation) {
	var named, ids []string
	for _, c := range e.Conditions() {
		column, _ := parseColumn(c.Column) // validated
		named = append(named, column)
		if c.Value.Kind == Name {
			ids = append(ids, column)
		}
	}
	if rel.unique(named...) {
		return // of one row
	}
	said := map[string]bool{}
	for _, i := range rel.indexes {
		if !slices.ContainsFunc(i.columns, func(c string) bool { return slices.Contains(ids, c) }) {
			continue
		}
		for _, c := range i.columns {
			tells := discriminators.MatchString(bare(c)) || i.unique && discriminatorsKeys.MatchString(bare(c))
			if tells && !said[c] && !slices.Contains(named, c) {
				said[c] = true
				k.warn("%s: by its name, column %s of %s tells kinds of rows apart (it is in index %s), and no condition names it: rows of every kind go; if they aren't all meant, add to where: {%s: …}",
					e.Path, quote(c), rel, quote(i.name), scalar(c))
			}
		}
	}
}

// doubtReference warns of a reference to rows of several tables without a condition that tells of which.
func (k *checker) doubtReference(e Placed, rel *relation) {
	for _, planned := range e.References.Column {
		column, _ := parseColumn(planned) // validated
		stem, isID := strings.CutSuffix(bare(column), "id")
		if stem == "object" { // as Django calls it
			stem = "content"
		}
		if !isID || slices.ContainsFunc(k.cat.keys, func(f foreignKey) bool { return f.from == rel && slices.Contains(f.columns, column) }) {
			continue
		}
		for _, c := range rel.columnNames() {
			if bare(c) != stem+"type" && bare(c) != stem+"typeid" || e.names(c) {
				continue
			}
			k.warn("%s: by their names, %s and %s of %s refer to rows of several tables, and no condition says of which: rows that belong to another table's row of the same number would go; add to where: {%s: …}",
				e.Path, quote(c), quote(column), rel, scalar(c))
		}
	}
}

// names reports whether one of the entry's conditions is on the column.
func (e Placed) names(column string) bool {
	return slices.ContainsFunc(e.Conditions(), func(c Pair) bool {
		name, _ := parseColumn(c.Column)
		return name == column
	})
}
