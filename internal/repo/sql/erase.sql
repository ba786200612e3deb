{{/* The floor of a shared log, and what becomes of the deletions that it covers. q is the log: app_id, conversation_id, and '' as user_id and
command_id. Its erasure has the conversation's id as the tables have it. Hidden deletions have it as their commands spelled it: one log may be looked at under
several names, and each finds the same erasure. */}}

{{/* The members x of the log who count, with the watermark w that the ledger keeps of each. The members' index by conversation; watermarks_pkey. */}}
{{define "_counting"}}{{.Members.Name}} x
    {{- if .Ledgerless}} cross join (select null::bigint as cleared_through) w
    {{- else}}
    left join lateral (
      select w.cleared_through from lethe.watermarks w
      where w.app_id = q.app_id and w.user_id = {{.Members.UserID "x"}} and w.conversation_id = {{or (.Members.ConversationID "x") (.LogID "q")}} limit 1) w on true
    {{- end}}
    where {{.Members.OfConversation "x" "q"}} and {{.Members.Counts "x"}}{{end}}
{{define "_cleared_by"}}greatest({{template "_cleared" .}}, w.cleared_through){{end}}

{{/* Whether a member sees the position f.lowest: the first one that is found. An index by conversation and watermark finds them at once. */}}
{{define "_seen"}}(
{{- if .Members.Watermark}}exists (
    select from {{template "_counting" .}} and {{.Members.AtOrBelow "x" "(greatest(f.lowest, 1) - 1)"}} and {{template "_cleared_by" .}} < f.lowest offset 0)
  or exists (select from {{template "_counting" .}} and x.{{.Members.Watermark}} is null and {{template "_cleared_by" .}} < f.lowest offset 0)
{{- else}}exists (select from {{template "_counting" .}} and {{template "_cleared_by" .}} < f.lowest offset 0)
{{- end}}){{end}}

{{/* The smallest watermark of the members who count; null without any. Where few have less in their row than the hundredth, an index
by conversation and watermark spares looking at the others. A watermark of 0 is none, and the index has negative ones before it. */}}
{{define "_floor"}}
{{- if .Members.Watermark}}least((
      select case when pg_catalog.count(*) < 100 or pg_catalog.min(x.cleared) = {{.Members.Never}} or pg_catalog.max(x.marked) >= greatest(pg_catalog.min(x.cleared), 1) then pg_catalog.min(x.cleared)
        else (select pg_catalog.min({{template "_cleared_by" .}}) from {{template "_counting" .}} and x.{{.Members.Watermark}} is not null) end
      from (select {{.Members.Cleared "x"}} as marked, {{template "_cleared_by" .}} as cleared from {{template "_counting" .}} and x.{{.Members.Watermark}} is not null
        order by x.{{.Members.Watermark}} limit 100) x),
    (select pg_catalog.min({{template "_cleared_by" .}}) from {{template "_counting" .}} and x.{{.Members.Watermark}} is null))
{{- else}}(select pg_catalog.min({{template "_cleared_by" .}}) from {{template "_counting" .}})
{{- end}}{{end}}

{{define "_counted"}}exists (select from {{.Members.Name}} x where {{.Members.OfConversation "x" "q"}} and {{.Members.Counts "x"}} offset 0){{end}}

{{/* A hidden deletion h whose conversation.erased the stream may lack. deletions_hidden */}}
{{define "_hidden"}}h.state = 'done' and not h.erased and not h.erased_told{{end}}
{{define "_hidden_of"}}lethe.deletions h where h.app_id = q.app_id and h.conversation_id = q.conversation_id and {{template "_hidden" .}}{{end}}

