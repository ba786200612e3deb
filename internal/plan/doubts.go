package plan

import (
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// checkDoubts warns of what is legal, and often not what was meant: names tell.
func (k *checker) checkDoubts() {
	for _, e := range k.plan.Entries() {
		rel := k.relation(e.Table)
		if rel == nil {
			continue
		}
		if strings.HasPrefix(e.Path, "messages") {
			k.doubtSender(e, rel)
			k.doubtPosition(e, rel)
		}
		if e.Path == "members" {
			k.doubtMembers(e, rel)
			continue
		}
		k.doubtDeleted(e, rel)
		if strings.HasPrefix(e.Path, "conversations.children[") && e.References == nil {
			k.doubtPart(e, rel)
		}
		if e.References == nil || e.Seq.Column != "" {
			k.doubtAll(e, rel)
		} else if !e.isParent() {
			k.doubtReference(e, rel)
		}
	}
}

// isParent reports whether the entry above refers to this one.
func (e Placed) isParent() bool {
	return strings.HasPrefix(e.Path[strings.LastIndexByte(e.Path, '.')+1:], "parents[")
}

// senders are bare names of columns that say who has written a message, and not whose copy it is.
var senders = regexp.MustCompile(`^(sender|sentby|author|from|creat(or|edby)|post(er|edby)|writer|writtenby|(from|sender|author)account|fromuser)(id|jid|userid|uid|name)?$`)

func (k *checker) doubtSender(e Placed, rel *relation) {
	for _, c := range e.Conditions() {
		column, _ := parseColumn(c.Column) // validated
		if k.plan.binds([]Pair{c}, "user") != notAtAll && senders.MatchString(bare(column)) {
			k.warn("%s: by its name, column %s of %s is who sent the message, and not whose copy it is: a deletion would take what its user has sent from everybody, and leave what others have sent; "+
				"name the column of the message's owner; if there is none, the table is a log that members share: take user out, and say who reads it: members", e.Path, quote(column), rel)
		}
	}
}

// doubtPosition warns where nothing keeps two messages of a conversation from having one position.
func (k *checker) doubtPosition(e Placed, rel *relation) {
	seq, _ := parseColumn(e.Seq.Column) // validated
	c := rel.columns[seq]
	if !isInteger(c) || e.Seq.Unit != "" || strings.HasPrefix(c.preset, "nextval(") { // a sequence gives none twice
		return
	}
	var with []string
	for _, cond := range e.Conditions() {
		name, _ := parseColumn(cond.Column) // validated
		with = append(with, name)
	}
	with = append(with, seq)
	parted := slices.ContainsFunc(rel.indexes, func(i index) bool { // where no index is unique without the partition key
		return rel.kind == "p" && i.unique && slices.Contains(i.columns, seq)
	})
	if len(rel.heirs) > 0 || rel.unique(with...) || parted {
		return
	}
	k.warn("%s.seq: no unique index keeps two messages of a conversation from having the same %s, and a message that is newer than the command goes with an older one of the same position; name a column that is never used twice, or if this one isn't, run: %s",
		e.Path, quote(seq), createIndex("create unique index", rel, with))
}

// doubtPart warns where rows that go with the conversation have the position of a message.
func (k *checker) doubtPart(e Placed, rel *relation) {
	var columns []string
	for _, c := range e.Conditions() {
		name, _ := parseColumn(c.Column) // validated
		columns = append(columns, name)
	}
	m := k.plan.Messages
	if k.messages.rel == nil || m.Seq.Column == "" || m.Seq.Unit != "" || rel.unique(columns...) { // one row for the conversation: its last message's
		return
	}
	seq, _ := parseColumn(m.Seq.Column) // validated
	if k.messages.rel.unique(seq) || !isInteger(k.messages.rel.columns[seq]) {
		return
	}
	for _, c := range rel.columnNames() {
		if isInteger(rel.columns[c]) && slices.Contains(messageNames(k.messages.rel), bare(c)) {
			k.warn("%s: by its name, column %s of %s has a message's position, and its rows would go with the conversation's row only; if they belong to messages, move the entry to children, and add seq: %s",
				e.Path, quote(c), rel, scalar(c))
			return
		}
	}
}

// deleteds are bare names of columns that mark a row as deleted.
var deleteds = regexp.MustCompile(`^(is)?(deleted|discarded|removed|trashed)(at|on|time)?$`)

// doubtDeleted warns of a condition that leaves rows out because they are marked as deleted.
func (k *checker) doubtDeleted(e Placed, rel *relation) {
	for _, c := range e.Conditions() {
		column, _ := parseColumn(c.Column) // validated
		if c.Value.Kind != Name && !strings.Contains(e.Path, "kept_by") && deleteds.MatchString(bare(column)) {
			k.warn("%s: by its name, column %s of %s marks rows as deleted, and those with another value than %s would stay; take the condition out of where, for rows marked as deleted are rows, too",
				e.Path, quote(column), rel, c.Value)
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
			tells := discriminators.MatchString(bare(c)) || i.unique && discriminatorsKeys.MatchString(bare(c)) || rel.fewValues(i, c, named)
			if tells && !said[c] && !slices.Contains(named, c) {
				said[c] = true
				k.warn("%s: column %s of %s seems to tell kinds of rows apart (it is in index %s), and no condition names it: rows of every kind go; if they aren't all meant, add to where: {%s: …}",
					e.Path, quote(c), rel, quote(i.name), scalar(c))
			}
		}
	}
}

// fewValues reports whether the column is an enum or a boolean by which the index tells apart rows that have the same of these
// columns: it is unique, or has one of them behind it.
func (r *relation) fewValues(i index, column string, named []string) bool {
	c := r.columns[column]
	if c.typ != pgtype.BoolOID && len(c.labels) == 0 || deleteds.MatchString(bare(column)) {
		return false
	}
	at := slices.Index(i.columns, column)
	return i.unique || slices.ContainsFunc(i.columns[at:], func(c string) bool { return slices.Contains(named, c) })
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
