-- One batch: up to $6 messages above $5, in order. Waits for a locked row, for
-- the cursor must not pass one. Everything hangs on the fence.
-- The messages' key forward.
with {{template "fence" .}},
batch as materialized (
  select max(s.seq) as seq, count(*) as n
  from (
    select m.seq from fence q cross join lateral (
      select m.{{.Messages.Seq}} as seq from {{.Messages.Name}} m
      where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > $5 and m.{{.Messages.Seq}} <= q.through_seq
      order by m.{{.Messages.Seq}} limit $6) m) s
),
-- One row with both: from two, the planner may take the upper end for a filter
-- and walk to the conversation's end.
span as materialized (select q.*, b.seq as upto from fence q, batch b),
gone as (
  delete from {{.Messages.Name}} m using span q
  where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > $5 and m.{{.Messages.Seq}} <= q.upto
  returning 1
)
update lethe.deletions d
set messages_deleted = d.messages_deleted + (select count(*) from gone), cursor_seq = greatest(d.cursor_seq, $5),
  batch_seq = coalesce(b.seq, d.through_seq), lease_until = clock_timestamp() + $7::interval
from fence q, batch b
where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id
returning d.batch_seq, b.n, (select count(*) from gone)
