-- Names are looked up in pg_class and not by to_regclass, which raises an error
-- for a schema that our role may not use.
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
order by q.ord
