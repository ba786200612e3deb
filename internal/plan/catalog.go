package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// catalog is what Postgres's catalog holds about the tables that were asked for.
type catalog struct {
	server
	relations  map[tableName]*relation // without those that don't exist
	keys       []foreignKey            // all that refer to one of the relations, or are of one
	collations []collation             // whose version has changed, or isn't known
}

// server is what concerns no table alone.
type server struct {
	role       string // the connection's, quoted
	searchPath string
	version    int // as server_version_num: 150004
	database   string
	encoding   string // the database's
	// locks is how many locks fit into the server's table, of all sessions together,
	// and locksEach how many of them max_locks_per_transaction counts for each.
	locks, locksEach int
	// zone is the time zone of sessions that set none, and zones are those of the
	// roles that set another; without what is UTC by another name.
	zone  string
	zones []string
}

// relation is a row of pg_class, with what a purge needs to know of it.
type relation struct {
	oid          uint32
	schema, name string
	kind         string   // pg_class.relkind
	partitioned  bool     // its rows are in tables that inherit from it
	rowSecurity  bool     // active for our role
	rules        []string // enabled ones for update or delete
	granted      grants
	columns      map[string]column
	readable     map[string]bool // columns that may be selected, the server's own (ctid) included
	indexes      []index
	parts        []part      // the relation and all that inherit from it
	heirs        []*relation // those of a table that isn't partitioned: neither keys nor indexes are theirs, too
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
	digits        int    // of a second's fraction that a timestamp keeps: 0 to 6
	notNull       bool   // by the column or its domain, or by a valid check
	preset        string // the default, as SQL writes it; "" for none
	collation     uint32
	deterministic bool // two different texts are never equal
	generated     bool
	updatable     bool // granted
}

func (r *relation) String() string { return quote(r.schema, r.name) }

// columnNames are the relation's columns for people, in alphabetical order.
func (r *relation) columnNames() []string { return slices.Sorted(maps.Keys(r.columns)) }

// readCatalog reads all that the checks need. The transaction of q sees one moment and
// takes no lock that others wait for.
func readCatalog(ctx context.Context, q Querier, names []tableName) (*catalog, error) {
	c := &catalog{relations: map[tableName]*relation{}}
	if err := c.read(ctx, q, names); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return c, nil
}

func (c *catalog) read(ctx context.Context, q Querier, names []tableName) error {
	err := q.QueryRow(ctx, serverSQL).Scan(&c.role, &c.searchPath, &c.version, &c.database, &c.encoding, &c.locks, &c.locksEach, &c.zone, &c.zones)
	if err != nil || c.version < oldestServer {
		return err // the caller refuses an older one
	}
	if err := c.readRelations(ctx, q, names); err != nil {
		return fmt.Errorf("tables: %w", err)
	}
	byOID := c.byOID()
	for _, read := range []struct {
		what string
		from func(context.Context, Querier, map[uint32]*relation) error
	}{
		{"foreign keys", c.readForeignKeys},
		{"partitions, triggers and publications", c.readParts}, // which adds tables to byOID
		{"columns", c.readColumns},
		{"grants", c.readReadable},
		{"indexes", c.readIndexes},
		{"collations", c.readCollations},
	} {
		if err := read.from(ctx, q, byOID); err != nil {
			return fmt.Errorf("%s: %w", read.what, err)
		}
	}
	return nil
}

// The zone of the connection is ignored if it was set for that alone, as far as
// that can be seen: writers of messages have the database's.
const serverSQL = `
with zones as (
  select s.setdatabase, s.setrole, pg_catalog.split_part(c, '=', 2) as zone
  from pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c
  where s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname = current_database())) and c ilike 'timezone=%'
),
named as (
  select zone, setrole <> 0 as own from (
    select coalesce(
      (select z.zone from zones z where z.setrole = 0 order by z.setdatabase desc limit 1),
      (select t.reset_val from pg_catalog.pg_settings t where t.name = 'TimeZone')) as zone, 0::oid as setrole
    union
    select z.zone, z.setrole from zones z where z.setrole <> 0 and z.setrole <> current_user::regrole) z
  where (timestamptz '2026-01-01 00:00Z' at time zone zone, timestamptz '2026-07-01 00:00Z' at time zone zone)
    <> (timestamp '2026-01-01 00:00', timestamp '2026-07-01 00:00')
)
select pg_catalog.quote_ident(current_user), current_setting('search_path'), current_setting('server_version_num')::int, current_database()::text, current_setting('server_encoding'),
  current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int),
  current_setting('max_locks_per_transaction')::int,
  coalesce((select n.zone from named n where not n.own), ''), array(select distinct n.zone from named n where n.own order by n.zone)`

