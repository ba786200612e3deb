{{/* Parts that statements share. A name that begins with an underscore is no statement.

No statement leaves the planner a choice that statistics could get wrong: a table that was analyzed while it was tiny must not
make a plan that reads all of it later. So a row is looked up in a lateral query that can't be flattened (limit, offset 0, an
aggregate), and changed by where it lies (tableoid and ctid; ctid alone repeats across partitions). */}}

{{define "_entry"}}d.app_id = @app::text and d.command_id = @command::text and d.conversation_id = @conversation::text{{end}}

{{/* The deletion of a statement about one, if its lease is ours: whoever took the lease over holds another token, and
what isn't running has none. The first of a transaction locks it. */}}
{{define "_fence"}}{{template "_fenced"}}
  for update
){{end}}

{{define "_fenced"}}fence as materialized ( -- deletions_pkey
  select @app::text as app_id, @user::text as user_id, @conversation::text as conversation_id,
    d.through_seq, d.history_kept, d.cursor_seq, d.messages_deleted
  from lethe.deletions d
  where {{template "_entry"}} and d.lease_token = @token::uuid and d.through_seq is not null{{end}}

{{/* The columns of the ledger's row d that make a record, as ledgerRow reads them. */}}
{{define "_record"}}d.app_id, d.command_id, d.conversation_id, d.user_id, d.origin_device_id, d.state, d.lease_token, d.through_seq, d.cursor_seq,
  d.messages_deleted, d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at, d.completed_at, d.failed_at, d.reason,
  d.message, d.attempts, d.last_error, extract(epoch from d.lease_until - pg_catalog.clock_timestamp())::float8 as lease_left{{end}}

{{/* What the ledger has of the deletion q: the digest of its command, and its record. */}}
{{define "_known"}}left join lateral (
  select k.digest from lethe.commands k where k.app_id = q.app_id and k.command_id = q.command_id limit 1) k on true
left join lateral (
  select {{template "_record"}} from lethe.deletions d
  where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id limit 1) d on true{{end}}

{{/* The proof: whether anything is left at or below the boundary of q. What is looked up and isn't there any more proves nothing, for
the boundary shows that there were messages. A replay spares what was sent after the deletion had finished,
and the child rows of that; where child rows go first, none can belong to a message that has gone. */}}
{{define "_remaining"}}(
    exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and {{.Messages.AtOrBelow "m" "q.through_seq"}}
      {{- if .Replay}} and {{.SentBy "m" "q.completed_at"}}{{end}})
    {{- if not (and .Replay .Locked)}}{{range .RangeChildren}}
    or exists (select from {{.Name}} x where {{.Match "x" "q"}} and x.{{.Seq}} <= q.through_seq
      {{- if $.Replay}}
      and not exists (select from {{$.Messages.Name}} m where {{$.Messages.Match "m" "q"}} and m.{{$.Messages.Seq}} = x.{{.Seq}} offset 0)
      {{- end}})
    {{- end}}{{end}}
    {{- if not .Replay}}{{with .Vanished "q"}}
    or q.through_seq <> 0 and ({{.}})
    {{- end}}{{end}}
  ){{end}}

{{/* Removes or keeps the conversations' rows that the query due lists by part and id, with the ids and the boundary of their deletions:
newer messages keep a row, with no more unread ones than there are. An earlier statement of the transaction has locked them. A trigger may
keep a row that should go; dropped are those that went. The conversations' key. */}}
{{define "_rows"}}leaving as materialized (select q.part, q.id from due q where not q.newer),
dropped as (
  {{- if .Conversations.Name}}
  delete from {{.Conversations.From}} c where {{.Conversations.At "c" "leaving"}}
  returning c.tableoid as part, c.ctid as id
  {{- else}}
  select l.part, l.id from leaving l
  {{- end}}
)
{{- if .Conversations.Unread}},
recounted as (
  update {{.Conversations.Name}} c
  set {{.Conversations.Unread}} = least(c.{{.Conversations.Unread}}, (
    select pg_catalog.count(*) from (
      {{- if .Replay}}
      select {{.Messages.Above "m" "q.through_seq"}} or ({{.SentBy "m" "q.completed_at"}}) is not true as newer
      from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}}
      order by m.{{.Messages.Seq}} desc limit greatest(c.{{.Conversations.Unread}}, 0)) n
    where n.newer))
      {{- else}}
      select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and {{.Messages.Above "m" "q.through_seq"}}
      limit greatest(c.{{.Conversations.Unread}}, 0)) n))
      {{- end}}
  from due q
  where c.tableoid = q.part and c.ctid = q.id and q.newer and c.{{.Conversations.Unread}} > 0
)
{{- end}}{{end}}

{{/* Whether an earlier statement of the transaction has locked the message m. */}}
{{define "_locked"}}m.xmax = pg_catalog.pg_current_xact_id()::xid{{end}}

{{/* Whether the row c is locked by this transaction (or a key's action has rewritten it for us since). Only then does the
statement's snapshot hold every message that the row's senders have committed, and only then may the row go. */}}
{{define "_ours"}}pg_catalog.pg_current_xact_id()::xid in (c.xmax, c.xmin){{end}}
