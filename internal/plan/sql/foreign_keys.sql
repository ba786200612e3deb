-- A partition's foreign keys are its table's, and not listed twice.
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
  array(select a.attname::text from pg_catalog.unnest(k.conkey) with ordinality as u (num, ord)
    join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.num where not a.attnotnull order by u.ord),
  array(select a.attname::text from pg_catalog.pg_attribute a
    where k.confdeltype in ('n', 'd') and a.attrelid = k.conrelid and a.attnum = any (k.conkey) and
      coalesce(nullif(pg_catalog.to_jsonb(k) -> 'confdelsetcols', 'null') @> pg_catalog.to_jsonb(a.attnum), true)) -- a column since Postgres 15, null for all
from keys k
join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class p on p.oid = k.confrelid
join pg_catalog.pg_namespace o on o.oid = p.relnamespace
where not exists (select from keys p where p.oid = k.conparentid)
order by n.nspname, c.relname, k.conname
