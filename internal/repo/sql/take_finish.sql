-- Enters in the ledger what was taken, as done where nothing is left, and tells what the ledger says of every deletion. An earlier
-- statement has locked the conversations' rows: only a row that carries our lock (or that a key's action has rewritten for us since)
-- may go, for only then does this statement's snapshot hold every message that its senders have committed. A row that came or was
-- locked by another transaction in between leaves its deletion unfinished, and so do several rows of one conversation: the long
-- way deletes all of them. No conversation is listed twice.
-- Each key forward, one row; the conversations' key; apps_pkey; commands_pkey and deletions_pkey for what was known before.
with q as materialized (
{{- if .One}}
  select $1::text as app_id, $2::text as command_id, $3::text as conversation_id, $4::uuid as token, $5::text as user_id, $6::text as device_id,
    $7::bigint as requested_through_seq, $8::timestamptz as stored_at, $9::boolean as history_kept, $10::text as requested_at, $11::bytea as digest,
    nullif(pg_catalog.current_setting('lethe.through', true), '')::bigint as through_seq, pg_catalog.current_setting('lethe.deleted', true)::bigint as deleted, 1::bigint as ord
{{- else}}
  select *
  from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::timestamptz[], $9::boolean[],
    $10::text[], $11::bytea[], pg_catalog.string_to_array(pg_catalog.current_setting('lethe.through', true), ',', '')::bigint[],
    pg_catalog.string_to_array(pg_catalog.current_setting('lethe.deleted', true), ',')::bigint[])
    with ordinality as q (app_id, command_id, conversation_id, token, user_id, device_id, requested_through_seq, stored_at, history_kept,
    requested_at, digest, through_seq, deleted, ord)
{{- end}}
),
seen as materialized (
  select q.*, c.there, c.part, c.id,{{range $i, $t := .Conversations.Hints}} c.hint_{{$i}},{{end}}
    (c.ours or not c.there) and not c.several and (q.history_kept or not {{template "remaining" .}}) as finished,
    exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > q.through_seq) as newer
  from q cross join lateral (
    select pg_catalog.count(*) > 0 as there, pg_catalog.count(*) > 1 as several, coalesce(pg_catalog.bool_and(pg_catalog.pg_current_xact_id()::xid in (c.xmax, c.xmin)), false) as ours,
      pg_catalog.max(c.tableoid) as part, pg_catalog.max(c.ctid) as id
      {{- range $i, $t := .Conversations.Hints}}, pg_catalog.max(c.{{$t}}) as hint_{{$i}}{{end}}
    from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}}) c
  where q.through_seq is not null
),
dropped as (
  delete from {{.Conversations.From}} c
  where c.ctid = any (array(select q.id from seen q where q.finished and q.there and not q.newer))
  {{- if .Conversations.Parted}} and (c.tableoid, c.ctid) in (select q.part, q.id from seen q where q.finished and q.there and not q.newer){{end}}
  returning c.tableoid as part, c.ctid as id
)
{{- if .Conversations.Unread}},
recounted as (
  update {{.Conversations.Name}} c
  set {{.Conversations.Unread}} = least(c.{{.Conversations.Unread}}, (
    select pg_catalog.count(*) from (
      select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > q.through_seq
      limit greatest(c.{{.Conversations.Unread}}, 0)) n))
  from seen q
  where c.tableoid = q.part and c.ctid = q.id and q.finished and q.newer and c.{{.Conversations.Unread}} > 0
)
{{- end}},
settled as materialized ( -- a trigger may keep the row
  select q.ord, q.app_id, q.command_id, q.conversation_id, q.token, q.user_id, q.device_id, q.requested_through_seq, q.stored_at, q.history_kept,
    q.requested_at, q.through_seq, q.deleted, q.there, q.newer
    {{- range $i, $t := .Conversations.Hints}}, q.hint_{{$i}}{{end}},
    q.finished and (q.newer or not q.there or (q.part, q.id) in (select x.part, x.id from dropped x)) as finished
  from seen q
),
told as materialized (
  select q.*, case when q.finished then pg_catalog.clock_timestamp() end as completed_at, q.finished and not (q.there and q.newer) as removed,
    q.finished and coalesce((select a.multi_client_sync from lethe.apps a where a.app_id = q.app_id), false) as sync,
    case when not q.finished then pg_catalog.clock_timestamp() + $12::interval end as lease_until
  from settled q
),
written as (
  insert into lethe.deletions (app_id, command_id, conversation_id, user_id, origin_device_id, state, requested_through_seq, stored_at,
    through_seq, cursor_seq, messages_deleted, history_kept, conversation_removed, multi_client_sync, requested_at, completed_at,
    lease_token, lease_until)
  select app_id, command_id, conversation_id, user_id, nullif(device_id, ''), case when finished then 'done' else 'running' end,
    requested_through_seq, stored_at, through_seq, case when finished then through_seq else 0 end, deleted, history_kept, removed, sync,
    nullif(requested_at, ''), completed_at, case when not finished then token end, lease_until
  from told
)
select ord, finished, {{if .Conversations.Hints}}case when finished and removed and there and deleted = 0 and not history_kept then {{.Conversations.Doubt}} end{{else}}null{{end}}, false, user_id, nullif(device_id, ''), case when finished then 'done' else 'running' end, not finished, through_seq,
  case when finished then through_seq else 0 end, deleted, history_kept, removed, sync, nullif(requested_at, ''), completed_at, null, null,
  null, 0, null, extract(epoch from lease_until - pg_catalog.clock_timestamp())::float8
from told
union all
select l.ord, false, null, l.reused, {{template "outcome" "(l.entry)"}}
from (
  select t.ord, t.token, coalesce(k.digest <> t.digest, false) as reused, d.entry
  from q t
  left join lateral (
    select k.digest from lethe.commands k where k.app_id = t.app_id and k.command_id = t.command_id limit 1) k on true
  left join lateral (
    select d as entry from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.conversation_id = t.conversation_id and k.digest = t.digest
    limit 1) d on true
  where t.through_seq is null
  offset 0) l
