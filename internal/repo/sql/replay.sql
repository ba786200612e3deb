{{/* What a replay does differently from a worker: what is to go is at or below the boundary, and was sent by the time at which the deletion
finished. After a restore seqs may have been used twice, so that a message at or below the boundary may be newer than the deletion. In a shared
log what is to go is what had been erased by that time, and a deletion only hides. */}}

{{/* Which of a page's deletions are to be done again: something of what they removed is there, or the ledger doesn't know that they
are done. Locks nothing. Each key forward, mostly to its first row; deletions_pkey */}}
{{define "replay_due"}}{{if .Hides}}
with q as materialized (
  select *{{template "_look_up" .}}
  from unnest(@ords::int[], @apps::text[], @commands::text[], @conversations::text[], @users::text[], @through_seqs::bigint[], @log_users::text[],
    @log_conversations::text[]) as q (ord, app_id, command_id, conversation_id, user_id, through_seq, log_user, log_conversation)
)
select q.ord
from q
{{template "_state" .}}
left join lateral (
  select w.cleared_through from lethe.watermarks w
  where w.app_id = q.app_id and w.user_id = q.log_user and w.conversation_id = q.log_conversation limit 1) w on true
{{- if .Members.Watermark}}
left join lateral (
  select {{.Members.Cleared "x"}} < q.through_seq and x.{{.Members.Watermark}} is distinct from {{.Members.SetCleared "q.through_seq"}} as behind
  from {{.Members.Name}} x where {{.Members.Match "x" "q"}} limit 1) x on true
{{- end}}
where d.state is distinct from 'done' or q.through_seq <> 0 and (coalesce(w.cleared_through < q.through_seq, true){{if .Members.Watermark}} or x.behind{{end}})
{{else}}{{with .Replaying}}
with q as materialized (
  select *{{template "_look_up" .}}
  from unnest(@ords::int[], @apps::text[], @commands::text[], @conversations::text[], @users::text[], @through_seqs::bigint[], @completed_at::timestamptz[],
    @kept::boolean[]) as q (ord, app_id, command_id, conversation_id, user_id, through_seq, completed_at, history_kept)
)
select q.ord
from q
{{template "_state" .}}
where d.state is distinct from 'done' or not q.history_kept and {{template "_remaining" .}}
{{end}}{{end}}{{end}}
{{define "_state"}}left join lateral (
  select d.state from lethe.deletions d
  where d.app_id = q.app_id and d.command_id = q.command_id and d.user_id = q.user_id and d.conversation_id = q.conversation_id limit 1) d on true{{end}}

{{/* Which of the erasures of shared logs are to be done again: their floor is not pinned, or something that had been erased is there. Locks nothing.
deletions_pkey; each key forward */}}
{{define "replay_erasure_due"}}{{if .Hides}}{{with .Replaying}}
with q as materialized (
  select *{{template "_look_up" .}}
  from unnest(@ords::int[], @apps::text[], @commands::text[], @conversations::text[], @users::text[], @through_seqs::bigint[], @completed_at::timestamptz[])
    as q (ord, app_id, command_id, conversation_id, user_id, through_seq, completed_at)
)
select q.ord
from q
left join lateral (
  select e.through_seq from lethe.deletions e
  where e.app_id = q.app_id and e.command_id = '' and e.user_id = '' and e.conversation_id = {{.LogID "q"}} limit 1) e on true
where coalesce(e.through_seq < q.through_seq, true) or {{template "_remaining" .}}
{{end}}{{end}}{{end}}

{{/* Which of the commands for all conversations the ledger doesn't know as completed. enumerations_pkey */}}
{{define "replay_command_due"}}
select q.ord from unnest(@ords::int[], @apps::text[], @commands::text[]) as q (ord, app_id, command_id)
where not exists (select from lethe.enumerations e where e.app_id = q.app_id and e.command_id = q.command_id and e.completed_at is not null offset 0)
{{end}}

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
{{define "replay_finish"}}{{if not .Hides}}{{with .Replaying}}
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
{{template "_told" .}}
select exists (select from settled), exists (select from dropped)
{{end}}{{end}}{{end}}

{{/* Enters the deletions in "settled" as done. */}}
{{define "_told"}}entered as (
  insert into lethe.commands (app_id, command_id, digest, created_at)
  select q.app_id, q.command_id, '', q.completed_at from settled q
  on conflict do nothing
),
written as (
  insert into lethe.deletions as d (app_id, command_id, conversation_id, user_id, origin_device_id, state, stored_at, through_seq, cursor_seq,
    messages_deleted, history_kept, scope, requested_by, conversation_removed, multi_client_sync, requested_at, created_at, completed_at, erased)
  select q.app_id, q.command_id, q.conversation_id, q.user_id, nullif(@device::text, ''), 'done', q.completed_at, q.through_seq, q.through_seq,
    @deleted::bigint, q.history_kept, nullif(@scope::text, ''), nullif(@requested_by::text, ''), @removed::boolean, @sync::boolean,
    nullif(@requested_at::text, ''), q.completed_at, q.completed_at, @erased::boolean
  from settled q
  on conflict (app_id, command_id, user_id, conversation_id) do update
  set state = 'done', through_seq = excluded.through_seq, cursor_seq = excluded.cursor_seq, messages_deleted = excluded.messages_deleted,
    conversation_removed = excluded.conversation_removed, multi_client_sync = excluded.multi_client_sync, completed_at = excluded.completed_at,
    erased = excluded.erased, failed_at = null, reason = null, message = null, waiting_for = null, waiting_detail = null, lease_token = null, lease_until = null
  where d.state <> 'done'
){{end}}