{{/* Of the logs q: the position f.lowest of the oldest message, or, if that is lower, through which the lowest hidden deletion goes; what the ledger has of their
erasure e; and whether the floor may have risen: no member sees that position, or it has been pinned before. A failed erasure waits for an
operator. */}}
{{define "_risen"}}
  cross join lateral (
    select least(({{.Messages.First "q" "" "" "" 1}})[1], (select h.through_seq from {{template "_hidden_of" .}} order by h.through_seq limit 1)) as lowest offset 0) f
  left join lateral (
    select e.state, e.through_seq from lethe.deletions e
    where e.app_id = q.app_id and e.command_id = '' and e.user_id = '' and e.conversation_id = {{.LogID "q"}} limit 1) e on true
  cross join lateral (
    select f.lowest is not null and coalesce(e.state, '') <> 'failed' and (coalesce(e.through_seq >= f.lowest, false) or not {{template "_seen" .}}) as risen offset 0) r{{end}}

{{/* The log of a statement about one. */}}
{{define "_log"}}q as materialized (
  select @app::text as app_id, ''::text as user_id, @spelled::text as conversation_id{{template "_looked_up_args" .}} offset 0
){{end}}

{{/* Whether the conversation's row is left over: nobody is a member, and there is no message. */}}
{{define "_left_over"}}{{if and .Conversations.Name (not .Conversations.Keep)}}(not {{template "_counted" .}} and not {{.Messages.Exists "q" "" "" ""}}
    and exists (select from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}})){{else}}false{{end}}{{end}}

{{/* Whether the floor may have risen, what it is then, null without members, and since when rows that this statement doesn't see
have come or changed. Locks nothing. The messages' key forward; deletions_hidden; deletions_pkey; the members' index by conversation. */}}
{{define "floor_look"}}{{if .Hides}}
with {{template "_log" .}}
select r.risen or {{template "_left_over" .}},
  case when r.risen then {{template "_floor" .}} end, pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::xid::text
from q{{template "_risen" .}}
{{end}}{{end}}

{{/* Which of the logs have a floor that may have risen. As floor_look. */}}
{{define "floor_risen"}}{{if .Hides}}
with q as materialized (
  select q.*{{template "_look_up" .}}
  from (select *, '' as user_id, '' as command_id from unnest(@apps::text[], @conversations::text[]) with ordinality as q (app_id, conversation_id, ord)) q
)
select q.ord from q{{template "_risen" .}} where r.risen
{{end}}{{end}}

{{/* The next @limit logs that hidden deletions wait in, and whether their floor may have risen. deletions_hidden, one entry of each; as floor_look. */}}
{{define "floor_sweep"}}{{if .Hides}}
with recursive log (app_id, conversation_id, n) as (
  (select h.app_id, h.conversation_id, 1 from lethe.deletions h
  where {{template "_hidden" .}} and (h.app_id, h.conversation_id) > (@app::text, @conversation::text)
  order by h.app_id, h.conversation_id limit 1)
  union all
  select h.app_id, h.conversation_id, l.n + 1 from log l cross join lateral (
    select h.app_id, h.conversation_id from lethe.deletions h
    where {{template "_hidden" .}} and (h.app_id, h.conversation_id) > (l.app_id, l.conversation_id)
    order by h.app_id, h.conversation_id limit 1) h
  where l.n < @limit::int
),
q as materialized (select q.*{{template "_look_up" .}} from (select l.app_id, l.conversation_id, '' as user_id, '' as command_id, l.n from log l) q)
select q.app_id, q.conversation_id, r.risen from q{{template "_risen" .}}
order by q.n
{{end}}{{end}}

{{/* Enters the erasure of a log, as done, without a floor. deletions_pkey */}}
{{define "erasure_enter"}}{{if .Hides}}
insert into lethe.deletions (app_id, command_id, conversation_id, user_id, state, stored_at, through_seq, cursor_seq, history_kept, completed_at, erased_told)
values (@app, '', @conversation, '', 'done', pg_catalog.now(), (-9223372036854775808)::bigint, 0, false, pg_catalog.now(), true)
on conflict do nothing
{{end}}{{end}}

