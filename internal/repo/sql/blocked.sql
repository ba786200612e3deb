-- Releases the lease, if it is ours, of a deletion that waits for another transaction's lock, and notes that. deletions_pkey
update lethe.deletions d
set state = 'pending', lease_token = null, lease_until = null, waiting_for = 'lock', waiting_detail = nullif($6::text, ''),
  cursor_seq = greatest(d.cursor_seq, $5)
where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3 and d.state in ('pending', 'running')
  and (d.lease_token = $4 or d.lease_until is null)
