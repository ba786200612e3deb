-- Up to $6 rows that hang on the batch's messages, which are locked.
-- The messages' key forward, the child's key or reference.
with held as materialized (
  select d.user_id, d.batch_seq, d.app_id, d.conversation_id
  from lethe.deletions d
  where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3 and d.lease_token = $4 and d.state = 'running'
),
found as materialized (
  select x.part, x.id from held q
  cross join lateral (
    select m.* from {{.Messages.Name}} m
    where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > $5 and m.{{.Messages.Seq}} <= q.batch_seq
    order by m.{{.Messages.Seq}}) m
  cross join lateral (select x.tableoid as part, x.ctid as id from {{.Child.Name}} x where {{.Child.HangsOn "x" "m" "q"}} limit $6) x
  limit $6
)
delete from {{.Child.Name}} x using found f where x.tableoid = f.part and x.ctid = f.id
