-- The finishing transaction's proof that nothing at or below the boundary is
-- left, before it locks anything that a sender may want. batch_seq carries the
-- answer to the statement that finishes. Each key forward.
with {{template "fence" .}}
update lethe.deletions d
set batch_seq = case when q.history_kept or not {{template "remaining" .}} then q.through_seq else -1 end,
  lease_until = clock_timestamp() + $5::interval
from fence q
where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id
returning d.batch_seq = d.through_seq
