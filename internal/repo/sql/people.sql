{{/* What people ask of the ledger. These statements need no plan. */}}

{{/* A deletion d as its status, in front of the record what it waits for. A lease that has expired is of a worker that has gone: what it
waited for nobody knows. One that was released may say what for. */}}
{{define "_status"}}
select {{template "_waits"}}, 0::bigint, null::bytea, {{template "_record"}}{{end}}
{{define "_waits"}}case when d.state in ('pending', 'running') then coalesce(
    (select t.reason from lethe.throttles t where t.reason = 'paused' and (t.lane = 'all' or d.cursor_seq > 0) limit 1),
    case when d.lease_until is null or d.lease_until > pg_catalog.clock_timestamp() then d.waiting_for end) end,
  d.waiting_for, d.waiting_detail{{end}}

{{/* A command's deletions. Both keys lead with the app, so that
without one (no other statement does that) the apps are visited one after the
other: one probe of commands_pkey finds the next app, one of deletions_pkey
the command: 12 us an app (200,000 commands of 1,000 apps), and no scan. */}}
{{define "status"}}
with recursive every (app_id) as (
  (select c.app_id from lethe.commands c where @app = '' order by c.app_id limit 1)
  union all
  select (select c.app_id from lethe.commands c where c.app_id > e.app_id order by c.app_id limit 1)
  from every e where e.app_id is not null
),
sought as (
  select @app as app_id where @app <> ''
  union all
  select e.app_id from every e where e.app_id is not null
)
{{template "_status"}}
from sought s
cross join lateral (
  select * from lethe.deletions d where d.app_id = s.app_id and d.command_id = @command) d
order by d.app_id, d.conversation_id, d.user_id
{{end}}

{{/* The next @limit unfinished deletions of a user after a command and its conversation. deletions_under_way */}}
{{define "unfinished"}}
{{template "_status"}}
from lethe.deletions d
where d.state in ('pending', 'running') and d.app_id = @app and d.user_id = @user and (d.command_id, d.conversation_id) > (@command, @conversation)
order by d.command_id, d.conversation_id limit @limit
{{end}}

{{/* Unfinished deletions and erasures, @limit of the first @read in the index: first those that a worker has, then those that wait for something or
have failed, the oldest first. In front of each as its status: the time, how many were read, how many of them a worker has, and since when the
stream has the command. deletions_under_way */}}
{{define "under_way"}}
with found as materialized (
  select * from lethe.deletions d where d.state in ('pending', 'running') limit @read::bigint
)
select pg_catalog.clock_timestamp(), (select pg_catalog.count(*) from found), (select pg_catalog.count(*) from found f where f.state = 'running'), d.stored_at,
  {{template "_waits"}}, 0::bigint, null::bytea, {{template "_record"}}
from found d
order by d.state = 'running' desc, d.waiting_for is not null or d.attempts > 0 desc, d.stored_at, d.app_id, d.command_id, d.user_id, d.conversation_id
limit @limit::bigint
{{end}}

{{define "settings_get"}}
select true, multi_client_sync from lethe.apps where app_id = @app
{{end}}

{{define "settings_set"}}
insert into lethe.apps (app_id, multi_client_sync) values (@app, @sync)
on conflict (app_id) do update set multi_client_sync = excluded.multi_client_sync
{{end}}
