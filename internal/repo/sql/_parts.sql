{{/* Parts that several statements share.

No statement leaves the planner a choice that statistics could get wrong: a table that was analyzed while it was tiny must not
make a plan that walks through all of it later. So a row is looked up in a lateral query that can't be flattened (limit, offset 0, an
aggregate), and changed by where it lies (tableoid and ctid; ctid alone repeats across partitions). */}}

{{/* The deletions of a batch that are ours. $1 to $4: their keys and lease tokens, as arrays of one length. */}}
{{define "held"}}held as materialized ( -- deletions_pkey
  select t.ord, d.*
  from unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) with ordinality as t (app_id, command_id, conversation_id, token, ord)
  cross join lateral (
    select d.ctid as entry, d.app_id, d.user_id, d.conversation_id, d.lease_token, d.state, d.through_seq, d.batch_seq, d.history_kept
    from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.conversation_id = t.conversation_id
    limit 1) d
  where d.lease_token = t.token and d.state = 'running' and d.through_seq is not null
){{end}}

{{/* The one deletion of a statement of the long lane, locked. $1: app, $2: user, $3: conversation, $4: command, $5: token. */}}
{{define "fence"}}fence as materialized ( -- deletions_pkey; whoever took the lease over holds another token
  select d.through_seq, d.batch_seq, d.history_kept
  from lethe.deletions d
  where {{template "entry"}} and d.lease_token = $5 and d.state = 'running' and d.through_seq is not null
  for update
){{end}}

{{define "entry"}}d.app_id = $1::text and d.command_id = $4::text and d.conversation_id = $3::text{{end}}

{{/* Whether anything is left at or below the boundary of q. */}}
{{define "remaining"}}(
    exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq)
    {{- range .RangeChildren}}
    or exists (select from {{.Name}} x where {{.Match "x" "q"}} and x.{{.Seq}} <= q.through_seq)
    {{- end}}
  ){{end}}

{{/* Counts what was deleted (gone) in the ledger, and returns it. */}}
{{define "counted"}}counted as (select ord, count(*) as n from gone group by ord),
noted as (
  update lethe.deletions d set messages_deleted = d.messages_deleted + c.n
  from (select q.entry, c.n from counted c join held q on q.ord = c.ord offset 0) c
  where d.ctid = c.entry
)
select ord, n from counted{{end}}

{{/* Which version of the conversation's row c is there, '' for none: every change makes another one. */}}
{{define "version"}}coalesce(string_agg(c.tableoid || ' ' || c.xmin, ','), ''){{end}}
