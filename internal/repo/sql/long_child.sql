-- Up to $6 rows of a table that hangs on the batch's messages, after them.
-- The child's key forward.
with held as materialized (
  select d.user_id, d.batch_seq, d.app_id, d.conversation_id
  from lethe.deletions d
  where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3 and d.lease_token = $4 and d.state = 'running'
),
found as materialized (
  select x.part, x.id from held q cross join lateral (
    select x.tableoid as part, x.ctid as id from {{.Child.Name}} x
    where {{.Child.Match "x" "q"}} and x.{{.Child.Seq}} > $5 and x.{{.Child.Seq}} <= q.batch_seq
    order by x.{{.Child.Seq}} limit $6) x
)
delete from {{.Child.Name}} x using found f where x.tableoid = f.part and x.ctid = f.id
