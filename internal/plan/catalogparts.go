package plan

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// part is a table with rows of a relation, or the relation itself where
// others hold them.
type part struct {
	name     string // quoted
	kind     string // pg_class.relkind
	indexes  int
	keepers  []keeper
	deletes  string // a publication of deletes for which the rows can't be identified; "" for none
	updates  string // the same of updates
	identity string // pg_class.relreplident
	fired    fired
}

// fired says which statements fire an enabled trigger.
type fired struct{ inserts, deletes, updates bool }

// keeper is an enabled trigger that fires for each row before it is deleted or updated, and may keep it as it is, or write something else; or
// at the commit, and may write it anew.
type keeper struct {
	trigger          string
	function         string // as SQL writes it
	deletes, updates bool
	deferred         bool
}

// readParts fills the relations' parts, and adds to byOID those that inherit from
// a table which isn't partitioned.
func (c *catalog) readParts(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	rows, err := q.Query(ctx, c.query("parts"), slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return err
	}
	var root, oid uint32
	var schema, name string
	var p part
	var triggers, functions []string
	var deletes, updates, deferred []bool
	_, err = pgx.ForEachRow(rows, []any{
		&root, &oid, &schema, &name, &p.kind, &p.indexes, &triggers, &functions, &deletes, &updates, &deferred, &p.deletes, &p.updates, &p.identity,
		&p.fired.inserts, &p.fired.deletes, &p.fired.updates,
	}, func() error {
		found, of := p, byOID[root]
		found.name = quote(schema, name)
		for i, t := range triggers {
			found.keepers = append(found.keepers, keeper{t, functions[i], deletes[i], updates[i], deferred[i]})
		}
		of.parts = append(of.parts, found)
		if of.kind == "r" && oid != root {
			of.heirs = append(of.heirs, &relation{oid: oid, schema: schema, name: name, kind: p.kind, columns: map[string]column{}, readable: map[string]bool{}})
		}
		return nil
	})
	for _, r := range slices.Collect(maps.Values(byOID)) {
		for _, heir := range r.heirs {
			if byOID[heir.oid] == nil {
				byOID[heir.oid] = heir
			}
		}
	}
	return err
}
