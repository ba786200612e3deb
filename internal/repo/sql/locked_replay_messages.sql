-- Those of the batch's messages that are to go and on which nothing hangs any more. The messages' key forward, each child's
-- key or reference. Offset 0 keeps the planner from joins that would use only a part of a key.
with q as materialized (
  select $1::text as app_id, $2::text as user_id, $3::text as conversation_id, nullif(pg_catalog.current_setting('lethe.reach', true), '')::bigint as reach
),
found as materialized (
  select m.lethe_part as part, m.lethe_row as id
  from q
  cross join lateral (
    select m.tableoid as lethe_part, m.ctid as lethe_row, {{.Hooks "m"}} from {{.Messages.Name}} m
    where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > $4::bigint and m.{{.Messages.Seq}} <= q.reach
      and m.{{.Messages.SentAt}} <= {{.Moment "$5::timestamptz"}}
    order by m.{{.Messages.Seq}} offset 0) m
  where true
  {{- range .Children}}
    and not exists (select from {{.Name}} x where {{.HangsOn "x" "m" "q"}} offset 0)
  {{- end}}
)
delete from {{.Messages.Name}} m using found f where m.tableoid = f.part and m.ctid = f.id
