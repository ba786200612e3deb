-- A value from the middle of each column of numbers whose name may be that of a time, as far as there are statistics and the role may
-- see them: its size tells the unit.
select c.oid, s.attname::text, case when a.atttypid = 'bigint'::regtype then
  (select v.value from pg_catalog.unnest(coalesce(s.histogram_bounds::text, s.most_common_vals::text)::bigint[]) with ordinality as v (value, nth)
   order by v.nth desc limit 1) end
from pg_catalog.pg_stats s
join pg_catalog.pg_namespace n on n.nspname = s.schemaname
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = s.tablename
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = s.attname
where c.oid = any ($1::oid[]) and a.atttypid = 'bigint'::regtype and s.attname ~* '(time|when|date|at$|ts$|sent|created|epoch|_ms$|_us$)'
  and coalesce(s.histogram_bounds::text, s.most_common_vals::text) is not null
order by 1, 2
