{{/* Deletions of a shared log's members, which hide the history at once: hide_lock, hide, hide_kept. */}}

{{/* Locks the members' rows of @fresh deletions, in their order, so that hides of one member come one after the other and each sees what the one
before has hidden. The members' key. */}}
{{define "_hide_lock"}}{{if .Hides}}
with q as materialized (
  select *{{template "_look_up" .}}
  from unnest(@apps::text[], @commands::text[], @conversations::text[], @users::text[], @fresh::boolean[]) as q (app_id, command_id, conversation_id, user_id, fresh)
  offset 0
)
select pg_catalog.count(*) from (
  select from q
  cross join lateral (select from {{.Members.Name}} x where {{.Members.Match "x" "q"}} and q.fresh for update{{if .SkipLocked}} skip locked{{end}}) x) l
{{end}}{{end}}

{{define "hide_lock"}}{{template "_hide_lock" .}}{{end}}
{{define "hide_lock_unlocked"}}{{template "_hide_lock" .Skipping}}{{end}}

{{/* Hides the history of each @fresh deletion that isn't final from its member: moves the watermarks on, recounts what is unread, and enters the
deletion in the ledger as done. One for everyone may have removed the member's row before. hide_lock has locked the members' rows; a row that is not ours, because somebody else has it or it has just
come, leaves its deletion for a single step. The boundary is the one in the ledger, or that of the command for everyone, or as in
bulk_take. What becomes hidden is counted up to @count. Returns what the ledger has of every deletion.
commands_pkey, deletions_pkey; the messages' key backward and forward; the members' key; watermarks_pkey; apps_pkey. */}}
{{define "hide"}}{{if .Hides}}
with q as materialized (
  select *{{template "_look_up" .}}
  from unnest(@apps::text[], @commands::text[], @conversations::text[], @users::text[], @devices::text[], @wanted::bigint[], @stored_at::timestamptz[],
    @digests::bytea[], @requested_at::text[], @fresh::boolean[], @boundaries::bigint[], @scopes::text[], @requesters::text[], @conversations_kept::boolean[],
    @log_users::text[], @log_conversations::text[])
    with ordinality as q (app_id, command_id, conversation_id, user_id, device_id, wanted, stored_at, digest, requested_at, fresh, boundary,
    scope, requested_by, conversation_kept, log_user, log_conversation, ord)
),
entered as (
  insert into lethe.commands (app_id, command_id, digest)
  select distinct q.app_id, q.command_id, q.digest from q where q.fresh
  order by q.app_id, q.command_id
  on conflict do nothing
  returning app_id, command_id, digest
),
taken as materialized (
  select q.*, coalesce(d.through_seq, q.boundary, {{.Boundary "q" "wanted"}}) as through_seq
  from q
  left join lateral (
    select d.state, d.through_seq from lethe.deletions d
    where d.app_id = q.app_id and d.command_id = q.command_id and d.user_id = q.user_id and d.conversation_id = q.conversation_id limit 1) d on true
  where q.fresh and coalesce(d.state, 'pending') in ('pending', 'running')
    and ((q.app_id, q.command_id, q.digest) in (select e.app_id, e.command_id, e.digest from entered e)
      or exists (select from lethe.commands k where k.app_id = q.app_id and k.command_id = q.command_id and k.digest = q.digest offset 0))
),
seen as materialized (
  {{template "_of_member" .}}
),
due as materialized (
  select s.*, {{.Messages.Exists "s" "" "s.through_seq" ""}} as stored, (
    select pg_catalog.count(*) from (
      select from {{.Messages.Of "m" "s"}} and {{.Messages.Above "m" "s.cleared"}} and {{.Messages.AtOrBelow "m" "s.through_seq"}} and (s.member or s.scope = 'everyone')
      limit @count::bigint) m) as hidden
  from seen s
),
{{template "_clear" .}},
written as (
  insert into lethe.deletions as d (app_id, command_id, conversation_id, user_id, origin_device_id, state, requested_through_seq, stored_at,
    through_seq, cursor_seq, messages_deleted, history_kept, conversation_removed, multi_client_sync, requested_at, completed_at,
    scope, requested_by, conversation_kept, erased)
  select app_id, command_id, conversation_id, user_id, nullif(device_id, ''), 'done', wanted, stored_at,
    through_seq, through_seq, hidden, false, not member,
    coalesce((select a.multi_client_sync from lethe.apps a where a.app_id = q.app_id), false), nullif(requested_at, ''), pg_catalog.clock_timestamp(),
    nullif(scope, ''), nullif(requested_by, ''), conversation_kept, not stored
  from due q
  on conflict (app_id, command_id, user_id, conversation_id) do update
  set state = 'done', through_seq = excluded.through_seq, cursor_seq = excluded.cursor_seq, messages_deleted = excluded.messages_deleted,
    conversation_removed = excluded.conversation_removed, multi_client_sync = excluded.multi_client_sync, completed_at = excluded.completed_at,
    scope = excluded.scope, requested_by = excluded.requested_by, conversation_kept = excluded.conversation_kept, erased = excluded.erased,
    lease_token = null, lease_until = null, waiting_for = null, waiting_detail = null
  where d.state in ('pending', 'running')
  returning {{template "_record"}}
)
select 0::bigint, null::bytea, w.* from written w
union all
select q.ord, k.digest, d.* from q {{template "_known"}} where q.ord not in (select s.ord from seen s)
{{end}}{{end}}

