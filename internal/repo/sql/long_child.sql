-- Up to $7 rows of a table that hangs on the batch's messages, after them.
-- The child's key forward.
with {{template "fence" .}},
found as materialized (
  select x.tableoid as part, x.ctid as id from {{.Child.From}} x
  where {{.Child.MatchArgs "x"}} and x.{{.Child.Seq}} > $6::bigint and x.{{.Child.Seq}} <= (select batch_seq from fence)
  order by x.{{.Child.Seq}} limit $7
)
delete from {{.Child.From}} x where {{.Child.At "x" "found"}}
