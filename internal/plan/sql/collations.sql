-- Indexes in the order of bytes have no version, and neither have the collations "C" and "POSIX". The version of the
-- database's own is recorded since Postgres 15; before, it is the C library's, and nobody knows it.
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
  select 'pg_catalog.default'::regcollation, '', '', {{if ge . 150000}}d.datcollversion, pg_database_collation_actual_version(d.oid){{else}}null, case when d.datcollate !~* '^(C|POSIX)($|\.)' then 'unknown' end{{end}} from pg_catalog.pg_database d where d.datname = current_database()
)
select u.root, u.attname, v.schema, v.name, coalesce(v.recorded, ''), v.actual
from used u join versions v on v.oid = u.coll
where v.actual is not null and v.recorded is distinct from v.actual
order by v.name, u.root, u.attname
