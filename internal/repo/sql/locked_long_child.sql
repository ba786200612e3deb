-- Up to $7 rows that hang on the batch's messages, which are locked.
-- The messages' key forward, the child's key or reference.
with {{template "fence" .}},
q as materialized (select $1::text as app_id, $2::text as user_id, $3::text as conversation_id, batch_seq from fence),
found as materialized (
  select x.part, x.id
  from q
  cross join lateral (
    select {{.Hooks "m"}} from {{.Messages.Name}} m
    where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > $6::bigint and m.{{.Messages.Seq}} <= q.batch_seq
    order by m.{{.Messages.Seq}} offset 0) m
  cross join lateral (select x.tableoid as part, x.ctid as id from {{.Child.From}} x where {{.Child.HangsOn "x" "m" "q"}} limit $7) x
  limit $7
)
delete from {{.Child.From}} x where {{.Child.At "x" "found"}}
