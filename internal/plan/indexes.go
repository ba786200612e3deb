package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// checkIndexes wants an index for each way that the statements go. From a
// message to a child they go by the child's column, so that the column which a
// reference points to needs none for their sake.
func (k *checker) checkIndexes() {
	for _, m := range k.members() {
		switch {
		case m.rel == nil || m.path != "conversations" && m.ref.none() && m.seq == "" && len(m.keys) == 0:
			// something is missing, which has been reported
		case m.path == k.pointed.path:
			k.wantIndex(m.rel, m.path, m.keys, m.constants, m.seq)
			if u := m.above; u.rel != nil {
				k.wantIndex(u.rel, u.path, append(slices.Clone(u.keys), m.ref.Column...), u.constants, "")
				k.wantIndex(u.rel, m.path, m.ref.Column, nil, "")
			}
		case m.parent: // whether rows still refer to it is looked up by them
			if m.above.rel != nil {
				k.wantIndex(m.above.rel, m.path, m.ref.Column, nil, "")
			}
		case m.path == k.messages.path && k.pointed.path != "": // see below, with what has their position
		case !m.ref.none():
			k.wantIndex(m.rel, m.path, m.ref.Column, m.found(), "")
		default:
			k.wantIndex(m.rel, m.path, m.keys, m.constants, m.seq)
		}
	}
	if m := k.memb; m.rel != nil { // the floor is the least watermark of a conversation's members
		k.wantIndex(m.rel, m.path, k.keysWithout(m, "user"), m.constants, "")
		if deletes, _ := k.changes(m.path); deletes && len(k.active) > 0 { // those of former members go, too
			k.wantIndex(m.rel, "conversations", k.keysWithout(m, "user"), nil, "")
		}
	}
	for _, m := range k.keepers {
		if m.rel != nil {
			k.wantIndex(m.rel, m.path, m.ref.Column, m.found(), "")
		}
	}
}

// wantIndex asks for an index that leads with the columns, in any order, and
// then goes on with seq, if that isn't "". Columns of constants may be among those before seq.
func (k *checker) wantIndex(rel *relation, path string, columns, constants []string, seq string) {
	if slices.Contains(columns, "") {
		return
	}
	for _, heir := range rel.heirs {
		k.wantIndex(heir, path, columns, constants, seq)
	}
	if path == k.memb.path && slices.ContainsFunc(k.active, func(i index) bool { return i.leads(columns, constants, seq) }) {
		return
	}
	if rel.indexed(columns, constants, seq) || seq == "" && rel.unique(append(slices.Clone(columns), constants...)...) {
		return // by the index, or by one that finds a single row
	}
	want := "leads with " + list(columns)
	all := append(slices.Clone(columns), constants...)
	if seq != "" {
		want += " and goes on with " + quote(seq)
		all = append(all, seq)
	}
	if k.asked(rel, all) {
		return
	}
	k.unindexed = append(k.unindexed, errors.New(oneLine(fmt.Sprintf("plan: %s: %s has no btree index that %s (valid, without a condition, in the columns' own collation); run: %s; or go on slowly with --allow-unindexed",
		path, rel, want, createIndex("create index", rel, all)))))
}

// asked reports whether an index on these columns of the relation was asked for
// before: a foreign key is often a child's way to its message, too.
func (k *checker) asked(rel *relation, columns []string) bool {
	key := fmt.Sprint(rel.oid, slices.Sorted(slices.Values(columns)))
	if k.indexes == nil {
		k.indexes = map[string]bool{}
	}
	defer func() { k.indexes[key] = true }()
	return k.indexes[key]
}

// createIndex is the statement that makes an index. A partitioned table's can't be
// made concurrently.
func createIndex(create string, rel *relation, columns []string) string {
	concurrently := " concurrently"
	if rel.kind == "p" {
		concurrently = ""
	}
	return fmt.Sprintf("%s%s on %s (%s)", create, concurrently, rel, list(columns))
}

func list(columns []string) string {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = quote(c)
	}
	return strings.Join(quoted, ", ")
}
