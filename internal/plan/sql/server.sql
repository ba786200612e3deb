-- The zone of the connection is ignored if it was set for that alone, as far as
-- that can be seen: writers of messages have the database's. A deferrable trigger
-- counts although it isn't deferred: another one's function may defer it. Those of foreign
-- keys are internal, and only check.
with zones as (
  select s.setdatabase, s.setrole, pg_catalog.split_part(c, '=', 2) as zone
  from pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c
  where s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname = current_database())) and c ilike 'timezone=%'
),
named as (
  select zone, setrole <> 0 as own from (
    select coalesce(
      (select z.zone from zones z where z.setrole = 0 order by z.setdatabase desc limit 1),
      (select t.reset_val from pg_catalog.pg_settings t where t.name = 'TimeZone')) as zone, 0::oid as setrole
    union
    select z.zone, z.setrole from zones z where z.setrole <> 0 and z.setrole <> current_user::regrole) z
  where (timestamptz '2026-01-01 00:00Z' at time zone zone, timestamptz '2026-07-01 00:00Z' at time zone zone)
    <> (timestamp '2026-01-01 00:00', timestamp '2026-07-01 00:00')
)
select pg_catalog.quote_ident(current_user), current_setting('search_path'), current_setting('server_version_num')::int, current_database()::text, current_setting('server_encoding'),
  current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int),
  current_setting('max_locks_per_transaction')::int,
  coalesce((select n.zone from named n where not n.own), ''), array(select distinct n.zone from named n where n.own order by n.zone),
  exists (select from pg_catalog.pg_trigger g where g.tgdeferrable and not g.tgisinternal and g.tgenabled in ('O', 'A'))
