-- Notes how far the next batch reaches: up to $7 messages above $6. Counts them
-- for the delete that follows, where "returning" would fetch each row again (0.4
-- us of 4); foreign keys to them want them locked instead. The messages' key forward.
with {{template "fence" .}},
batch as materialized (
  select pg_catalog.max(s.seq) as seq, pg_catalog.count(*) as n
  from (
    select m.{{.Messages.Seq}}::bigint as seq from {{.Messages.Name}} m
    where {{.Messages.MatchArgs "m"}} and m.{{.Messages.Seq}} > $6::bigint and m.{{.Messages.Seq}} <= (select through_seq from fence)
    order by m.{{.Messages.Seq}} limit $7{{if .Locked}} for update{{end}}) s
)
update lethe.deletions d
set {{if not .Locked}}messages_deleted = d.messages_deleted + (select n from batch), {{end}}cursor_seq = greatest(d.cursor_seq, $6::bigint),
  batch_seq = coalesce((select seq from batch), d.through_seq), lease_until = pg_catalog.clock_timestamp() + $8::interval, waiting_for = null, waiting_detail = null
where {{template "entry"}} and exists (select from fence)
returning d.batch_seq, (select n from batch)