{{/* Locks the erasure of a log. Whoever locks the conversation's row, too, locks this one first. deletions_pkey */}}
{{define "erasure_lock"}}{{if .Hides}}
select pg_catalog.count(*) from (select from lethe.deletions d where {{template "_entry"}} for update) d
{{end}}{{end}}

{{/* What becomes of the erasure d whose state was q.was: if it q.begins anew it keeps its floor and its cursor. The scope is an older worker's, which
removes members by it: it ends with the erasure that it is of. */}}
{{define "_begun"}}erased_told = false, scope = case when q.was <> 'done' then d.scope end, state = case when q.begins then 'pending' else d.state end,
  completed_at = case when q.begins then null when q.was = 'done' then pg_catalog.clock_timestamp() else d.completed_at end,
  messages_deleted = case when q.begins then 0 else d.messages_deleted end, attempts = case when q.begins then 0 else d.attempts end,
  last_error = case when not q.begins then d.last_error end, reason = case when not q.begins then d.reason end,
  message = case when not q.begins then d.message end, failed_at = case when not q.begins then d.failed_at end{{end}}

{{/* Pins the floor, which earlier statements have locked the erasure and the conversation's row for: who joins now waits for us, or is seen. It is
@floor, or less if a member who has come or changed @since then has less: a row that is as it was has no lower watermark. Without members it is above
all that there is, and never higher: whatever watermarks say, who joins later sees what is sent from now on. Opens the erasure if something is left at or
below it, or a row of the conversation; if only hidden deletions are to be reported, it stays done. No row: there is nothing to do. deletions_pkey; as floor_look. */}}
{{define "floor_raise"}}{{if .Hides}}
with q as materialized (
  select d.app_id, d.user_id, @spelled::text as conversation_id, d.state as was, d.through_seq, d.through_seq as before{{template "_looked_up" .}}
  from lethe.deletions d where {{template "_entry"}}
),
floor as materialized (
  select q.*, least(
      case when {{template "_counted" .}} then least(@floor::bigint,
        (select pg_catalog.min({{template "_cleared_by" .}}) from {{template "_counting" .}} and pg_catalog.age(x.xmin) <= pg_catalog.age(@since::text::xid))) end,
      greatest({{.Messages.Newest "q" (.Messages.Position "m") ""}}, (select h.through_seq from {{template "_hidden_of" .}} order by h.through_seq desc limit 1), 0)) as floor,
    {{template "_left_over" .}} as left_over
  from q
),
raised as materialized (
  select q.app_id, q.user_id, q.conversation_id, q.was, q.before{{if .LooksUp}}, q.looked_up{{end}}, greatest(q.through_seq, q.floor) as through_seq, q.left_over from floor q
),
found as materialized (
  select q.*, q.left_over or {{template "_remaining" .}} as remains, exists (select from {{template "_hidden_of" .}} and h.through_seq <= q.through_seq) as waits
  from raised q
),
due as materialized (select q.*, q.was = 'done' and q.remains as begins from found q where q.remains or q.waits)
update lethe.deletions d
set through_seq = q.through_seq{{if .LooksUp}}, looked_up = q.looked_up{{end}}, {{template "_begun"}}
from due q
where {{template "_entry"}}
returning d.state, d.through_seq, d.through_seq > q.before, not q.remains
{{end}}{{end}}

{{/* Locks an enumeration that nobody has moved from @was. enumerations_pkey */}}
{{define "enumeration_lock"}}{{if .Removes}}
select pg_catalog.count(*) from (select from lethe.enumerations e
  where e.app_id = @app and e.command_id = @command and coalesce(e.cursor, '') = @was::text and e.completed_at is null for update) e
{{end}}{{end}}

{{/* The conversation of a deletion for everyone. */}}
{{define "_everyones"}}q as materialized (
  select q.*{{template "_look_up" .}}
  from (select @app::text as app_id, @command::text as command_id, @user::text as user_id, @conversation::text as conversation_id, @boundary::bigint as through_seq) q
  offset 0
){{end}}

