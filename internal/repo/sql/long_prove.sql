-- The finishing transaction's proof that nothing at or below the boundary is
-- left, before it locks anything that a sender may want. batch_seq carries the
-- answer to the statement that finishes, and a setting of the transaction which
-- version of the conversation's row it goes with. Each key forward.
with {{template "fence" .}},
q as materialized (select $1::text as app_id, $2::text as user_id, $3::text as conversation_id, through_seq, history_kept from fence)
update lethe.deletions d
set batch_seq = (select case when q.history_kept or not {{template "remaining" .}} then q.through_seq else -1 end from q),
  lease_until = pg_catalog.clock_timestamp() + $6::interval
where {{template "entry"}} and exists (select from fence)
returning d.batch_seq = d.through_seq, pg_catalog.set_config('lethe.version',
  (select c.version from q cross join lateral (
    select {{template "version" .}} as version from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}}) c), true)
