-- Finishes a deletion that is done again, if nothing of what it removed is left: the conversation's row goes, unless newer messages
-- remain, and the ledger learns the outcome that the event tells. As in finish.sql only a row that carries our lock may
-- go. A command that the ledger doesn't know is entered without its content (adopt.sql). Rows that are done stay as they are.
-- Each key forward, the messages' backward; the conversations' key; commands_pkey, deletions_pkey.
with q as materialized (
  select $1::text as app_id, $2::text as user_id, $3::text as conversation_id, $4::text as command_id, $5::bigint as through_seq,
    $6::timestamptz as completed_at, $7::boolean as history_kept
  where {{template "free"}} and ($7::boolean or pg_catalog.current_setting('lethe.last', true) = 'true')
),
seen as materialized (
  select q.*, c.there, (c.ours or not c.there) and (q.history_kept or not {{template "restored" .}}) as finished,
    case when q.history_kept then n.newer else n.there end as newer
  from q
  cross join lateral (
    select pg_catalog.count(*) > 0 as there, coalesce(pg_catalog.bool_and(pg_catalog.pg_current_xact_id()::xid in (c.xmax, c.xmin)), false) as ours
    from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}}) c
  cross join lateral {{template "newest" .}} n
),
entries as materialized (
  select q.*, c.part, c.id
  from seen q cross join lateral (
    select c.tableoid as part, c.ctid as id from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}} offset 0) c
  where q.finished
),
dropped as (
  delete from {{.Conversations.Name}} c using entries q where c.tableoid = q.part and c.ctid = q.id and not q.newer
  returning 1
),
kept as materialized ( -- by a trigger
  select (select pg_catalog.count(*) from entries where not newer) > (select pg_catalog.count(*) from dropped) as row
)
{{- if .Conversations.Unread}},
recounted as (
  update {{.Conversations.Name}} c
  set {{.Conversations.Unread}} = least(c.{{.Conversations.Unread}}, (
    select pg_catalog.count(*) from (
      select m.{{.Messages.Seq}} > q.through_seq or (m.{{.Messages.SentAt}} <= {{.Moment "q.completed_at"}}) is not true as newer
      from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}}
      order by m.{{.Messages.Seq}} desc limit greatest(c.{{.Conversations.Unread}}, 0)) n
    where n.newer))
  from entries q
  where c.tableoid = q.part and c.ctid = q.id and q.newer and c.{{.Conversations.Unread}} > 0
)
{{- end}},
entered as (
  insert into lethe.commands (app_id, command_id, digest, created_at)
  select q.app_id, q.command_id, '', q.completed_at from seen q where q.finished and not (select k.row from kept k)
  on conflict do nothing
),
written as (
  insert into lethe.deletions as d (app_id, command_id, conversation_id, user_id, origin_device_id, state, stored_at, through_seq, cursor_seq,
    messages_deleted, history_kept, conversation_removed, multi_client_sync, requested_at, created_at, completed_at)
  select q.app_id, q.command_id, q.conversation_id, q.user_id, nullif($8::text, ''), 'done', q.completed_at, q.through_seq, q.through_seq,
    $9::bigint, q.history_kept, $10::boolean, $11::boolean, nullif($12::text, ''), q.completed_at, q.completed_at
  from seen q where q.finished and not (select k.row from kept k)
  on conflict (app_id, command_id, conversation_id) do update
  set state = 'done', through_seq = excluded.through_seq, cursor_seq = excluded.cursor_seq, messages_deleted = excluded.messages_deleted,
    conversation_removed = excluded.conversation_removed, multi_client_sync = excluded.multi_client_sync, completed_at = excluded.completed_at,
    failed_at = null, reason = null, message = null, batch_seq = null, waiting_for = null, lease_token = null, lease_until = null
  where d.state <> 'done'
)
select q.finished and not (select k.row from kept k), exists (select from dropped) from seen q
