{{/* Parts that several statements share. Parameters $1 to $4 are the keys and lease tokens of a batch, as arrays of one length. */}}

{{define "held"}}held as materialized ( -- deletions_pkey
  select t.ord, d.app_id, d.command_id, d.conversation_id, d.user_id, d.through_seq, d.batch_seq, d.history_kept
  from unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) with ordinality as t (app_id, command_id, conversation_id, token, ord)
  join lethe.deletions d
    on d.app_id = t.app_id and d.command_id = t.command_id and d.conversation_id = t.conversation_id
  where d.lease_token = t.token and d.state = 'running' and d.through_seq is not null
){{end}}

{{define "fence"}}fence as materialized ( -- deletions_pkey; whoever took the lease over holds another token
  select d.app_id, d.command_id, d.conversation_id, d.user_id, d.through_seq, d.batch_seq, d.history_kept
  from lethe.deletions d
  where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3
    and d.lease_token = $4 and d.state = 'running' and d.through_seq is not null
  for update
){{end}}

{{define "remaining"}}(
    exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq)
    {{- range .RangeChildren}}
    or exists (select from {{.Name}} x where {{.Match "x" "q"}} and x.{{.Seq}} <= q.through_seq)
    {{- end}}
  ){{end}}

{{define "ours"}}xmax = pg_current_xact_id()::xid{{end}}
