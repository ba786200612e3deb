{{/* Commands that name their deletions by a rule: what the ledger has of them, and where their deletions are found. */}}

{{/* Enters a command that enter_command has entered, with what the plan looks up for all of its deletions. commands_pkey, enumerations_pkey */}}
{{define "enumeration_enter"}}
insert into lethe.enumerations (app_id, command_id{{if .LooksUp}}, looked_up{{end}})
select q.app_id, q.command_id{{with .LookUpUser "q"}}, case when not q.everyone then {{.}} end{{end}}
from (select @app::text as app_id, @command::text as command_id, @user::text as user_id, @everyone::boolean as everyone) q
where exists (select from lethe.commands k where k.app_id = q.app_id and k.command_id = q.command_id and k.digest = @digest offset 0)
on conflict do nothing
{{end}}

{{/* commands_pkey, enumerations_pkey */}}
{{define "enumeration"}}
select k.digest, coalesce(e.cursor, ''), coalesce(e.page, '{}'), e.completed_at is not null
from (values (@app::text, @command::text)) q (app_id, command_id)
cross join lateral (select k.digest from lethe.commands k where k.app_id = q.app_id and k.command_id = q.command_id limit 1) k
left join lateral (select * from lethe.enumerations e where e.app_id = q.app_id and e.command_id = q.command_id limit 1) e on true
{{end}}

{{/* Moves the cursor, and notes which deletions up to there are open, unless another worker has moved it. @on says that it leaves the boundary's
conversation. enumerations_pkey */}}
{{define "enumeration_advance"}}
update lethe.enumerations e
set cursor = @cursor::text, page = @page::text[], through_seq = case when not @on::boolean then e.through_seq end
where e.app_id = @app and e.command_id = @command and coalesce(e.cursor, '') = @was::text and e.completed_at is null
{{end}}

{{/* Pins the boundary of the conversation that the cursor is in, in a shared log. enumerations_pkey; the messages' key backward */}}
{{define "enumeration_pin"}}
update lethe.enumerations e
set through_seq = coalesce(e.through_seq, (
  select {{.Boundary "q" "wanted"}}
  from (
    select q.*{{template "_look_up" .}}
    from (select @app::text as app_id, @command::text as command_id, @user::text as user_id, @conversation::text as conversation_id,
      @wanted::bigint as wanted, @stored_at::timestamptz as stored_at) q
    offset 0) q))
where e.app_id = @app and e.command_id = @command
returning e.through_seq
{{end}}

{{/* Notes that all deletions are final, for the first time, unless another worker has moved the cursor. enumerations_pkey, apps_pkey */}}
{{define "enumeration_complete"}}
update lethe.enumerations e
set completed_at = pg_catalog.clock_timestamp(), page = null,
  multi_client_sync = coalesce((select a.multi_client_sync from lethe.apps a where a.app_id = e.app_id), false)
where e.app_id = @app and e.command_id = @command and coalesce(e.cursor, '') = @was::text and e.completed_at is null
{{end}}

{{/* What has become of all deletions. One that was retried after the others were final is counted as it is now. enumerations_pkey,
deletions_pkey: all of the command's rows */}}
{{define "enumeration_totals"}}
select t.done, t.failed, t.messages, coalesce(f.reason, ''), coalesce(f.message, ''), e.multi_client_sync, greatest(e.completed_at, t.at)
from (select * from lethe.enumerations e where e.app_id = @app and e.command_id = @command and e.completed_at is not null limit 1) e
cross join lateral (
  select pg_catalog.count(*) filter (where d.state = 'done') as done, pg_catalog.count(*) filter (where d.state = 'failed') as failed,
    coalesce(pg_catalog.sum(d.messages_deleted), 0)::bigint as messages, pg_catalog.max(coalesce(d.completed_at, d.failed_at)) as at
  from lethe.deletions d where d.app_id = @app and d.command_id = @command) t
