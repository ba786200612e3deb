package plan

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// index is a btree index that the statements could use: valid, and of all rows.
type index struct {
	name      string
	columns   []string // in order; "" for an expression, or a column in an order or collation not its own
	ordered   []bool   // the column can be read in its plain order, nulls last
	unique    bool
	immediate bool // unique at each moment of a transaction, too
}

// leads reports whether the index begins with just these columns, in any order, and
// continues with then, readable in order; "" asks for nothing more.
func (i index) leads(columns []string, then string) bool {
	n := len(columns)
	if len(i.columns) < n {
		return false
	}
	for _, c := range columns {
		if !slices.Contains(i.columns[:n], c) {
			return false
		}
	}
	return then == "" || len(i.columns) > n && i.columns[n] == then && i.ordered[n]
}

// indexed reports whether one of the relation's indexes leads with the columns.
func (r *relation) indexed(columns []string, then string) bool {
	return slices.ContainsFunc(r.indexes, func(i index) bool { return i.leads(columns, then) })
}

// unique reports whether no two rows have the same values in the columns: an index on
// some of them is enough. Tables that inherit from it have keys of their own.
func (r *relation) unique(columns ...string) bool {
	return len(r.heirs) == 0 && slices.ContainsFunc(r.indexes, func(i index) bool {
		return i.unique && !slices.ContainsFunc(i.columns, func(c string) bool { return !slices.Contains(columns, c) })
	})
}

// The operator class must have the type's own equality, and the collation must
// be the column's, or a condition on the column can't use the index.
const indexesSQL = `
select i.indrelid, c.relname, i.indisunique, i.indimmediate,
  array(
    select coalesce(case when (o.opcdefault or f.opfname in ('text_ops', 'text_pattern_ops')) and k.coll in (0, a.attcollation)
      then a.attname::text end, '')
    from unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[]) with ordinality as k (num, class, coll, ord)
    left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num and k.num <> 0
    join pg_catalog.pg_opclass o on o.oid = k.class
    join pg_catalog.pg_opfamily f on f.oid = o.opcfamily
    where k.ord <= i.indnkeyatts order by k.ord),
  array(select k.opt in (0, 3) from pg_catalog.unnest(i.indoption::int2[]) with ordinality as k (opt, ord) order by k.ord) -- bits: desc, nulls first
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_am m on m.oid = c.relam
where i.indrelid = any ($1) and m.amname = 'btree' and i.indisvalid and i.indisready and i.indislive and i.indpred is null
order by i.indrelid, i.indexrelid`

func (c *catalog) readIndexes(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	rows, err := q.Query(ctx, indexesSQL, slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return err
	}
	var oid uint32
	var i index
	_, err = pgx.ForEachRow(rows, []any{&oid, &i.name, &i.unique, &i.immediate, &i.columns, &i.ordered}, func() error {
		found := i
		found.columns, found.ordered = slices.Clone(i.columns), slices.Clone(i.ordered)
		byOID[oid].indexes = append(byOID[oid].indexes, found)
		return nil
	})
	return err
}

// foreignKey is one that refers to a table of the plan, or is of one.
type foreignKey struct {
	name             string
	from, to         *relation // nil: a table that was not asked for
	fromName, toName string    // quoted
	onDelete         string    // pg_constraint.confdeltype
	columns, refs    []string
	required         bool     // none of the columns may be null
	sets             []string // the columns that on delete set null or default changes
}

// A partition's foreign keys are its table's, and not listed twice.
const foreignKeysSQL = `
with recursive tree (root, oid) as (
  select o, o from pg_catalog.unnest($1::oid[]) as o
  union
  select t.root, i.inhrelid from tree t join pg_catalog.pg_inherits i on i.inhparent = t.oid
),
keys as (
  select k.*, t.root as to_root, f.root as from_root
  from pg_catalog.pg_constraint k
  left join tree t on t.oid = k.confrelid
  left join tree f on f.oid = k.conrelid
  where k.contype = 'f' and (t.oid is not null or f.oid is not null) and coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::boolean, true) -- a column since Postgres 18
)
select k.conname, coalesce(k.from_root, 0::oid), n.nspname, c.relname, coalesce(k.to_root, 0::oid), o.nspname, p.relname, k.confdeltype::text,
  array(select a.attname::text from pg_catalog.unnest(k.conkey) with ordinality as u (num, ord)
    join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.num order by u.ord),
  array(select a.attname::text from pg_catalog.unnest(k.confkey) with ordinality as u (num, ord)
    join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.num order by u.ord),
  (select pg_catalog.bool_and(a.attnotnull) from pg_catalog.pg_attribute a where a.attrelid = k.conrelid and a.attnum = any (k.conkey)),
  array(select a.attname::text from pg_catalog.pg_attribute a
    where k.confdeltype in ('n', 'd') and a.attrelid = k.conrelid and a.attnum = any (k.conkey) and
      coalesce(nullif(pg_catalog.to_jsonb(k) -> 'confdelsetcols', 'null') @> pg_catalog.to_jsonb(a.attnum), true)) -- a column since Postgres 15, null for all
from keys k
join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class p on p.oid = k.confrelid
join pg_catalog.pg_namespace o on o.oid = p.relnamespace
where not exists (select from keys p where p.oid = k.conparentid)
order by n.nspname, c.relname, k.conname`

func (c *catalog) readForeignKeys(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	rows, err := q.Query(ctx, foreignKeysSQL, slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return err
	}
	var from, to uint32
	var schema, name, toSchema, toTable string
	var k foreignKey
	_, err = pgx.ForEachRow(rows, []any{&k.name, &from, &schema, &name, &to, &toSchema, &toTable, &k.onDelete, &k.columns, &k.refs, &k.required, &k.sets}, func() error {
		found := k
		found.columns, found.refs, found.sets = slices.Clone(k.columns), slices.Clone(k.refs), slices.Clone(k.sets)
		found.from, found.to, found.fromName, found.toName = byOID[from], byOID[to], quote(schema, name), quote(toSchema, toTable)
		c.keys = append(c.keys, found)
		return nil
	})
	return err
}
