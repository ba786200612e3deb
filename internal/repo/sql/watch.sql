{{/* What may throttle or pause the lanes. These statements need no plan. */}}

{{/* The operator's pauses. throttles_pkey */}}
{{define "pauses"}}
select t.lane, t.since from lethe.throttles t where t.reason = 'paused' order by t.lane
{{end}}

{{define "pause"}}
insert into lethe.throttles (lane, reason, detail) values (@lane, 'paused', 'by an operator') on conflict do nothing
{{end}}

{{define "paused_since"}}
select t.since from lethe.throttles t where t.lane = @lane and t.reason = 'paused'
{{end}}

{{define "resume"}}
delete from lethe.throttles t where t.lane = @lane and t.reason = 'paused'
{{end}}

{{/* Throttles the long lane of all workers after a slow batch; a longer time that has been noted stays. throttles_pkey */}}
{{define "slow_batch"}}
insert into lethe.throttles as t (lane, reason, until, detail) values ('long', 'slow_batch', pg_catalog.clock_timestamp() + @left::interval, @detail)
on conflict (lane, reason) do update
set since = excluded.since, until = greatest(t.until, excluded.until), detail = excluded.detail
{{end}}

{{/* Throttles the long lane of all workers, for the sake of others, for @times as long as this transaction has taken, a second at most. It
comes last: the row is locked for the moment of the commit alone. throttles_pkey */}}
{{define "foreground_load"}}
insert into lethe.throttles as t (lane, reason, until)
values ('long', 'foreground_load', pg_catalog.clock_timestamp()
  + least(@times::float8 * (pg_catalog.clock_timestamp() - pg_catalog.now()), interval '1 s'))
on conflict (lane, reason) do update set since = excluded.since, until = greatest(t.until, excluded.until)
{{end}}

{{/* All transactions that this database has seen, as far as its sessions have reported them: each does so about once a second. And
whether this role may throttle the others. */}}
{{define "transactions"}}
select s.xact_commit + s.xact_rollback,
  has_table_privilege('lethe.throttles', 'insert') and has_table_privilege('lethe.throttles', 'update')
from pg_stat_database s where s.datname = current_database()
{{end}}

{{/* The standbys that replay, and where they and we are. What only
receives, such as pg_receivewal, says nothing of replaying. The role may see
them itself, as an older roles.sql had it, or the function's owner does. If neither
may, the rows are there, and empty: then the grant that is missing. Postgres 16 and
newer keep with a membership whether it is inherited. */}}
{{define "standbys"}}
select coalesce(s.application_name, ''), pg_wal_lsn_diff(s.replay_lsn, '0/0')::bigint,
  case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint else 0 end,
  'grant pg_read_all_stats to ' || (select p.proowner::regrole::text from pg_proc p where p.oid = 'lethe.standbys()'::regprocedure)
    || case when current_setting('server_version_num')::int >= 160000 then ' with inherit true' else '' end
from (
  select s.application_name, s.state, s.replay_lsn from pg_stat_replication s where pg_has_role('pg_read_all_stats', 'usage')
  union all
  select s.application_name, s.state, s.replay_lsn from lethe.standbys() s where not pg_has_role('pg_read_all_stats', 'usage')) s
where s.state is null or s.state in ('streaming', 'catchup') and s.replay_lsn is not null and s.application_name <> all (@ignored::text[])
{{end}}

{{/* Who retains the most WAL. What the archiver failed on last is the oldest that it has not got rid of. */}}
{{define "wal_retained"}}
select h.holder, h.retained
from (select case when not pg_is_in_recovery() then pg_current_wal_lsn() end as at) p
cross join lateral (
  select 'replication slot "' || s.slot_name || '"' as holder, pg_wal_lsn_diff(p.at, s.restart_lsn)::bigint as retained
  from pg_replication_slots s where s.restart_lsn is not null and s.wal_status is distinct from 'lost'
  union all
  select 'the archiver, which failed on ' || a.last_failed_wal || ',',
    (pg_wal_lsn_diff(p.at, (substr(a.last_failed_wal, 9, 8) || '/0')::pg_lsn)
      - ('x' || substr(a.last_failed_wal, 17, 8))::bit(32)::bigint * pg_size_bytes(current_setting('wal_segment_size')))::bigint
  from pg_stat_archiver a
  where current_setting('archive_mode') <> 'off' and a.last_failed_wal ~ '^[0-9A-F]{24}$'
    and (a.last_archived_time is null or a.last_failed_time > a.last_archived_time)) h
