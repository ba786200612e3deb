-- The batch's messages on which nothing hangs any more. The messages' key
-- forward, each child's key or reference. Offset 0 keeps the planner from joins
-- that would use only a part of a key.
with {{template "fence" .}},
q as materialized (select $1::text as app_id, $2::text as user_id, $3::text as conversation_id, batch_seq from fence),
found as materialized (
  select m.lethe_part as part, m.lethe_row as id
  from q
  cross join lateral (
    select m.tableoid as lethe_part, m.ctid as lethe_row, {{.Hooks "m"}} from {{.Messages.From}} m
    where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > $6::bigint and m.{{.Messages.Seq}} <= q.batch_seq
    order by m.{{.Messages.Seq}} offset 0) m
  where true
  {{- range .Children}}
    and not exists (select from {{.Name}} x where {{.HangsOn "x" "m" "q"}} offset 0)
  {{- end}}
),
gone as (
  delete from {{.Messages.From}} m where {{.Messages.At "m" "found"}} returning 1
)
update lethe.deletions d set messages_deleted = d.messages_deleted + (select pg_catalog.count(*) from gone)
where {{template "entry"}} and exists (select from fence)
returning (select pg_catalog.count(*) from gone)
