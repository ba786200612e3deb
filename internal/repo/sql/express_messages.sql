-- Deletes up to $5 messages of each deletion and up to $6 in all, oldest first.
{{- if .SkipLocked}}
-- Skips what others have locked; a later statement proves what is left.
{{- end}}
-- Locks the conversations' rows too. The messages' key forward, the conversations'.
with {{template "held" .}},
{{template "locked_rows" .}},
found as materialized (
  select q.ord, q.entry, m.part, m.id
  from held q cross join lateral (
    select m.tableoid as part, m.ctid as id from {{.Messages.Name}} m
    where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq and not q.history_kept
    order by m.{{.Messages.Seq}} limit $5
    {{- if .SkipLocked}}
    for update skip locked
    {{- end}}) m
  limit $6
),
gone as (
  delete from {{.Messages.Name}} m using found f where m.tableoid = f.part and m.ctid = f.id returning f.ord, f.entry
),
{{template "counted"}}
