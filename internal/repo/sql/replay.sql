{{/* What a replay does differently from a worker: what is to go is at or below the boundary, and was sent by the time at which the deletion
finished. After a restore seqs may have been used twice, so that a message at or below the boundary may be newer than the deletion. */}}

{{/* Which of a page's deletions are to be done again: something of what they removed is there, or the ledger doesn't know that they
are done. Locks nothing. Each key forward, mostly to its first row; deletions_pkey */}}
{{define "replay_due"}}{{with .Replaying}}
with q as materialized (
  select *{{template "_look_up" .}}
  from unnest(@apps::text[], @commands::text[], @conversations::text[], @users::text[], @through_seqs::bigint[], @completed_at::timestamptz[],
    @kept::boolean[]) with ordinality as q (app_id, command_id, conversation_id, user_id, through_seq, completed_at, history_kept, ord)
)
select q.ord
from q
left join lateral (
  select d.state from lethe.deletions d
  where d.app_id = q.app_id and d.command_id = q.command_id and d.user_id = q.user_id and d.conversation_id = q.conversation_id limit 1) d on true
where d.state is distinct from 'done' or not q.history_kept and {{template "_remaining" .}}
order by q.ord
{{end}}{{end}}

{{/* Reads up to @limit messages above @low, of pointers those that a step would pass, and returns how far they reach, how many they are and how many of them a replay would
delete. Locks and changes nothing. The messages' key forward. */}}
{{define "replay_count"}}{{if .Messages.Pointed}}
select case when pg_catalog.count(s.seq) >= @limit::bigint then pg_catalog.max(s.seq) else least(pg_catalog.max(e.seq), r.through_seq) end,
  pg_catalog.count(s.seq), pg_catalog.count(*) filter (where s.goes)
from (select @low::bigint as low, @through_seq::bigint as through_seq where @app::text is not null offset 0) r
left join lateral (
  select {{.Messages.Position "m"}} as seq, {{.SentBy "m" "@completed_at::timestamptz"}} as goes from {{.Messages.WalkArgs "m" "r.low" "r.through_seq"}}
  order by {{.Messages.Order "m"}} fetch first (@limit::bigint) rows with ties) s on true
{{- template "_span_end" .}}
group by r.through_seq
{{else}}
select case when pg_catalog.count(*) >= @limit::bigint then pg_catalog.max(s.seq) else @through_seq::bigint end, pg_catalog.count(*), pg_catalog.count(*) filter (where s.goes)
from (
  select {{.Messages.Position "m"}} as seq, {{.SentBy "m" "@completed_at::timestamptz"}} as goes from {{.Messages.OfArgs "m"}}
    and {{.Messages.Above "m" "@low::bigint"}} and {{.Messages.AtOrBelow "m" "@through_seq::bigint"}} and @app::text is not null
  order by {{.Messages.Order "m"}} {{if .Messages.UniqueSeq}}limit @limit::bigint{{else}}fetch first (@limit::bigint) rows with ties{{end}}) s
{{end}}{{end}}

{{/* step_range without the ledger: a replay holds no lease. The messages' key forward. */}}
{{define "replay_range"}}{{if .Messages.Pointed}}{{with .Replaying}}
select {{template "_walked" .}}, @kept::boolean, 0::bigint, {{template "_positions" .}}
from (select @low::bigint as low, @through_seq::bigint as through_seq, @kept::boolean as history_kept where @app::text is not null offset 0) r
{{- template "_walk" .}}
{{end}}{{else}}
select r.low, r.first, {{template "_high" .}}, {{template "_crowded" .}}, r.through_seq, @kept::boolean, 0::bigint
from (
  select @low::bigint as low, @through_seq::bigint as through_seq, (
    select {{.Messages.Position "m"}} from {{.Messages.OfArgs "m"}}
      and {{.Messages.Above "m" "@low::bigint"}} and {{.Messages.AtOrBelow "m" "@through_seq::bigint"}} and @app::text is not null
    order by {{.Messages.Order "m"}} limit 1) as first
  offset 0) r
{{- template "_ends" .Replaying}}
{{end}}{{end}}

{{/* Finishes a deletion that is done again, if nothing of what it removed is left: the conversation's row goes, unless newer messages
remain, and the ledger learns the outcome that the event tells. lock_conversation has locked the rows. A command that the ledger doesn't
know is entered without its content (adopt). Rows that are done stay as they are.
Each key forward, the messages' backward; the conversations' key; commands_pkey, deletions_pkey. */}}
{{define "replay_finish"}}{{with .Replaying}}
with q as materialized (
  select @app::text as app_id, @user::text as user_id, @conversation::text as conversation_id, @command::text as command_id,
    @through_seq::bigint as through_seq, @completed_at::timestamptz as completed_at, @kept::boolean as history_kept, not @removed::boolean as conversation_kept{{template "_looked_up_args" .}}
),
{{template "_conversation" .}},
seen as materialized (
  select q.*, c.ours and (q.history_kept or not {{template "_remaining" .}}) as finished,
    case when q.history_kept then n.newer else n.there end as newer
  from q
  cross join conversation c
  cross join lateral ( -- the newest message: whether there is one, and whether it is newer than the deletion
    select m.newest is not null as there, m.newest is not null and (m.newest[1] > q.through_seq or m.newest[2] is distinct from 1) as newer
    from (select {{.Messages.Newest "q" (.PositionAndSent "q.completed_at") ""}} as newest offset 0) m) n
),
due as materialized (select q.*, c.part, c.id from seen q cross join rows c where q.finished),
{{template "_rows" .}},
settled as materialized (
  select q.* from seen q where q.finished and (select pg_catalog.count(*) from leaving) = (select pg_catalog.count(*) from dropped){{template "_ended" .}}
),
entered as (
  insert into lethe.commands (app_id, command_id, digest, created_at)
  select q.app_id, q.command_id, '', q.completed_at from settled q
  on conflict do nothing
),
written as (
  insert into lethe.deletions as d (app_id, command_id, conversation_id, user_id, origin_device_id, state, stored_at, through_seq, cursor_seq,
    messages_deleted, history_kept, scope, requested_by, conversation_removed, multi_client_sync, requested_at, created_at, completed_at)
  select q.app_id, q.command_id, q.conversation_id, q.user_id, nullif(@device::text, ''), 'done', q.completed_at, q.through_seq, q.through_seq,
    @deleted::bigint, q.history_kept, nullif(@scope::text, ''), nullif(@requested_by::text, ''), @removed::boolean, @sync::boolean, nullif(@requested_at::text, ''), q.completed_at, q.completed_at
  from settled q
  on conflict (app_id, command_id, user_id, conversation_id) do update
  set state = 'done', through_seq = excluded.through_seq, cursor_seq = excluded.cursor_seq, messages_deleted = excluded.messages_deleted,
    conversation_removed = excluded.conversation_removed, multi_client_sync = excluded.multi_client_sync, completed_at = excluded.completed_at,
    failed_at = null, reason = null, message = null, waiting_for = null, waiting_detail = null, lease_token = null, lease_until = null
  where d.state <> 'done'
)
select exists (select from settled), exists (select from dropped)
{{end}}{{end}}
