{{/* Why a deletion makes no progress: which tables have rows of it, and whether they stay. */}}

{{/* In which of the plan's tables the deletion has rows, the messages' and the conversations' first. Of rows that refer to messages
by a reference, only those of the first 1,000 messages are looked for. Each key forward, one row. */}}
{{define "tables"}}
select array[
  exists (select from {{.Messages.Name}} m where {{.Messages.MatchArgs "m"}}),
  exists (select from {{.Conversations.Rows}} c where {{.Conversations.MatchArgs "c"}})
  {{- range .Children}},
  {{- if .Reference}}
  exists (
    select from (
      select {{$.ChildKeys "m"}} from {{$.Messages.Name}} m where {{$.Messages.MatchArgs "m"}} order by m.{{$.Messages.Seq}} limit 1000) m
    cross join lateral (select from {{.Name}} x where {{.BelongsTo "x" "m" ""}} limit 1) x)
  {{- else}}
  exists (select from {{.Name}} x where {{.MatchArgs "x"}})
  {{- end}}
  {{- end}}]::boolean[]
where @app::text is not null
{{end}}

{{/* Locks the messages that kept_messages deletes, before their child rows are looked for: none can come in between then. The messages' key. */}}
{{define "kept_lock"}}{{if .Locked}}
with {{template "_fence"}}
select pg_catalog.count(*) from (
  select from {{.Messages.Name}} m
  where {{.Messages.MatchArgs "m"}} and {{.Messages.AtOrBelow "m" "(select f.through_seq from fence f where not f.history_kept)"}}
  order by m.{{.Messages.Seq}} limit 100
  for update skip locked) l
{{end}}{{end}}

{{/* Deletes up to 100 rows of one table that the deletion covers and that no other transaction has locked, and counts those that
are still there: this transaction has locked them, so only a trigger or a rule can have kept them.
Messages that went are counted in the ledger. The messages' key forward, the child's key or reference. */}}
{{define "_kept"}}
{{- $from := .Messages.From}}{{if .Child.Name}}{{$from = .Child.From}}{{end}}
with {{template "_fence"}},
q as materialized (select f.* from fence f where not f.history_kept),
found as materialized (
{{- if not .Child.Name}}
  select m.tableoid as part, m.ctid as id, {{.Messages.Position "m"}} as seq from {{.Messages.From}} m
  where {{.Messages.MatchArgs "m"}} and {{.Messages.AtOrBelow "m" "(select through_seq from q)"}}
  {{- if .Locked}} and {{template "_locked"}}{{range .Children}}
    and not exists (select from {{.Name}} x where {{.BelongsToArgs "x" "m"}} offset 0)
  {{- end}}{{end}}
  order by m.{{.Messages.Seq}} limit 100
  for update skip locked
{{- else if .Child.Reference}}
  select x.part, x.id, m.lethe_seq as seq
  from q
  cross join lateral (
    select {{.Messages.Position "m"}} as lethe_seq, {{.ChildKeys "m"}} from {{.Messages.Name}} m
    where {{.Messages.Match "m" "q"}} and {{.Messages.AtOrBelow "m" "q.through_seq"}}
    order by m.{{.Messages.Seq}} limit 100) m
  cross join lateral (
    select x.tableoid as part, x.ctid as id from {{.Child.From}} x where {{.Child.BelongsTo "x" "m" "q"}} limit 100
    for update skip locked) x
  limit 100
{{- else}}
  select x.tableoid as part, x.ctid as id, x.{{.Child.Seq}}::bigint as seq from {{.Child.From}} x
  where {{.Child.MatchArgs "x"}} and x.{{.Child.Seq}} <= (select through_seq from q)
  order by x.{{.Child.Seq}} limit 100
  for update skip locked
{{- end}}
),
gone as (
  delete from {{$from}} x where {{if .Child.Name}}{{.Child.At "x" "found"}}{{else}}{{.Messages.At "x" "found"}}{{end}}
  returning x.tableoid as part, x.ctid as id
)
{{- if not .Child.Name}},
noted as (
  update lethe.deletions d set messages_deleted = d.messages_deleted + (select pg_catalog.count(*) from gone)
  where {{template "_entry"}} and exists (select from gone)
)
{{- end}}
select pg_catalog.count(*), coalesce(pg_catalog.min(f.seq), 0)
from found f
where (f.part, f.id) not in (select g.part, g.id from gone g)
{{end}}

{{define "kept_messages"}}{{template "_kept" .}}{{end}}
{{define "child_kept"}}{{template "_kept" .}}{{end}}

{{/* Deletes the conversation's row, if it is to go and an earlier statement of this transaction has locked it, and counts what is
still there, which only a trigger or a rule can have kept. Each key forward, one row. */}}
{{define "kept_row"}}{{if .Conversations.Name}}
with {{template "_fence"}},
seen as materialized (
  select c.part, c.id, c.ours and (q.history_kept or not {{template "_remaining" .}})
    and not exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and {{.Messages.Above "m" "q.through_seq"}}) as due
  from fence q
  cross join lateral (
    select c.tableoid as part, c.ctid as id, {{template "_ours"}} as ours
    from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}} offset 0) c
),
gone as (
  delete from {{.Conversations.Name}} c using seen s where c.tableoid = s.part and c.ctid = s.id and s.due returning 1
)
select (select pg_catalog.count(*) from seen where due) - (select pg_catalog.count(*) from gone), 0
{{end}}{{end}}
