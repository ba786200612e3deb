-- For tables with foreign keys to messages: locks the batch, up to $6 messages
-- above $5, in order, and notes how far it reaches. The messages' key forward.
with {{template "fence" .}},
batch as materialized (
  select max(s.seq) as seq, count(*) as n
  from (
    select m.seq from fence q cross join lateral (
      select m.{{.Messages.Seq}} as seq from {{.Messages.Name}} m
      where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > $5 and m.{{.Messages.Seq}} <= q.through_seq
      order by m.{{.Messages.Seq}} limit $6
      for update) m) s
)
update lethe.deletions d
set cursor_seq = greatest(d.cursor_seq, $5), batch_seq = coalesce(b.seq, d.through_seq), lease_until = clock_timestamp() + $7::interval
from fence q, batch b
where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id
returning d.batch_seq, b.n
