-- Makes sure that the ledger has the deletion's row, so that its failure can be
-- counted, or what it waits for be noted; the next statement sees to the boundary. deletions_pkey, commands_pkey
insert into lethe.deletions (app_id, command_id, conversation_id, user_id, origin_device_id, state,
  requested_through_seq, stored_at, history_kept, requested_at, lease_token)
select $1, $2, $3, $5, nullif($6, ''), 'pending', $7, $8, $9, nullif($10, ''), $4
from lethe.commands k where k.app_id = $1 and k.command_id = $2 and k.digest = $11
on conflict do nothing
