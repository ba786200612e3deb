-- The finishing transaction's proof that nothing at or below the boundary is
-- left, before it locks anything that a sender may want. batch_seq carries the
-- answer to the statement that finishes. Each key forward.
with {{template "fence" .}},
q as materialized (select $1::text as app_id, $2::text as user_id, $3::text as conversation_id, through_seq, history_kept from fence)
update lethe.deletions d
set batch_seq = (select case when q.history_kept or not {{template "remaining" .}} then q.through_seq else -1 end from q),
  lease_until = clock_timestamp() + $6::interval
where {{template "entry"}} and exists (select from fence)
returning d.batch_seq = d.through_seq
