-- Keeps the lease of a deletion that is held back, and says what it waits for.
-- deletions_pkey
update lethe.deletions d
set lease_until = pg_catalog.clock_timestamp() + $5::interval, cursor_seq = greatest(d.cursor_seq, $6), waiting_for = nullif($7::text, ''),
  waiting_detail = nullif($8::text, '')
where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3 and d.state = 'running' and d.lease_token = $4
