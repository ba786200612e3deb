-- Triggers for each row are those of the tables with the rows. What is published
-- follows Postgres: by the table, by one whose partition it is, by their schemas
-- (since Postgres 15), or as a table like all. tgtype's bits: 1 for
-- each row, 2 before, 4 insert, 8 delete, 16 update. Those that are deferred fire at the commit.
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
  union select t.oid, p.oid from tree t, pg_catalog.pg_publication p where p.puballtables{{if ge . 150000}}
  union select u.oid, s.pnpubid from up u
    join pg_catalog.pg_class c on c.oid = u.top
    join pg_catalog.pg_publication_namespace s on s.pnnspid = c.relnamespace{{end}}
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
  select g.tgrelid, pg_catalog.array_agg(g.tgname::text order by g.tgname) as triggers, pg_catalog.array_agg(g.tgfoid::regproc::text order by g.tgname) as functions,
    pg_catalog.array_agg(g.tgtype & 8 <> 0 order by g.tgname) as deletes, pg_catalog.array_agg(g.tgtype & 16 <> 0 order by g.tgname) as updates,
    pg_catalog.array_agg(g.tginitdeferred order by g.tgname) as deferred
  from pg_catalog.pg_trigger g
  where g.tgrelid in (select t.oid from tree t) and g.tgenabled in ('O', 'A') and (g.tgtype & 3 = 3 or g.tginitdeferred and not g.tgisinternal) and g.tgtype & 24 <> 0
  group by g.tgrelid
),
fired as ( -- by any statement
  select g.tgrelid, pg_catalog.bool_or(g.tgtype & 4 <> 0) as inserts, pg_catalog.bool_or(g.tgtype & 8 <> 0) as deletes, pg_catalog.bool_or(g.tgtype & 16 <> 0) as updates
  from pg_catalog.pg_trigger g
  where g.tgrelid in (select t.oid from tree t) and g.tgenabled in ('O', 'A') and not g.tgisinternal
  group by g.tgrelid
)
select t.root, c.oid, n.nspname, c.relname, c.relkind::text, (select pg_catalog.count(*) from pg_catalog.pg_index i where i.indrelid = c.oid),
  case when c.relkind = 'r' then k.triggers end, k.functions, k.deletes, k.updates, k.deferred, coalesce(u.deletes, ''), coalesce(u.updates, ''), c.relreplident::text,
  coalesce(f.inserts, false), coalesce(f.deletes, false), coalesce(f.updates, false)
from tree t
join pg_catalog.pg_class c on c.oid = t.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join unnamed u on u.oid = t.oid
left join keepers k on k.tgrelid = t.oid
left join fired f on f.tgrelid = t.oid
order by t.root, t.oid <> t.root, n.nspname, c.relname
