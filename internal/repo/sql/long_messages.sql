-- One batch: up to $7 messages above $6, in order. Waits for a locked row, for
-- the cursor must not pass one. Everything hangs on the fence.
-- The messages' key forward.
with {{template "fence" .}},
batch as materialized (
  select max(s.seq) as seq, count(*) as n
  from (
    select m.{{.Messages.Seq}}::bigint as seq from {{.Messages.Name}} m
    where {{.Messages.MatchArgs "m"}} and m.{{.Messages.Seq}} > $6 and m.{{.Messages.Seq}} <= (select through_seq from fence)
    order by m.{{.Messages.Seq}} limit $7) s
),
gone as (
  delete from {{.Messages.Name}} m
  where {{.Messages.MatchArgs "m"}} and m.{{.Messages.Seq}} > $6 and m.{{.Messages.Seq}} <= (select seq from batch)
  returning 1
)
update lethe.deletions d
set messages_deleted = d.messages_deleted + (select count(*) from gone), cursor_seq = greatest(d.cursor_seq, $6),
  batch_seq = coalesce((select seq from batch), d.through_seq), lease_until = clock_timestamp() + $8::interval, waiting_for = null
where {{template "entry"}} and exists (select from fence)
returning d.batch_seq, (select n from batch), (select count(*) from gone)