{{/* Locks the conversation's row: who sends or joins now waits for us, or is seen. The conversations' key. */}}
{{define "members_lock"}}{{if .Removes}}
with {{template "_everyones" .}}
select pg_catalog.count(*) from (
  select from q cross join lateral (select from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}} for update) c) l
{{end}}{{end}}

{{/* Removes up to @limit members' rows of a conversation that is deleted for everyone through @boundary, unless there are newer messages: then none.
The ledger keeps through which position each of them had cleared the log. Returns their ids, also of rows that a trigger keeps, and how many rows went. The messages' key
forward; the members' index by conversation; watermarks_pkey. */}}
{{define "members_remove"}}{{if .Removes}}
with {{template "_everyones" .}},
seen as materialized (select q.*, {{.Messages.Exists "q" "q.through_seq" "" ""}} as newer from q),
found as materialized (
  select x.part, x.id, x.user_id, x.cleared
  from seen q
  cross join lateral (
    select x.tableoid as part, x.ctid as id, {{.Members.UserID "x"}} as user_id, {{template "_cleared" .}} as cleared
    from {{.Members.From}} x where {{.Members.OfConversation "x" "q"}} and not q.newer limit @limit::bigint
    for update) x
),
marked as (
  insert into lethe.watermarks as w (app_id, user_id, conversation_id, cleared_through)
  select @app, f.user_id, @log_conversation, f.cleared from found f where f.cleared > {{.Members.Never}}
  on conflict (app_id, user_id, conversation_id) do update set cleared_through = excluded.cleared_through, cleared_at = pg_catalog.now()
  where w.cleared_through < excluded.cleared_through
),
removed as (delete from {{.Members.From}} x where {{.Members.At "x" "found"}} returning x.ctid)
select f.user_id, (select pg_catalog.count(*) from removed) from found f
{{end}}{{end}}

{{/* Keeps the erasure of a log whose members have been removed for @lease, unless one runs: until all of their deletions have counted what they
hide. deletions_pkey */}}
{{define "erasure_hold"}}{{if .Removes}}
update lethe.deletions d set lease_token = {{template "_held"}}, lease_until = pg_catalog.clock_timestamp() + @lease::interval
where {{template "_entry"}} and (d.lease_until is null or d.lease_until < pg_catalog.clock_timestamp())
{{end}}{{end}}
{{define "_held"}}'00000000-0000-0000-0000-000000000000'::uuid{{end}}

{{/* Opens the erasure of a log through @boundary, whatever members have cleared. deletions_pkey */}}
{{define "erase_everyone"}}{{if .Hides}}
update lethe.deletions d
set through_seq = greatest(d.through_seq, @boundary::bigint), lease_until = case when d.lease_token <> {{template "_held"}} then d.lease_until end, {{template "_begun"}}
from (select d.state as was, d.state in ('done', 'failed') as begins from lethe.deletions d where {{template "_entry"}} offset 0) q
where {{template "_entry"}}
{{end}}{{end}}

{{/* Takes what an older worker has begun under another spelling of the id, @spelled, into the log's erasure, which is locked, unless somebody has the lease of it.
deletions_pkey */}}
{{define "erasure_adopt"}}{{if .Hides}}
with other as (
  delete from lethe.deletions d
  where d.app_id = @app::text and d.command_id = '' and d.user_id = '' and d.conversation_id = @spelled::text and d.conversation_id <> @conversation::text
    and d.state <> 'failed' and (d.lease_until is null or d.lease_until < pg_catalog.clock_timestamp())
  returning d.state, d.through_seq
)
update lethe.deletions d
set through_seq = greatest(d.through_seq, q.through_seq), {{template "_begun"}}
from (
  select d.state as was, o.through_seq, d.state = 'done' and o.state <> 'done' as begins from lethe.deletions d cross join other o where {{template "_entry"}} offset 0) q
