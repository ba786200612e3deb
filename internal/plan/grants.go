package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lethe-im/lethe/internal/purge"
)

// lack notes what may heal without a change of the plan. Its first cause stands
// for all.
func (k *checker) lack(cause, format string, args ...any) {
	if k.cause == "" {
		k.cause = cause
	}
	err := errors.New(oneLine(fmt.Sprintf(format, args...)))
	if !slices.ContainsFunc(k.lacking, func(e error) bool { return e.Error() == err.Error() }) {
		k.lacking = append(k.lacking, err)
	}
}

// checkGrants asks what the statements need. Every table's rows may have to be
// locked, which takes the privilege to update one column at least. A role that
// may not select a whole table needs the columns that are read, so that it can be
// kept from what people have written. locked is [Checked.Locked].
func (k *checker) checkGrants(locked bool) {
	for _, m := range k.members() {
		if m.rel == nil {
			continue
		}
		deletes, _ := k.changes(m.path)
		k.wantGrants(m.rel, grants{selects: !m.rel.granted.reads, updates: true, deletes: deletes})
		if m.rel.granted.reads {
			k.wantReadable(m, locked)
		}
		if m.rel.granted.updates {
			k.wantUpdatable(m)
		}
	}
	for _, m := range k.keepers { // of which one is locked
		if m.rel == nil {
			continue
		}
		k.wantGrants(m.rel, grants{selects: !m.rel.granted.reads, updates: true})
		if m.rel.granted.reads {
			k.wantReadable(m, locked)
		}
	}
	for _, id := range k.plan.IDs {
		if l := k.lookups[id.Name]; l != nil && l.rel != nil {
			k.wantGrants(l.rel, grants{selects: !l.rel.granted.reads})
			if l.rel.granted.reads {
				k.wantReadable(l.member, false)
			}
		}
	}
}

// wantUpdatable names the statement that gives what is missing of the columns that the worker changes.
func (k *checker) wantUpdatable(m member) {
	changed := slices.Clone(m.sets)
	if m.path == k.convs.path && k.plan.Conversations.Unread != "" {
		unread, _ := parseColumn(k.plan.Conversations.Unread) // validated
		changed = append(changed, unread)
	}
	var missing []string
	for _, name := range changed {
		if c, ok := m.rel.columns[name]; ok && !c.updatable {
			missing = append(missing, name)
		}
	}
	if all := list(missing); all != "" {
		k.lack(purge.CausePermission, "%s may not update %s of %s; run: grant update (%s) on %s to %s", k.cat.role, all, m.rel, all, m.rel, k.cat.role)
	}
}

// wantReadable names the statement that gives what is missing of the columns
// that the worker reads.
func (k *checker) wantReadable(m member, locked bool) {
	var missing []string
	for _, c := range k.reads(m, locked) {
		if !m.rel.readable[c] {
			missing = append(missing, quote(c))
		}
	}
	if all := strings.Join(missing, ", "); all != "" {
		k.lack(purge.CausePermission, "%s may not select %s of %s; run: grant select (%s) on %s to %s", k.cat.role, all, m.rel, all, m.rel, k.cat.role)
	}
}

// reads returns the columns of the table that the statements read: where a row
// lies, keys, and what the plan names beside them. What doesn't exist has been
// reported.
func (k *checker) reads(m member, locked bool) []string {
	all := []string{"ctid", "tableoid"}
	named := slices.Concat(m.found(), m.nulls, []string{m.seq}, k.joined(m))
	switch m.path {
	case k.messages.path:
		if locked {
			all = append(all, "xmax") // whose lock it carries
		}
		if at := k.plan.Messages.SentAt.Column; at != "" {
			sentAt, _ := parseColumn(at) // validated
			named = append(named, sentAt)
		}
		named = append(named, k.newest...)
	case k.pointed.path:
		if at := k.plan.Messages.Parents[k.plan.Pointed()].SentAt.Column; at != "" {
			sentAt, _ := parseColumn(at) // validated
			named = append(named, sentAt)
		}
	case k.memb.path:
		all = append(all, "xmin", "xmax")
		for _, planned := range []string{k.plan.Members.Watermark.Column, k.plan.Members.VisibleFrom.Column, k.plan.Members.Unread} {
			if name, _ := parseColumn(planned); planned != "" { // validated
				named = append(named, name)
			}
		}
	case k.convs.path:
		all = append(all, "xmin", "xmax")
		if k.plan.Conversations.Unread != "" {
			unread, _ := parseColumn(k.plan.Conversations.Unread) // validated
			named = append(named, unread)
		}
	}
	hasParents := slices.ContainsFunc(k.parents, func(p member) bool { return p.above.path == m.path })
	if locked && (m.above != nil || hasParents) {
		all = append(slices.DeleteFunc(all, func(c string) bool { return c == "xmax" }), "xmin", "xmax")
	}
	for _, c := range named {
		if _, exists := m.rel.columns[c]; exists && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}

// wantGrants names the statements that give what is missing.
func (k *checker) wantGrants(rel *relation, want grants) {
	if !rel.granted.usage {
		k.lack(purge.CausePermission, "%s may not use schema %s; run: grant usage on schema %s to %s", k.cat.role, quote(rel.schema), quote(rel.schema), k.cat.role)
	}
	var missing []string
	for _, g := range []struct {
		name      string
		want, has bool
	}{
		{"select", want.selects, rel.granted.selects},
		{"insert", want.inserts, rel.granted.inserts},
		{"update", want.updates, rel.granted.updates},
		{"delete", want.deletes, rel.granted.deletes},
	} {
		if g.want && !g.has {
			missing = append(missing, g.name)
		}
	}
	if all := strings.Join(missing, ", "); all != "" {
		k.lack(purge.CausePermission, "%s may not %s on %s; run: grant %s on %s to %s", k.cat.role, all, rel, all, rel, k.cat.role)
	}
	if rel.rowSecurity {
		k.lack(purge.CausePermission, "row-level security hides rows of %s from %s, and they would stay; run: alter role %s bypassrls", rel, k.cat.role, k.cat.role)
	}
}

func (t OwnTable) name() tableName { return tableName{schema: t.Schema, name: t.Name} }

// grants are those that the worker needs on the table.
func (t OwnTable) grants() grants {
	needs := func(privilege string) bool { return slices.Contains(t.Privileges, privilege) }
	return grants{selects: needs("select"), inserts: needs("insert"), updates: needs("update"), deletes: needs("delete")}
}

// checkOwn wants the worker's own tables to be there, and this role to be allowed to
// work with them, unless any role will do.
func (k *checker) checkOwn(opts Options) {
	if opts.BeforeSetup && !slices.ContainsFunc(opts.Own, func(own OwnTable) bool { return k.cat.relations[own.name()] != nil }) {
		k.warn("the worker's own tables are missing; run: worker setup")
		return
	}
	for _, own := range opts.Own {
		rel := k.cat.relations[own.name()]
		if rel == nil {
			k.lack(purge.CauseConfiguration, "there is no table %s; run: worker setup", own.name())
			return
		}
		if _, there := rel.columns[own.Column]; !there && own.Column != "" {
			k.lack(purge.CauseConfiguration, "table %s has no column %s: the schema is older than this program; run: worker setup", own.name(), own.Column)
		}
		if !opts.AnyRole {
			k.wantGrants(rel, own.grants())
		}
		k.checkPublished(rel, true, own.grants().updates)
	}
}
