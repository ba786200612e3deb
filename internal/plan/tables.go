package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lethe-im/lethe/internal/purge"
)

// checkTables checks what else happens where rows are deleted: by parts of a
// table, triggers and publications. sessions is how many connections the worker
// may have.
func (k *checker) checkTables(sessions int) {
	type use struct {
		rel              *relation
		deletes, updates bool
	}
	seen := map[use]bool{}
	for _, m := range k.members() {
		u := use{rel: m.rel}
		if u.deletes, u.updates = k.changes(m.path); m.rel == nil || seen[u] {
			continue
		}
		seen[u] = true
		k.checkKeepers(m, u.deletes, u.updates)
		k.checkPublished(m.rel, u.deletes, u.updates)
		for _, p := range m.rel.parts {
			if p.kind == "f" {
				k.refuse("%s.table: %s, a part of %s, is a foreign table, whose rows can't be deleted in one transaction with the ledger's; detach it", m.path, p.name, m.rel)
			}
		}
	}
	locks, widest := 0, &relation{}
	for _, r := range k.cat.byOID() { // those that are only read are locked, too
		for _, p := range r.parts {
			locks += 1 + p.indexes
		}
		if len(r.parts) > len(widest.parts) || len(r.parts) == len(widest.parts) && r.oid < widest.oid {
			widest = r
		}
	}
	if locks*sessions > k.cat.locks {
		k.warn("each transaction locks up to %s (tables and indexes; %s has %s), over %s %d; the server has room for %s of all sessions; use fewer partitions, or raise max_locks_per_transaction to %d",
			purge.Count(locks, "relation"), widest, purge.Count(len(widest.parts)-1, "part"), purge.Count(sessions, "connection"), locks*sessions, purge.Count(k.cat.locks, "lock"), (locks*sessions*max(1, k.cat.locksEach)+k.cat.locks-1)/max(1, k.cat.locks))
	}
}

// firesTriggers reports whether what the worker writes, or its commit, may fire a trigger. What that writes may fire those of any table.
func (k *checker) firesTriggers(own []OwnTable) bool {
	fires := func(rel *relation, by fired) bool {
		return rel != nil && slices.ContainsFunc(rel.parts, func(p part) bool {
			return p.fired.inserts && by.inserts || p.fired.deletes && by.deletes || p.fired.updates && by.updates
		})
	}
	return k.cat.commitTriggers ||
		slices.ContainsFunc(own, func(t OwnTable) bool {
			g := t.grants()
			return fires(k.cat.relations[t.name()], fired{inserts: g.inserts, deletes: g.deletes, updates: g.updates})
		}) ||
		slices.ContainsFunc(k.members(), func(m member) bool {
			deletes, updates := k.changes(m.path)
			return fires(m.rel, fired{deletes: deletes, updates: updates})
		})
}

// changes reports what the statements do with the rows of an entry.
func (k *checker) changes(path string) (deletes, updates bool) {
	for _, e := range k.plan.Entries() {
		if e.Path == path {
			deletes = !e.Keep && (path == "conversations" || len(e.Set) == 0)
			if path == "members" { // those that are left go with the conversation's row
				deletes = k.plan.Conversations.Table != "" && !k.plan.Conversations.Keep
			}
			return deletes, e.Unread != "" || len(e.Set) > 0 || e.Watermark.Column != ""
		}
	}
	return false, false
}

// checkKeepers warns of triggers that may keep a row, or write another: what their functions do
// can't be read from the catalog. One that all parts of a table have is named once.
func (k *checker) checkKeepers(m member, deletes, updates bool) {
	tables := map[keeper][]string{}
	var order []keeper
	for _, p := range m.rel.parts {
		for _, t := range p.keepers {
			if tables[t] == nil {
				order = append(order, t)
			}
			tables[t] = append(tables[t], p.name)
		}
	}
	for _, t := range order {
		where := tables[t][0]
		if n := len(tables[t]); n > 1 {
			where += fmt.Sprintf(" and %s of %s", purge.Count(n-1, "more part"), m.rel)
		}
		if t.deferred && (t.deletes && deletes || t.updates && updates) {
			k.warn("%s: trigger %s of %s, with function %s, is deferred to the commit: it fires before, so that the proof that nothing is left sees what it writes, and a deletion whose rows it "+
				"writes back fails; make sure that it writes none of these rows", m.path, quote(t.trigger), where, t.function)
			continue
		}
		if t.deletes && deletes {
			k.warn("%s: trigger %s of %s, with function %s, fires before each row is deleted: a deletion whose rows it keeps (return null, return new) fails; make sure that it returns old",
				m.path, quote(t.trigger), where, t.function)
		}
		switch {
		case !t.updates || !updates:
		case m.path == k.memb.path:
			k.warn("%s: trigger %s of %s, with function %s, fires before each row is updated: a deletion of a member whose row it keeps (return null), or whose watermark it puts back, fails; "+
				"another number of unread messages stands; make sure that it returns new, with those columns as they are",
				m.path, quote(t.trigger), where, t.function)
		default:
			k.warn("%s: trigger %s of %s, with function %s, fires before each row is updated: what it writes stands instead of what the plan says; make sure that it returns new, with those columns as they are",
				m.path, quote(t.trigger), where, t.function)
		}
	}
}