left join lateral (
  select d.reason, d.message from lethe.deletions d
  where d.app_id = @app and d.command_id = @command and d.state = 'failed' and t.failed > 0 order by d.failed_at limit 1) f on true
{{end}}

{{/* Begins anew where a deletion of who asks was refused. enumerations_pkey, deletions_pkey: all of the command's rows */}}
{{define "enumeration_restart"}}
with completed as materialized (
  select from lethe.enumerations e where e.app_id = @app and e.command_id = @command and e.completed_at is not null
  for update
),
refused as (
  delete from lethe.deletions d
  where d.app_id = @app and d.command_id = @command and d.user_id = @user and d.state = 'failed' and d.reason = any (@reasons::text[])
    and exists (select from completed)
  returning 1
)
update lethe.enumerations e set cursor = null, page = null, through_seq = null, completed_at = null
where e.app_id = @app and e.command_id = @command and e.completed_at is not null and exists (select from refused)
{{end}}

{{/* The next deletions that the ledger knows of a command, in the order of its key. deletions_pkey */}}
{{define "enumeration_known"}}
select d.user_id, d.conversation_id from lethe.deletions d
where d.app_id = @app and d.command_id = @command and (d.user_id, d.conversation_id) > (@user::text, @after::text)
order by d.user_id, d.conversation_id limit @limit::bigint
{{end}}

{{/* The ids in the list behind @after, in their order, each once; and whether a message that was met on the way says that one was sent by the time
of the command. Where an id may have many rows, each step of the recursion looks the next one up. */}}
{{define "_ids"}}ids (id, sent, given) as (
  {{- if .List.Skips}}
  (select @after::text, false, true where @after::text <> ''
  union all
  select n.id, n.sent, false from ({{template "_next_id" .First}}) n where @after::text = '')
  union all
  select n.id, n.sent, false from ids i cross join lateral ({{template "_next_id" .}}) n
  {{- else}}
  select {{.List.ID "l"}}, false, false from {{.List.Name}} l
  where {{.List.OfArgs "l"}} and {{.List.From "l" "@after::text"}}
  group by {{.List.Order "l"}} order by {{.List.Order "l"}} limit @limit::bigint
  {{- end}}
){{end}}
{{define "_next_id"}}
    select {{.List.ID "l"}} as id, {{if .ListUsers}}false{{else}}({{.SentBy "l" "@stored_at::timestamptz"}}) is true{{end}} as sent
    from {{.List.Name}} l
    where {{.List.OfArgs "l"}}{{.NextID}}
    order by {{.List.Order "l"}} limit 1{{end}}

{{/* Up to @limit conversations of a user, and of each whether a deletion is to be made of it. Those of messages that were sent by the time of
the command; and those rows of conversations that no message has, unless the ledger knows why. In a shared log, those of the
user's rows but for conversations with newer messages alone. The list's index forward; the messages' key backward; deletions_pkey. */}}
{{define "list_conversations"}}
with recursive {{template "_ids" .}}
select i.id, i.sent or (
  select {{if .Shared}}{{.Sent "q"}} or {{.Messages.Newest "q" "1" ""}} is null
  {{- else if .List.Skips}}{{.Sent "q"}}
  {{- else}}{{.Messages.Newest "q" "1" ""}} is null{{if not .Ledgerless}}
    and not exists (select from lethe.deletions d
      where d.app_id = q.app_id and d.command_id = q.command_id and d.user_id = q.user_id and d.conversation_id = q.conversation_id offset 0){{end}}{{end}}
  from (
    select q.*{{template "_look_up" .}}
    from (select @app::text as app_id, @command::text as command_id, @user::text as user_id, i.id as conversation_id,
      @stored_at::timestamptz as stored_at) q
    offset 0) q)
from ids i
where not i.given
limit @limit::bigint
{{end}}

{{/* Up to @limit users of a conversation. The list's index forward. */}}
{{define "list_users"}}
with recursive {{template "_ids" .Users}}
select i.id, true from ids i where not i.given
limit @limit::bigint
{{end}}
