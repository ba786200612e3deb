{{/* Parts that statements share. A name that begins with an underscore is no statement.

No statement leaves the planner a choice that statistics could get wrong: a table that was analyzed while it was tiny must not
make a plan that reads all of it later. So a row is looked up in a lateral query that can't be flattened (limit, offset 0, an
aggregate), and changed by where it lies (tableoid and ctid; ctid alone repeats across partitions). */}}

{{define "_entry"}}d.app_id = @app::text and d.command_id = @command::text and d.user_id = @user::text and d.conversation_id = @conversation::text{{end}}

{{/* The deletion of a statement about one, if its lease is ours: whoever took the lease over holds another token, and
what isn't running has none. The first of a transaction locks it. */}}
{{define "_fence"}}{{template "_fenced" .}}
  for update
){{end}}

{{define "_fenced"}}fence as materialized ( -- deletions_pkey
  select @app::text as app_id, @user::text as user_id, @conversation::text as conversation_id,
    d.through_seq, d.history_kept, d.conversation_kept, d.cursor_seq, d.messages_deleted{{template "_looked_up" .}}
  from lethe.deletions d
  where {{template "_entry"}} and d.lease_token = @token::uuid and d.through_seq is not null{{end}}

{{/* What the plan looks up, as a column beside the ids: of a deletion q, of the ledger's row d, and of a statement about one deletion. */}}
{{define "_look_up"}}{{with .LookUp "q"}}, {{.}} as looked_up{{end}}{{end}}
{{define "_looked_up"}}{{with .LookedUp "d"}}, {{.}} as looked_up{{end}}{{end}}
{{define "_looked_up_args"}}{{with .LookedUpArgs}}, {{.}} as looked_up{{end}}{{end}}

{{/* The columns of the ledger's row d that make a record, as ledgerRow reads them. */}}
{{define "_record"}}d.app_id, d.command_id, d.conversation_id, d.user_id, d.origin_device_id, d.state, d.lease_token, d.through_seq, d.cursor_seq,
  d.messages_deleted, d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at, d.completed_at, d.failed_at, d.reason,
  d.message, d.attempts, d.last_error, d.scope, d.requested_by, d.conversation_kept, d.erased, d.erased_at, extract(epoch from d.lease_until - pg_catalog.clock_timestamp())::float8 as lease_left{{end}}

{{/* What the ledger has of the deletion q: the digest of its command, and its record. */}}
{{define "_known"}}left join lateral (
  select k.digest from lethe.commands k where k.app_id = q.app_id and k.command_id = q.command_id limit 1) k on true
left join lateral (
  select {{template "_record"}} from lethe.deletions d
  where d.app_id = q.app_id and d.command_id = q.command_id and d.user_id = q.user_id and d.conversation_id = q.conversation_id limit 1) d on true{{end}}

{{/* The proof: whether anything is left at or below the boundary of q. A boundary shows that there were messages:
where what finds them was looked up too late for that (another plan pinned the boundary), nothing is proven. A replay spares what was sent after the deletion had finished,
and the child rows of that; where child rows go first, none can belong to a message that has gone. */}}
{{define "_remaining"}}(
    {{.Messages.Exists "q" "" "q.through_seq" (.SentInReplay "q.completed_at")}}
    {{- if not (and .Replay .Locked)}}{{range .RangeChildren}}
    or exists (select from {{.Name}} x where {{.Match "x" "q"}} and x.{{.Seq}} <= q.through_seq
      {{- if $.Replay}}
      and not exists (select from {{$.Messages.Of "m" "q"}} and m.{{$.Messages.Seq}} = x.{{.Seq}} offset 0)
      {{- end}})
    {{- end}}{{end}}
    {{- if not .Replay}}{{with .Vanished "q"}}
    or q.through_seq <> 0 and {{.}} is not null
    {{- end}}{{end}}
  ){{end}}

{{/* Whether the conversation's row stays. */}}
{{define "_stays"}}{{if .Conversations.Keep}}true{{else}}(q.conversation_kept or q.newer){{end}}{{end}}

{{/* Whether something needs the conversation's row: a newer message, or a member of a shared log. */}}
{{define "_needed"}}{{.Messages.Exists "q" "q.through_seq" "" ""}}
    {{- if .Hides}} or {{template "_counted" .}}{{end}}{{end}}

{{/* Removes or keeps the conversations' rows that the query due lists by part and id, with the ids and the boundary of their deletions:
newer messages keep a row, with no more unread ones than there are. An earlier statement of the transaction has locked them. A trigger may
keep a row that should go; dropped are those that went. No row goes before its children have gone, for nothing would lead to them any more:
where there are too many of them for one transaction, a trigger keeps one, or somebody else has locked or changed it, all rows stay for now.
The conversations' key; its children's keys or references. */}}
{{define "_rows"}}leaving as materialized (select q.part, q.id from due q where not {{template "_stays" .}})
{{- range $i, $c := .Conversations.Children}},
ending_{{$i}} as materialized (
  {{- if $c.Reference}}
  select x.part, x.id
  from leaving q
  cross join lateral (select {{$c.Targets "c"}} from {{$.Conversations.Name}} c where c.tableoid = q.part and c.ctid = q.id offset 0) c
  cross join lateral (select x.tableoid as part, x.ctid as id from {{$c.From}} x where {{$c.BelongsTo "x" "c" ""}} offset 0) x
  {{- else}}
  select x.part, x.id
  from seen q
  cross join lateral (select x.tableoid as part, x.ctid as id from {{$c.From}} x where {{$c.Match "x" "q"}} offset 0) x
  where q.finished and not (q.conversation_kept or q.newer)
  {{- end}}
  limit 10000
),
{{- if $.SkipLocked}}
free_{{$i}} as materialized (
  select e.part, e.id
  from ending_{{$i}} e cross join lateral (select from {{$c.Name}} x where x.tableoid = e.part and x.ctid = e.id for update skip locked) x
),
{{- end}}
ended_{{$i}} as (delete from {{$c.From}} x where {{$c.At "x" (printf (or (and $.SkipLocked "free_%d") "ending_%d") $i)}} returning 1)
{{- end}},
dropped as (
  {{- if and .Conversations.Name (not .Conversations.Keep)}}
  delete from {{.Conversations.From}} c where {{.Conversations.At "c" "leaving"}}{{template "_ended" .}}
  returning c.tableoid as part, c.ctid as id
  {{- else}}
  select l.part, l.id from leaving l
  {{- end}}
)
{{- if or .Conversations.Unread .Conversations.Set}},
recounted as (
  update {{.Conversations.Name}} c
  set {{if .Conversations.Unread}}{{.Conversations.Unread}} = {{if .Conversations.Set}}case when c.{{.Conversations.Unread}} > 0 then {{end}}least(c.{{.Conversations.Unread}}, (
    select pg_catalog.count(*) from (
      {{- if .Replay}}
      select {{.Messages.Above "m" "q.through_seq"}} or ({{.SentBy "m" "q.completed_at"}}) is not true as newer
      from {{.Messages.Of "m" "q"}}
      order by {{.Messages.Order "m"}} desc limit greatest(c.{{.Conversations.Unread}}, 0)) n
    where n.newer))
      {{- else}}
      select from {{.Messages.Of "m" "q"}} and {{.Messages.Above "m" "q.through_seq"}}
      limit greatest(c.{{.Conversations.Unread}}, 0)) n))
      {{- end}}
    {{- if .Conversations.Set}} else c.{{.Conversations.Unread}} end,{{end}}{{end}}
    {{- range $i, $a := .Conversations.Set}}{{if $i}},{{end}}
    {{$a.Column}} = {{if $a.Count}}(select pg_catalog.count(*) from {{template "_remain" $}})
      {{- else if $a.Newest}}(select m.{{$a.Newest}} from {{template "_remain" $}} order by {{$.Messages.Order "m"}} desc limit 1)
      {{- else}}{{$a.Constant}}{{end}}
    {{- end}}
  from due q
  where c.tableoid = q.part and c.ctid = q.id and {{template "_stays" .}}{{if not .Conversations.Set}} and c.{{.Conversations.Unread}} > 0{{end}}
)
{{- end}}{{end}}

{{/* The condition that all of the conversations' children have gone. */}}
{{define "_ended"}}{{range $i, $c := .Conversations.Children}}
    and (select pg_catalog.count(*) < 10000 and pg_catalog.count(*) = (select pg_catalog.count(*) from ended_{{$i}}) from ending_{{$i}}){{end}}{{end}}

{{/* The messages that remain of a finished deletion q. All of them, where it kept the history, and in a replay, which spares some. */}}
{{define "_remain"}}{{.Messages.Of "m" "q"}}
  {{- if not .Replay}} and {{.Messages.Above "m" "(case when q.history_kept then (-9223372036854775808)::bigint else q.through_seq end)"}}{{end}}{{end}}

{{/* Whether an earlier statement of the transaction has locked the message m. */}}
{{define "_locked"}}m.xmax = pg_catalog.pg_current_xact_id()::xid{{end}}

{{/* Whether the row c is locked by this transaction (or a key's action has rewritten it for us since). Only then does the
statement's snapshot hold every message that the row's senders have committed, and only then may the row go. */}}
{{define "_ours"}}pg_catalog.pg_current_xact_id()::xid in (c.xmax, c.xmin){{end}}