{{/* Moves the watermarks of a member of a shared log on again, and tells the ledger: hide_lock has locked the member's row. No row: somebody else
has it, or it has just come. The members' key; watermarks_pkey; the messages' key forward; commands_pkey, deletions_pkey. */}}
{{define "replay_hide"}}{{if .Hides}}{{with .Replaying}}
with taken as materialized (
  select @app::text as app_id, @user::text as user_id, @conversation::text as conversation_id, @command::text as command_id,
    @through_seq::bigint as through_seq, @completed_at::timestamptz as completed_at, false as history_kept, false as conversation_kept,
    @log_user::text as log_user, @log_conversation::text as log_conversation{{template "_looked_up_args" .}}
),
due as materialized (
  {{template "_of_member" .}}
),
{{template "_clear" .}},
settled as (select * from due),
{{template "_told" .}}
select true from settled
{{end}}{{end}}{{end}}

{{/* Finishes an erasure that is done again, if nothing of what had been erased is left: pins the floor. The conversation's row stays. Where no member counts
any more all the rest is to be erased, too, and maybe the row: that is left to the workers. Earlier statements have locked the erasure and the row.
Each key forward, the messages' backward; the conversations' key; deletions_pkey; the members' index by conversation. */}}
{{define "replay_erased"}}{{if .Hides}}{{with .Replaying}}
with q as materialized (
  select d.app_id, d.user_id, d.conversation_id, d.state as was, @through_seq::bigint as through_seq, @completed_at::timestamptz as completed_at,
    false as history_kept, true as conversation_kept{{template "_looked_up" .}}
  from lethe.deletions d where {{template "_entry"}}
),
{{template "_conversation" .}},
seen as materialized (
  select q.*, c.ours and not {{template "_remaining" .}} as finished, true as newer,
    case when not {{template "_counted" .}} then {{.Messages.Newest "q" (.Messages.Position "m") ""}} end as rest, {{template "_left_over" .}} as left_over
  from q cross join conversation c
),
due as materialized (select q.*, c.part, c.id from seen q cross join rows c where q.finished),
{{template "_rows" .}},
pinned as (
  update lethe.deletions d
  set through_seq = greatest(d.through_seq, q.through_seq, q.rest){{if .LooksUp}}, looked_up = q.looked_up{{end}},
    state = case when q.begins then 'pending' else d.state end,
    completed_at = case when not q.begins then d.completed_at end, messages_deleted = case when q.begins then 0 else d.messages_deleted end,
    attempts = case when q.begins then 0 else d.attempts end, erased_told = d.erased_told and not q.begins
  from (select s.*, s.was = 'done' and (s.rest is not null or s.left_over) as begins from seen s where s.finished) q
  where {{template "_entry"}}
  returning 1
)
select exists (select from pinned), false
{{end}}{{end}}{{end}}

{{/* Notes when hidden deletions were erased, and that the stream has the event. Returns those that the ledger doesn't know as done. deletions_pkey */}}
{{define "replay_told"}}{{if .Hides}}
with q as materialized (
  select * from unnest(@apps::text[], @commands::text[], @users::text[], @conversations::text[], @erased_at::timestamptz[])
    with ordinality as q (app_id, command_id, user_id, conversation_id, erased_at, ord)
),
due as materialized (
  select d.id, q.erased_at
  from q
  cross join lateral (
    select d.ctid as id from lethe.deletions d
    where d.app_id = q.app_id and d.command_id = q.command_id and d.user_id = q.user_id and d.conversation_id = q.conversation_id
      and d.state = 'done' and not d.erased and not d.erased_told
    for update) d
),
told as (
  update lethe.deletions d set erased_told = true, erased_at = q.erased_at from due q where d.ctid = q.id
)
select q.ord
from q
{{template "_state" .}}
where d.state is distinct from 'done'
{{end}}{{end}}

{{/* Notes that all deletions of a command are final. commands_pkey, enumerations_pkey */}}
{{define "replay_command"}}
with entered as (
  insert into lethe.commands (app_id, command_id, digest, created_at) values (@app, @command, '', @completed_at)
  on conflict do nothing
)
insert into lethe.enumerations as e (app_id, command_id, multi_client_sync, completed_at) values (@app, @command, @sync, @completed_at)
on conflict (app_id, command_id) do update set multi_client_sync = excluded.multi_client_sync, completed_at = excluded.completed_at, page = null
where e.completed_at is null
{{end}}