{{/* Which of the deletions that this transaction has entered as done are not hidden: a trigger has kept the member's row or its watermark, or the
ledger's; or the boundary is 0, which as a watermark means none; or there is a boundary, and what the messages are looked up by is there no more. Another number of unread messages stands: the row has changed since this
transaction began, perhaps in a subtransaction of a trigger's. deletions_pkey; the members' key; watermarks_pkey. */}}
{{define "hide_kept"}}{{if .Hides}}
with q as materialized (
  select *{{template "_look_up" .}}
  from unnest(@apps::text[], @commands::text[], @conversations::text[], @users::text[], @log_users::text[], @log_conversations::text[])
    with ordinality as q (app_id, command_id, conversation_id, user_id, log_user, log_conversation, ord)
),
found as materialized (
  select q.ord, coalesce({{with .Vanished "q"}}case when d.through_seq <> 0 and {{.}} is not null then {{$.KeptMissing}} end, {{end}}
      x.kept{{if .Members.Sets}}, case when x.rows = 0 and not d.conversation_removed then {{.KeptWatermark}} end{{end}}, w.kept) as kept
    {{- with .Vanished "q"}}, {{.}}{{else}}, null{{end}}::text as missing
  from q
  cross join lateral (
    select d.through_seq, d.erased, d.scope, d.conversation_removed from lethe.deletions d
    where d.app_id = q.app_id and d.command_id = q.command_id and d.user_id = q.user_id and d.conversation_id = q.conversation_id
      and d.xmin = pg_catalog.pg_current_xact_id()::xid limit 1) d
  cross join lateral (
    select pg_catalog.count(*) as rows, pg_catalog.max(x.kept) as kept
    from (
      select case when d.through_seq = 0 and not d.erased and d.scope is null then {{.KeptZero}}
        {{- if .Members.Watermark}} when {{.Members.Cleared "x"}} < d.through_seq and d.through_seq <> 0 then {{.KeptWatermark}}{{end}}
        {{- if .Members.Unread}} when x.{{.Members.Unread}} > 0 and pg_catalog.age(x.xmin) > pg_catalog.age(pg_catalog.pg_current_xact_id()::xid) then {{.KeptUnread}}{{end}} end as kept
      from {{.Members.Name}} x where {{.Members.Match "x" "q"}} and {{.Ours "x"}} offset 0) x) x
  cross join lateral (
    select case when d.through_seq <> 0 and not exists (select from lethe.watermarks w
      where w.app_id = q.app_id and w.user_id = q.log_user and w.conversation_id = q.log_conversation and w.cleared_through >= d.through_seq)
      then {{.KeptLedger}} end as kept
    offset 0) w
)
select f.ord, f.kept, coalesce(f.missing, '') from found f where f.kept is not null
{{end}}{{end}}

{{/* Through which position the member x has cleared the log, by their row alone. */}}
{{define "_cleared"}}{{with .Members.Visible "x"}}greatest({{$.Members.Cleared "x"}}, {{.}}){{else}}{{.Members.Cleared "x"}}{{end}}{{end}}

{{/* The deletions t of "taken" with the member's row and through which position the member has cleared the log, but for those whose row isn't ours. */}}
{{define "_of_member"}}select t.*, x.id is not null as member, x.part, x.id, greatest(x.cleared, w.cleared_through, {{.Members.Never}}) as cleared
  from taken t
  left join lateral (
    select x.tableoid as part, x.ctid as id, {{template "_cleared" .}} as cleared, {{.Ours "x"}} as ours
    from {{.Members.Name}} x where {{.Members.Match "x" "t"}} limit 1) x on true
  left join lateral (
    select w.cleared_through from lethe.watermarks w
    where w.app_id = t.app_id and w.user_id = t.log_user and w.conversation_id = t.log_conversation limit 1) w on true
  where coalesce(x.ours, true){{end}}

{{/* Moves the watermarks of the deletions in due on, and recounts what is unread. */}}
{{define "_clear"}}{{- if .Members.Sets}}
cleared as (
  update {{.Members.Name}} x
  set {{if .Members.Watermark}}{{.Members.Watermark}} = case when {{.Members.Cleared "x"}} < q.through_seq and q.through_seq <> 0 then {{.Members.SetCleared "q.through_seq"}} else x.{{.Members.Watermark}} end
    {{- if .Members.Unread}},
    {{end}}{{end}}
    {{- if .Members.Unread}}{{.Members.Unread}} = case when x.{{.Members.Unread}} > 0 then least(x.{{.Members.Unread}}, (
      select pg_catalog.count(*) from (
        select from {{.Messages.Of "m" "q"}} and {{.Messages.Above "m" "greatest(q.cleared, q.through_seq)"}}
        limit greatest(x.{{.Members.Unread}}, 0)) n)) else x.{{.Members.Unread}} end{{end}}
  from due q
  where x.tableoid = q.part and x.ctid = q.id and (
    {{- if .Members.Watermark}}{{.Members.Cleared "x"}} < q.through_seq and q.through_seq <> 0{{if .Members.Unread}} or {{end}}{{end}}
    {{- if .Members.Unread}}x.{{.Members.Unread}} > 0{{end}})
),
{{- end}}
marked as (
  insert into lethe.watermarks as w (app_id, user_id, conversation_id, cleared_through, cleared_at)
  select q.app_id, q.log_user, q.log_conversation, q.through_seq, {{if .Replay}}q.completed_at{{else}}pg_catalog.now(){{end}} from due q where q.through_seq <> 0
  on conflict (app_id, user_id, conversation_id) do update set cleared_through = excluded.cleared_through, cleared_at = excluded.cleared_at
  where w.cleared_through < excluded.cleared_through
){{end}}
