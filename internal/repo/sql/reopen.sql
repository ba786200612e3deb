-- Reopens a failed deletion, once for each dead letter. deletions_pkey
update lethe.deletions d
set state = 'pending', attempts = 0, reason = null, message = null, failed_at = null, last_error = null,
  lease_token = null, lease_until = null, retried = pg_catalog.array_append(d.retried, $4::bigint)
from lethe.commands k
where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3 and d.state = 'failed' and not ($4 = any (d.retried))
  and k.app_id = d.app_id and k.command_id = d.command_id and k.digest = $5
