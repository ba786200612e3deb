package repo

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// catalog is what Postgres's catalog says of the tables that were asked for.
type catalog struct {
	role       string // the connection's, quoted
	searchPath string
	version    int                     // as server_version_num: 150004
	relations  map[tableName]*relation // without those that don't exist
	keys       []foreignKey            // all that refer to one of the relations
}

// relation is a row of pg_class, with what a purge needs to know of it.
type relation struct {
	oid          uint32
	schema, name string
	kind         string // pg_class.relkind
	parted       bool   // its rows are in tables that inherit from it
	rowSecurity  bool   // active for our role
	rules        bool   // for update or delete
	granted      grants
	columns      map[string]column
	readable     map[string]bool // columns that may be selected, the server's own (ctid) included
	indexes      []index
}

// grants are what our role may do with a table; updates and reads are on one
// column at least.
type grants struct {
	usage, selects, reads, inserts, updates, deletes bool
}

// column is a row of pg_attribute. The zero value stands for one that is missing.
type column struct {
	name          string
	typ           uint32 // pg_type.oid of the type below any domains
	typeName      string // as SQL writes it
	max           int    // varchar(n); 0 for none
	collation     uint32
	deterministic bool // two different texts are never equal
	generated     bool
	updatable     bool // granted
}

func (r *relation) String() string { return quote(r.schema, r.name) }

// columnNames are the relation's columns for people, in alphabetical order.
func (r *relation) columnNames() []string { return slices.Sorted(maps.Keys(r.columns)) }

// readCatalog reads all that the checks need.
func readCatalog(ctx context.Context, pool querier, names []tableName) (*catalog, error) {
	c := &catalog{relations: map[tableName]*relation{}}
	err := pool.QueryRow(ctx, `select quote_ident(current_user), current_setting('search_path'), current_setting('server_version_num')::int`).
		Scan(&c.role, &c.searchPath, &c.version)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	if err := c.readRelations(ctx, pool, names); err != nil {
		return nil, fmt.Errorf("catalog: tables: %w", err)
	}
	byOID := c.byOID()
	if err := c.readColumns(ctx, pool, byOID); err != nil {
		return nil, fmt.Errorf("catalog: columns: %w", err)
	}
	if err := c.readReadable(ctx, pool, byOID); err != nil {
		return nil, fmt.Errorf("catalog: grants: %w", err)
	}
	if err := c.readIndexes(ctx, pool, byOID); err != nil {
		return nil, fmt.Errorf("catalog: indexes: %w", err)
	}
	if err := c.readForeignKeys(ctx, pool, byOID); err != nil {
		return nil, fmt.Errorf("catalog: foreign keys: %w", err)
	}
	return c, nil
}

// Names are looked up in pg_class and not by to_regclass, which raises an error
// for a schema that our role may not use.
const relationsSQL = `
select q.ord, c.oid, n.nspname, c.relname, c.relkind::text,
  c.relkind = 'p' or exists (select from pg_catalog.pg_inherits i where i.inhparent = c.oid),
  has_schema_privilege(n.oid, 'usage'), has_table_privilege(c.oid, 'select'), has_any_column_privilege(c.oid, 'select'),
  has_table_privilege(c.oid, 'insert'),
  has_any_column_privilege(c.oid, 'update'), has_table_privilege(c.oid, 'delete'), row_security_active(c.oid),
  exists (select from pg_catalog.pg_rewrite r where r.ev_class = c.oid and r.ev_type in ('2', '4'))
from unnest($1::text[], $2::text[]) with ordinality as q (schema, name, ord)
join pg_catalog.pg_class c on c.relname = q.name
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where case when q.schema = '' then pg_catalog.pg_table_is_visible(c.oid) else n.nspname = q.schema end
order by q.ord`

// readRelations fills relations. Two names of one table get one relation.
func (c *catalog) readRelations(ctx context.Context, pool querier, names []tableName) error {
	schemas, tables := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		schemas[i], tables[i] = n.schema, n.name
	}
	rows, err := pool.Query(ctx, relationsSQL, schemas, tables)
	if err != nil {
		return err
	}
	seen := map[uint32]*relation{}
	var ord int
	var r relation
	_, err = pgx.ForEachRow(rows, []any{
		&ord, &r.oid, &r.schema, &r.name, &r.kind, &r.parted, &r.granted.usage, &r.granted.selects, &r.granted.reads,
		&r.granted.inserts, &r.granted.updates, &r.granted.deletes, &r.rowSecurity, &r.rules,
	}, func() error {
		if seen[r.oid] == nil {
			found := r
			found.columns, found.readable = map[string]column{}, map[string]bool{}
			seen[r.oid] = &found
		}
		c.relations[names[ord-1]] = seen[r.oid]
		return nil
	})
	return err
}

func (c *catalog) byOID() map[uint32]*relation {
	m := map[uint32]*relation{}
	for _, r := range c.relations {
		m[r.oid] = r
	}
	return m
}

// A domain's rows compare like those of the type below it.
const columnsSQL = `
select a.attrelid, a.attname, b.oid, format_type(a.atttypid, a.atttypmod),
  case when b.oid = 'varchar'::regtype and b.mod > 4 then b.mod - 4 else 0 end, -- 4: the header that the modifier counts
  a.attcollation, coalesce(l.collisdeterministic, true), a.attgenerated <> '', has_column_privilege(a.attrelid, a.attnum, 'update')
from pg_catalog.pg_attribute a
left join pg_catalog.pg_collation l on l.oid = a.attcollation
cross join lateral (
  with recursive t as (
    select a.atttypid as oid, a.atttypmod as mod
    union all
    select y.typbasetype, y.typtypmod from t join pg_catalog.pg_type y on y.oid = t.oid where y.typtype = 'd')
  select t.oid, t.mod from t join pg_catalog.pg_type y on y.oid = t.oid where y.typtype <> 'd') b
where a.attrelid = any ($1) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum`

func (c *catalog) readColumns(ctx context.Context, pool querier, byOID map[uint32]*relation) error {
	rows, err := pool.Query(ctx, columnsSQL, slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return err
	}
	var oid uint32
	var col column
	_, err = pgx.ForEachRow(rows, []any{
		&oid, &col.name, &col.typ, &col.typeName, &col.max, &col.collation, &col.deterministic,
		&col.generated, &col.updatable,
	}, func() error {
		byOID[oid].columns[col.name] = col
		return nil
	})
	return err
}

const readableSQL = `
select a.attrelid, a.attname from pg_catalog.pg_attribute a
where a.attrelid = any ($1) and not a.attisdropped and has_column_privilege(a.attrelid, a.attnum, 'select')`

// readReadable finds the columns that our role may select, by a grant on the
// table or on the column alone.
func (c *catalog) readReadable(ctx context.Context, pool querier, byOID map[uint32]*relation) error {
	rows, err := pool.Query(ctx, readableSQL, slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return err
	}
	var oid uint32
	var name string
	_, err = pgx.ForEachRow(rows, []any{&oid, &name}, func() error {
		byOID[oid].readable[name] = true
		return nil
	})
	return err
}
