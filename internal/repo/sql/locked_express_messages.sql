-- Deletes the messages that this transaction has locked and on which nothing
-- hangs any more, up to $6, and locks the conversations' rows. Offset 0 keeps the planner from a join that would use
-- only a part of the child's key.
with {{template "held" .}},
{{template "locked_rows" .}},
found as materialized (
  select q.ord, q.entry, m.lethe_part as part, m.lethe_row as id
  from held q
  cross join lateral {{template "locked" .}} m
  where true
  {{- range .Children}}
    and not exists (select from {{.Name}} x where {{.HangsOn "x" "m" "q"}} offset 0)
  {{- end}}
  limit $6
),
gone as (
  delete from {{.Messages.Name}} m using found f where m.tableoid = f.part and m.ctid = f.id returning f.ord, f.entry
),
{{template "counted"}}
