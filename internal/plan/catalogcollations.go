package plan

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// collation orders a column of a relation in at least one index, and is of another
// version now than when its indexes were built, as far as the server knows.
type collation struct {
	relation         *relation
	column           string
	name             string // quoted, with its schema; "" for the database's own
	recorded, actual string // recorded is "" where the server keeps no record
}

// Indexes in the order of bytes have no version, and neither have the collations
// "C" and "POSIX". {{default}}: what the server knows of the database's own, whose
// version is recorded since Postgres 15.
const collationsSQL = `
with recursive tree (root, oid) as (
  select o, o from pg_catalog.unnest($1::oid[]) as o
  union
  select t.root, i.inhrelid from tree t join pg_catalog.pg_inherits i on i.inhparent = t.oid
),
used as (
  select distinct t.root, a.attname, k.coll
  from tree t
  join pg_catalog.pg_index i on i.indrelid = t.oid and i.indisvalid
  join pg_catalog.pg_class c on c.oid = i.indexrelid
  join pg_catalog.pg_am m on m.oid = c.relam and m.amname = 'btree'
  cross join lateral unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[]) as k (num, class, coll)
  join pg_catalog.pg_opclass o on o.oid = k.class
  join pg_catalog.pg_opfamily f on f.oid = o.opcfamily and f.opfname <> 'text_pattern_ops'
  join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum = k.num
  where k.coll <> 0
),
versions as (
  select l.oid, n.nspname::text as schema, l.collname::text as name, l.collversion as recorded, pg_collation_actual_version(l.oid) as actual
  from pg_catalog.pg_collation l
  join pg_catalog.pg_namespace n on n.oid = l.collnamespace
  where l.oid in (select u.coll from used u where u.coll <> 'pg_catalog.default'::regcollation)
  union all
  select 'pg_catalog.default'::regcollation, '', '', {{default}} from pg_catalog.pg_database d where d.datname = current_database()
)
select u.root, u.attname, v.schema, v.name, coalesce(v.recorded, ''), v.actual
from used u join versions v on v.oid = u.coll
where v.actual is not null and v.recorded is distinct from v.actual
order by v.name, u.root, u.attname`

const (
	defaultVersionSQL = `d.datcollversion, pg_database_collation_actual_version(d.oid)`
	// Before Postgres 15 the database's own collation is the C library's.
	defaultUnknownSQL = `null, case when d.datcollate !~* '^(C|POSIX)($|\.)' then 'unknown' end`
)

func (c *catalog) readCollations(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	known := defaultUnknownSQL
	if c.version >= 150000 {
		known = defaultVersionSQL
	}
	rows, err := q.Query(ctx, strings.ReplaceAll(collationsSQL, "{{default}}", known), slices.Collect(maps.Keys(c.byOID())))
	if err != nil {
		return err
	}
	var root uint32
	var schema, name string
	var found collation
	_, err = pgx.ForEachRow(rows, []any{&root, &found.column, &schema, &name, &found.recorded, &found.actual}, func() error {
		found.relation, found.name = byOID[root], ""
		if name != "" {
			found.name = quote(schema, name)
		}
		c.collations = append(c.collations, found)
		return nil
	})
	return err
}
