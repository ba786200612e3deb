-- Counts a real failure, releases the lease, and gives up when $5 attempts are
-- used up ($5 = 1 gives up at once). deletions_pkey
update lethe.deletions d
set attempts = d.attempts + 1, last_error = $8, lease_token = null, lease_until = null,
  state = case when d.attempts + 1 >= $5 then 'failed' else 'pending' end,
  reason = case when d.attempts + 1 >= $5 then $6 end,
  message = case when d.attempts + 1 >= $5 then $7 end,
  failed_at = case when d.attempts + 1 >= $5 then clock_timestamp() end
where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3
  and d.state in ('pending', 'running') and d.lease_token = $4
