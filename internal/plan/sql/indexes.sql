-- The operator class must have the type's own equality, and the collation must
-- be the column's, or a condition on the column can't use the index.
select i.indrelid, c.relname, i.indisunique, i.indimmediate, coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid), ''),
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
where i.indrelid = any ($1) and m.amname = 'btree' and i.indisvalid and i.indisready and i.indislive
order by i.indrelid, i.indexrelid