// checkPublished finds tables whose changes the server refuses (55000), because a
// publication has nothing by which to name the rows.
func (k *checker) checkPublished(rel *relation, deleted, updated bool) {
	var bad []part
	for _, p := range rel.parts {
		if deleted && p.deletes != "" || updated && p.updates != "" {
			bad = append(bad, p)
		}
	}
	if len(bad) == 0 {
		return
	}
	p := bad[0]
	which, what := p.deletes, "delete"
	if !deleted || which == "" {
		which, what = p.updates, "update"
	}
	more := ""
	if len(bad) > 1 {
		more = fmt.Sprintf(" (the same goes for %s of %s)", purge.Count(len(bad)-1, "more part"), rel)
	}
	k.lack("replica_identity", "publication %s publishes %ss from %s, which has no replica identity, so the server refuses to %[2]s there%[4]s; run: %[5]s",
		quote(which), what, p.name, more, k.identify(rel, p))
}

// identify is the statement that gives the part a replica identity: by a key
// whose columns are never null, or else by all columns.
func (k *checker) identify(rel *relation, p part) string {
	if p.identity != "d" || len(rel.parts) > 1 {
		return fmt.Sprintf("alter table %s replica identity full", p.name)
	}
	for _, i := range rel.indexes {
		if i.unique && i.immediate && !slices.ContainsFunc(i.columns, func(c string) bool { return c == "" || !rel.columns[c].notNull }) {
			return fmt.Sprintf("alter table %s replica identity using index %s", p.name, quote(i.name))
		}
	}
	return fmt.Sprintf("alter table %s replica identity full", p.name)
}

// checkConversations warns where several rows may be of one conversation.
func (k *checker) checkConversations() {
	if rel := k.convs.rel; rel != nil && !slices.Contains(k.convs.found(), "") && !rel.unique(k.convs.found()...) {
		k.warn("conversations: several rows of %s may be of one conversation, and then all of them are deleted together; if there must be only one, run: %s",
			rel, createIndex("create unique index", rel, k.convs.found()))
	}
}

// checkCollations wants the indexes by which rows are found to be in the order
// that the server compares by today. An index that isn't misses rows, and nobody
// notices.
func (k *checker) checkCollations() {
	tables := map[string][]string{} // by the collation's name
	var all []collation
	for _, c := range k.cat.collations {
		if !k.findsBy(c.relation, c.column) {
			continue
		}
		if tables[c.name] == nil {
			all = append(all, c)
		}
		if name := c.relation.String(); !slices.Contains(tables[c.name], name) {
			tables[c.name] = append(tables[c.name], name)
		}
	}
	for _, c := range all {
		name, refresh := "collation "+c.name, "alter collation "+c.name+" refresh version"
		if c.name == "" {
			name, refresh = "the database's collation", "alter database "+quote(k.cat.database)+" refresh collation version"
		}
		if c.recorded == "" {
			k.warn("the server has no record of the version of %s with which its indexes were built; after the system's library has changed (an upgrade, another machine) rows may not be found by them until you run: reindex database concurrently %s",
				name, quote(k.cat.database))
			continue
		}
		k.lack("collation", "indexes of %s were built with version %s of %s, and the server has version %s now: rows may not be found by them; run: reindex database concurrently %s",
			strings.Join(tables[c.name], ", "), c.recorded, name, c.actual, quote(k.cat.database))
		k.lack("collation", "and when all indexes of the database that use %s are rebuilt, so that it is true, run: %s", name, refresh)
	}
}

// findsBy reports whether the statements find rows by the column.
func (k *checker) findsBy(rel *relation, column string) bool {
	for _, m := range k.members() {
		if m.rel == rel && (slices.Contains(m.found(), column) || slices.Contains(k.joined(m), column)) {
			return true
		}
	}
	return !k.planned(rel) // the ledger's
}
