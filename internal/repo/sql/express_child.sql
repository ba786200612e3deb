-- Deletes up to $5 rows that hang on messages at or below the boundaries. After
-- the messages: a writer that held a message has committed by now, and what it
-- wrote is seen. The child's key forward.
with {{template "held" .}},
found as materialized (
  select x.part, x.id
  from held q cross join lateral (
    select x.tableoid as part, x.ctid as id from {{.Child.Name}} x
    where {{.Child.Match "x" "q"}} and x.{{.Child.Seq}} <= q.through_seq and not q.history_kept
    order by x.{{.Child.Seq}} limit $5
    {{- if .SkipLocked}}
    for update skip locked
    {{- end}}) x
  limit $5
)
delete from {{.Child.Name}} x using found f where x.tableoid = f.part and x.ctid = f.id
