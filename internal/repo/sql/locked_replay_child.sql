-- Up to $6 rows that hang on those of the batch's messages, which are locked, that are to go.
-- The messages' key forward, the child's key or reference.
with q as materialized (
  select $1::text as app_id, $2::text as user_id, $3::text as conversation_id, nullif(pg_catalog.current_setting('lethe.reach', true), '')::bigint as reach
),
found as materialized (
  select x.part, x.id
  from q
  cross join lateral (
    select {{.Hooks "m"}} from {{.Messages.Name}} m
    where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > $4::bigint and m.{{.Messages.Seq}} <= q.reach
      and m.{{.Messages.SentAt}} <= {{.Moment "$5::timestamptz"}}
    order by m.{{.Messages.Seq}} offset 0) m
  cross join lateral (select x.tableoid as part, x.ctid as id from {{.Child.Name}} x where {{.Child.HangsOn "x" "m" "q"}} limit $6::bigint) x
  limit $6::bigint
)
delete from {{.Child.Name}} x using found f where x.tableoid = f.part and x.ctid = f.id
