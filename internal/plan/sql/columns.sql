-- A domain's rows compare like those of the type below it.
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
  a.attcollation, coalesce(l.collisdeterministic, true), a.attgenerated <> '', has_column_privilege(a.attrelid, a.attnum, 'update'),
  array(select e.enumlabel::text from pg_catalog.pg_enum e where e.enumtypid = b.oid order by e.enumsortorder)
from pg_catalog.pg_attribute a
left join pg_catalog.pg_collation l on l.oid = a.attcollation
cross join lateral (
  with recursive t as (
    select a.atttypid as oid, a.atttypmod as mod, false as notnull
    union all
    select y.typbasetype, y.typtypmod, t.notnull or y.typnotnull from t join pg_catalog.pg_type y on y.oid = t.oid where y.typtype = 'd')
  select t.oid, t.mod, t.notnull from t join pg_catalog.pg_type y on y.oid = t.oid where y.typtype <> 'd') b
where a.attrelid = any ($1) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum
