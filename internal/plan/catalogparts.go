package plan

import (
	"context"
	"maps"
	"slices"
	"strings"

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
}

// keeper is an enabled trigger that fires for each row before it is deleted, and
// may keep it.
type keeper struct {
	trigger  string
	function string // as SQL writes it
}

// Triggers for each row are those of the tables with the rows. What is published
// follows Postgres: by the table, by one whose partition it is, by their schemas
// ({{schemas}}, since Postgres 15), or as a table like all. tgtype's bits: 1 for
// each row, 2 before, 8 delete.
const partsSQL = `
with recursive tree (root, oid) as (
  select o, o from pg_catalog.unnest($1::oid[]) as o
  union
  select t.root, i.inhrelid from tree t join pg_catalog.pg_inherits i on i.inhparent = t.oid
),
up (oid, top) as (
  select t.oid, t.oid from tree t
  union
  select u.oid, i.inhparent from up u
  join pg_catalog.pg_class c on c.oid = u.top and c.relispartition
  join pg_catalog.pg_inherits i on i.inhrelid = u.top
),
published (oid, publication) as (
  select u.oid, r.prpubid from up u join pg_catalog.pg_publication_rel r on r.prrelid = u.top
  union select t.oid, p.oid from tree t, pg_catalog.pg_publication p where p.puballtables
  {{schemas}}
),
unnamed as ( -- what is published of tables whose rows nothing names
  select x.oid, coalesce(pg_catalog.min(p.pubname::text) filter (where p.pubdelete), '') as deletes, coalesce(pg_catalog.min(p.pubname::text) filter (where p.pubupdate), '') as updates
  from published x
  join pg_catalog.pg_publication p on p.oid = x.publication
  join pg_catalog.pg_class c on c.oid = x.oid
  where c.relkind = 'r' and c.relpersistence = 'p' and c.relreplident <> 'f' and not exists (
    select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisvalid
      and case c.relreplident when 'd' then i.indisprimary and i.indimmediate when 'i' then i.indisreplident else false end)
  group by x.oid
),
keepers as (
  select g.tgrelid, pg_catalog.array_agg(g.tgname::text order by g.tgname) as triggers, pg_catalog.array_agg(g.tgfoid::regproc::text order by g.tgname) as functions
  from pg_catalog.pg_trigger g
  where g.tgrelid in (select t.oid from tree t) and g.tgenabled in ('O', 'A') and g.tgtype & 11 = 11
  group by g.tgrelid
)
select t.root, c.oid, n.nspname, c.relname, c.relkind::text, (select pg_catalog.count(*) from pg_catalog.pg_index i where i.indrelid = c.oid),
  case when c.relkind = 'r' then k.triggers end, k.functions, coalesce(u.deletes, ''), coalesce(u.updates, ''), c.relreplident::text
from tree t
join pg_catalog.pg_class c on c.oid = t.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join unnamed u on u.oid = t.oid
left join keepers k on k.tgrelid = t.oid
order by t.root, t.oid <> t.root, n.nspname, c.relname`

const publishedSchemasSQL = `union select u.oid, s.pnpubid from up u
    join pg_catalog.pg_class c on c.oid = u.top
    join pg_catalog.pg_publication_namespace s on s.pnnspid = c.relnamespace`

// readParts fills the relations' parts, and adds to byOID those that inherit from
// a table which isn't partitioned.
func (c *catalog) readParts(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	schemas := ""
	if c.version >= 150000 {
		schemas = publishedSchemasSQL
	}
	sql := strings.ReplaceAll(partsSQL, "\n  {{schemas}}", "\n  "+schemas)
	rows, err := q.Query(ctx, sql, slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return err
	}
	var root, oid uint32
	var schema, name string
	var p part
	var triggers, functions []string
	_, err = pgx.ForEachRow(rows, []any{
		&root, &oid, &schema, &name, &p.kind, &p.indexes, &triggers, &functions, &p.deletes, &p.updates, &p.identity,
	}, func() error {
		found, of := p, byOID[root]
		found.name = quote(schema, name)
		for i, t := range triggers {
			found.keepers = append(found.keepers, keeper{t, functions[i]})
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
