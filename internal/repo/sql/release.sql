-- Gives the lease back, so that another worker may go on at once. deletions_pkey
update lethe.deletions d
set state = 'pending', lease_token = null, lease_until = null, waiting_for = null, waiting_detail = null,
  cursor_seq = greatest(d.cursor_seq, $5)
where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3 and d.state = 'running' and d.lease_token = $4