where {{template "_entry"}}
{{end}}{{end}}

{{/* Makes a failed erasure pending. deletions_pkey */}}
{{define "erasure_reopen"}}{{if .Hides}}
update lethe.deletions d
set state = 'pending', attempts = 0, reason = null, message = null, failed_at = null, last_error = null, lease_token = null, lease_until = null
where {{template "_entry"}} and d.state = 'failed'
{{end}}{{end}}

{{/* Erasures that are open and that nobody has the lease of. deletions_erasing */}}
{{define "erasures"}}{{if .Hides}}
select d.app_id, d.conversation_id from lethe.deletions d
where d.command_id = '' and d.state in ('pending', 'running') and (d.lease_until is null or d.lease_until < pg_catalog.clock_timestamp())
order by d.app_id, d.conversation_id limit @limit
{{end}}{{end}}

{{/* Done erasures with hidden deletions that are to be reported. deletions_erasing */}}
{{define "erasures_untold"}}{{if .Hides}}
select d.app_id, d.conversation_id from lethe.deletions d
where d.command_id = '' and d.state = 'done' and not d.erased_told
order by d.app_id, d.conversation_id limit @limit
{{end}}{{end}}

{{/* What the ledger has of the erasure of a log. deletions_pkey, deletions_hidden */}}
{{define "erasure"}}{{if .Hides}}
select d.state, d.through_seq, d.messages_deleted, d.completed_at, d.last_error,
  (select pg_catalog.count(*) from (select from lethe.deletions h where h.app_id = d.app_id and h.conversation_id = d.conversation_id and {{template "_hidden" .}} limit 1000) h)
from lethe.deletions d where {{template "_entry"}}
{{end}}{{end}}

{{/* Pins when the next hidden deletions at or below the floor of a done erasure were erased, and returns them. deletions_pkey, deletions_hidden */}}
{{define "erased_pin"}}{{if .Hides}}
with due as materialized (
  select h.id, e.completed_at
  from (
    select d.app_id, d.conversation_id, d.through_seq, d.completed_at from lethe.deletions d where {{template "_entry"}} and d.state = 'done' for update) e
  cross join lateral (
    select h.ctid as id from lethe.deletions h
    where h.app_id = e.app_id and h.conversation_id = @spelled::text and {{template "_hidden" .}} and h.through_seq <= e.through_seq
    order by h.through_seq limit @limit::bigint
    for update) h
)
update lethe.deletions d set erased_at = coalesce(d.erased_at, q.completed_at)
from due q where d.ctid = q.id
returning 0::bigint, null::bytea, {{template "_record"}}
{{end}}{{end}}

{{/* Notes that nothing more is to be reported of a done erasure. deletions_pkey, deletions_hidden */}}
{{define "erased_all"}}{{if .Hides}}
update lethe.deletions d set erased_told = true
where {{template "_entry"}} and d.state = 'done' and not d.erased_told
  and not exists (select from lethe.deletions h where h.app_id = d.app_id and h.conversation_id = d.conversation_id and {{template "_hidden" .}} and h.through_seq <= d.through_seq offset 0)
{{end}}{{end}}

{{/* Notes that the stream has the event of the deletions. deletions_pkey */}}
{{define "erased_mark"}}{{if .Hides}}
with due as materialized (
  select d.id
  from unnest(@apps::text[], @commands::text[], @users::text[], @conversations::text[]) as q (app_id, command_id, user_id, conversation_id)
  cross join lateral (
    select d.ctid as id from lethe.deletions d
    where d.app_id = q.app_id and d.command_id = q.command_id and d.user_id = q.user_id and d.conversation_id = q.conversation_id and not d.erased_told
    for update) d
)
update lethe.deletions d set erased_told = true from due q where d.ctid = q.id
{{end}}{{end}}
