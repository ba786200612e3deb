-- Takes up the deletions that the ledger doesn't know yet and pins their
-- boundaries: the greatest seq sent by the time at which the stream stored the
-- command, or the one asked for, but never past the newest message. The key of
-- the commands makes a command's content unique; sorted, so that two workers
-- never wait for each other in a circle. A command that another worker enters at
-- this moment is left to it.
-- commands_pkey, deletions_pkey; the messages' key backward.
with q as materialized (
  select *
  from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::timestamptz[], $9::boolean[], $10::text[], $11::bytea[])
    as q (app_id, command_id, conversation_id, token, user_id, device_id, through_seq, stored_at, history_kept, requested_at, digest)
),
entered as (
  insert into lethe.commands (app_id, command_id, digest)
  select distinct q.app_id, q.command_id, q.digest from q
  order by q.app_id, q.command_id
  on conflict do nothing
  returning app_id, command_id, digest
)
insert into lethe.deletions (app_id, command_id, conversation_id, user_id, origin_device_id, state,
  requested_through_seq, stored_at, through_seq, history_kept, requested_at, lease_token, lease_until)
select q.app_id, q.command_id, q.conversation_id, q.user_id, nullif(q.device_id, ''), 'running',
  q.through_seq, q.stored_at, {{.Boundary "q" "through_seq"}}, q.history_kept, nullif(q.requested_at, ''),
  q.token, pg_catalog.clock_timestamp() + $12::interval
from q
left join lateral (
  select true as known from lethe.deletions d
  where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id limit 1) d on true
where d.known is null
  and ((q.app_id, q.command_id, q.digest) in (select e.app_id, e.command_id, e.digest from entered e)
    or q.digest = (select k.digest from lethe.commands k where k.app_id = q.app_id and k.command_id = q.command_id limit 1))
order by q.app_id, q.command_id, q.conversation_id
on conflict do nothing
