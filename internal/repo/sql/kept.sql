-- Deletes up to 100 rows of one table that the deletion covers and that no other transaction has locked, and counts those that
-- are still there: this transaction has locked them, so only a trigger or a rule can have kept them.
-- Messages that went are counted in the ledger.
-- {{if .Child.Name}}The messages' key forward, the child's key or reference{{else}}The messages' key forward{{end}}.
{{- $from := .Messages.From}}{{if .Child.Name}}{{$from = .Child.From}}{{end}}
with {{template "fence" .}},
q as materialized (select $1::text as app_id, $2::text as user_id, $3::text as conversation_id, through_seq from fence where not history_kept),
found as materialized (
{{- if not .Child.Name}}
  select m.tableoid as part, m.ctid as id, m.{{.Messages.Seq}}::bigint as seq from {{.Messages.From}} m
  where {{.Messages.MatchArgs "m"}} and m.{{.Messages.Seq}} <= (select through_seq from q)
  {{- if .Locked}}{{range .Children}}
    and not exists (select from {{.Name}} x where {{.HangsOnArgs "x" "m"}} offset 0)
  {{- end}}{{end}}
  order by m.{{.Messages.Seq}} limit 100
  for update skip locked
{{- else if .Child.Reference}}
  select x.part, x.id, m.lethe_seq as seq
  from q
  cross join lateral (
    select m.{{.Messages.Seq}}::bigint as lethe_seq, {{.Hooks "m"}} from {{.Messages.Name}} m
    where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq
    order by m.{{.Messages.Seq}} limit 100) m
  cross join lateral (
    select x.tableoid as part, x.ctid as id from {{.Child.From}} x where {{.Child.HangsOn "x" "m" "q"}} limit 100
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
  update lethe.deletions d set messages_deleted = d.messages_deleted + (select pg_catalog.count(*) from gone) where {{template "entry"}} and exists (select from gone)
)
{{- end}}
select pg_catalog.count(*), coalesce(pg_catalog.min(f.seq), 0)
from found f
where (f.part, f.id) not in (select g.part, g.id from gone g)