// Names are looked up in pg_class and not by to_regclass, which raises an error
// for a schema that our role may not use.
const relationsSQL = `
select q.ord, c.oid, n.nspname, c.relname, c.relkind::text,
  c.relkind = 'p' or exists (select from pg_catalog.pg_inherits i where i.inhparent = c.oid),
  has_schema_privilege(n.oid, 'usage'), has_table_privilege(c.oid, 'select'), has_any_column_privilege(c.oid, 'select'),
  has_table_privilege(c.oid, 'insert'),
  has_any_column_privilege(c.oid, 'update'), has_table_privilege(c.oid, 'delete'), row_security_active(c.oid),
  array(select r.rulename::text from pg_catalog.pg_rewrite r
    where r.ev_class = c.oid and r.ev_type in ('2', '4') and r.ev_enabled in ('O', 'A') order by r.rulename)
from unnest($1::text[], $2::text[]) with ordinality as q (schema, name, ord)
join pg_catalog.pg_class c on c.relname = q.name
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where case when q.schema = '' then pg_catalog.pg_table_is_visible(c.oid) else n.nspname = q.schema end
order by q.ord`

// readRelations fills relations. Two names of one table get one relation.
func (c *catalog) readRelations(ctx context.Context, q Querier, names []tableName) error {
	schemas, tables := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		schemas[i], tables[i] = n.schema, n.name
	}
	rows, err := q.Query(ctx, relationsSQL, schemas, tables)
	if err != nil {
		return err
	}
	seen := map[uint32]*relation{}
	var ord int
	var r relation
	_, err = pgx.ForEachRow(rows, []any{
		&ord, &r.oid, &r.schema, &r.name, &r.kind, &r.partitioned, &r.granted.usage, &r.granted.selects, &r.granted.reads,
		&r.granted.inserts, &r.granted.updates, &r.granted.deletes, &r.rowSecurity, &r.rules,
	}, func() error {
		if seen[r.oid] == nil {
			found := r
			found.rules = slices.Clone(r.rules)
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
  case when b.mod between 0 and 6 then b.mod else 6 end,
  a.attnotnull and not exists (
      select from pg_catalog.pg_constraint n -- which may be not valid since Postgres 18
      where n.conrelid = a.attrelid and n.contype = 'n' and n.conkey = array[a.attnum] and not n.convalidated)
    or b.notnull
    or exists (
      select from pg_catalog.pg_constraint n
      where n.conrelid = a.attrelid and n.contype = 'c' and n.convalidated and n.conkey = array[a.attnum]
        and pg_get_expr(n.conbin, n.conrelid) = '(' || quote_ident(a.attname) || ' IS NOT NULL)'),
  coalesce((select pg_get_expr(d.adbin, d.adrelid) from pg_catalog.pg_attrdef d where d.adrelid = a.attrelid and d.adnum = a.attnum), ''),
  a.attcollation, coalesce(l.collisdeterministic, true), a.attgenerated <> '', has_column_privilege(a.attrelid, a.attnum, 'update')
from pg_catalog.pg_attribute a
left join pg_catalog.pg_collation l on l.oid = a.attcollation
cross join lateral (
  with recursive t as (
    select a.atttypid as oid, a.atttypmod as mod, false as notnull
    union all
    select y.typbasetype, y.typtypmod, t.notnull or y.typnotnull from t join pg_catalog.pg_type y on y.oid = t.oid where y.typtype = 'd')
  select t.oid, t.mod, t.notnull from t join pg_catalog.pg_type y on y.oid = t.oid where y.typtype <> 'd') b
where a.attrelid = any ($1) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum`

func (c *catalog) readColumns(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	rows, err := q.Query(ctx, columnsSQL, slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return err
	}
	var oid uint32
	var col column
	_, err = pgx.ForEachRow(rows, []any{
		&oid, &col.name, &col.typ, &col.typeName, &col.max, &col.digits, &col.notNull, &col.preset, &col.collation, &col.deterministic,
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
func (c *catalog) readReadable(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	rows, err := q.Query(ctx, readableSQL, slices.Collect(maps.Keys(byOID)))
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
