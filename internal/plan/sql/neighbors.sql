-- The tables beside those of $1, in their schemas, with those of their columns whose names, without
-- underscores and in lower case, are among $2 or match $3, and what these refer to by foreign keys. Extensions' tables and partitions are left out.
select n.nspname, c.relname,
  pg_catalog.array_agg(a.attname::text order by a.attnum), pg_catalog.array_agg(case when y.typtype = 'd' then y.typbasetype else y.oid end order by a.attnum),
  pg_catalog.array_agg(coalesce((
    select pg_catalog.string_agg('"' || s.nspname || '"."' || t.relname || '" ' || r.attname, e'\n')
    from pg_catalog.pg_constraint k
    join pg_catalog.pg_class t on t.oid = k.confrelid
    join pg_catalog.pg_namespace s on s.oid = t.relnamespace
    join pg_catalog.pg_attribute r on r.attrelid = t.oid and r.attnum = k.confkey[pg_catalog.array_position(k.conkey, a.attnum)]
    where k.conrelid = c.oid and k.contype = 'f' and a.attnum = any (k.conkey)), '') order by a.attnum)
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_catalog.pg_type y on y.oid = a.atttypid
cross join lateral (select pg_catalog.lower(pg_catalog.replace(a.attname::text, '_', '')) as name) plain
where c.relnamespace in (select p.relnamespace from pg_catalog.pg_class p where p.oid = any ($1))
  and c.relkind in ('r', 'p') and c.relpersistence <> 't' and not c.relispartition and c.oid <> all ($1)
  and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  and (plain.name = any ($2) or plain.name ~ $3)
group by n.nspname, c.relname
order by n.nspname, c.relname
