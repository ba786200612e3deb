-- The tables that a plan may be about: all of the schema $1, or of all schemas but the server's and ours for ''. Partitions go with their
-- table, and what belongs to an extension is not of the app.
select n.nspname, c.relname
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition
  and case when $1 = '' then n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'lethe') else n.nspname = $1 end
  and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = c.oid)
  and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by n.nspname, c.relname
