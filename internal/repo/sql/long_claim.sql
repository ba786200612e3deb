-- Takes the lease of an unfinished deletion that nobody holds, and pins its
-- boundary if that has not been done. Token and expiry are the database's.
-- deletions_pkey
update lethe.deletions d
set state = 'running', lease_token = $4, lease_until = pg_catalog.clock_timestamp() + $5::interval,
  through_seq = coalesce(d.through_seq, {{.Boundary "d" "requested_through_seq"}})
where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3 and d.state in ('pending', 'running')
  and (d.lease_token = $4 or d.lease_until is null or d.lease_until < pg_catalog.clock_timestamp())