where h.retained is not null
order by h.retained desc limit 1
{{end}}

{{/* Sessions of others that have waited for longer than @wait for
a lock which a worker's session holds, of this replica or another: they are
known by their application_name. Since when they wait is told by Postgres 14
and newer; before, the age of the statement has to do. */}}
{{define "lock_waiters"}}
select pg_catalog.count(*)::int, coalesce(pg_catalog.max(extract(epoch from clock_timestamp() - w.since)), 0)::float8
from (
  select l.pid, pg_catalog.min(coalesce((pg_catalog.to_jsonb(l) ->> 'waitstart')::timestamptz, a.query_start)) as since
  from pg_locks l join pg_stat_activity a on a.pid = l.pid
  where not l.granted and a.application_name <> current_setting('application_name')
  group by l.pid) w
where w.since < clock_timestamp() - @wait::interval and exists (
  select from pg_stat_activity b
  where b.pid = any (pg_blocking_pids(w.pid)) and b.datname = current_database() and b.application_name = current_setting('application_name'))
{{end}}

{{/* A session s of lethe.sessions(), for people. */}}
{{define "_session"}}'pid ' || s.pid::text || ' (role ' || coalesce(s.usename::text, '-')
  || ', application ' || coalesce(nullif(s.application_name, ''), '-') || '), '
  || case when s.xact_start is null then 'connected' else 'in a transaction' end || ' since '
  || to_char(coalesce(s.xact_start, s.backend_start) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'){{end}}

{{/* Sessions that have held permits of the long lane for longer than any batch takes: advisory locks of the class @class. */}}
{{define "permit_holders"}}
select {{template "_session"}}
from pg_locks l join lethe.sessions() s on s.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.classid = @class::bigint::oid and l.objsubid = 2 and l.objid::bigint between 1 and @permits
  and l.database = (select d.oid from pg_database d where d.datname = current_database())
  and coalesce(s.xact_start, s.backend_start) < clock_timestamp() - interval '5 s'
group by s.pid, s.usename, s.application_name, s.xact_start, s.backend_start
order by coalesce(s.xact_start, s.backend_start) limit 3
{{end}}

{{/* Who most likely locks the rows that a deletion waits for: of others'
transactions that have locked rows of one of the @tables, or a table, the
oldest. Postgres shows who locks a single row only to transactions that wait for it, and
deletions don't. */}}
{{define "blocker"}}
select coalesce({{template "_session"}},
  'prepared transaction "' || x.gid || '" (role ' || x.owner || '), since ' || to_char(x.prepared at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
from pg_locks l
left join lethe.sessions() s on s.pid = l.pid
left join pg_prepared_xacts x on l.pid is null and l.virtualtransaction = '-1/' || x.transaction
where l.locktype = 'relation' and l.granted and l.mode <> 'AccessShareLock' and l.relation = any (@tables::text[]::regclass[])
  and s.application_name is distinct from current_setting('application_name')
  and coalesce(s.xact_start, x.prepared) < clock_timestamp() - interval '100 ms'
order by coalesce(s.xact_start, x.prepared) limit 1
{{end}}

{{/* Whether the server works on a transaction. One that is idle has answered, and its answer is lost. Behind a pooler the server's
process is not known: one of our role and name that began no earlier than the call counts, unless it has only just begun; so a second
one hides the loss of the first until it ends. Where the server keeps no track nothing is known. @pid: the process, 0
behind a pooler; @since: since when the call is outstanding; @name: the application_name; @age: how old a transaction must be. Times are in
seconds. */}}
{{define "at_work"}}
select pg_catalog.count(*) > 0 from pg_catalog.pg_stat_activity a
where case when @pid::int8 <> 0 then a.pid = @pid::int8 and (a.xact_start is not null and a.state not like 'idle%' or a.state = 'disabled')
  else a.datname = current_database() and a.usename = session_user and a.application_name = @name::text and a.pid <> pg_backend_pid()
    and (a.state = 'disabled' or a.state not like 'idle%'
      and extract(epoch from clock_timestamp() - a.xact_start) between @age::float8 and @since::float8 + 1) end
{{end}}

{{/* Fails for a text that the database's encoding can't store. */}}
{{define "encode"}}
select @texts::text[]
{{end}}
