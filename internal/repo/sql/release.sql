-- Gives the lease back, so that another worker may go on at once, and notes what the deletion waits for meanwhile.
-- deletions_pkey
update lethe.deletions d
set state = 'pending', lease_token = null, lease_until = null, waiting_for = nullif($6::text, ''),
  waiting_detail = nullif($7::text, ''), cursor_seq = greatest(d.cursor_seq, $5)
where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3 and d.state = 'running' and d.lease_token = $4
