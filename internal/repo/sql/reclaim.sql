-- Takes up deletions that the ledger knows, that are unfinished, that nobody
-- holds, that no batch of the long lane has touched and that have lost less than
-- $7 messages: a small one that a lock, a failure or a stop set back needs no
-- place there. Pins the boundary if that has not been done. deletions_pkey, commands_pkey; the messages' key backward.
with known as materialized (
  select d.entry, t.token
  from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bytea[]) as t (app_id, command_id, conversation_id, token, digest)
  cross join lateral (
    select k.digest from lethe.commands k where k.app_id = t.app_id and k.command_id = t.command_id limit 1) k
  cross join lateral (
    select d.ctid as entry from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.conversation_id = t.conversation_id limit 1) d
  where k.digest = t.digest
)
update lethe.deletions d
set state = 'running', lease_token = q.token, lease_until = pg_catalog.clock_timestamp() + $6::interval,
  through_seq = coalesce(d.through_seq, {{.Boundary "d" "requested_through_seq"}})
from known q
where d.ctid = q.entry and d.state in ('pending', 'running') and d.cursor_seq = 0 and d.messages_deleted < $7
  and (d.lease_until is null or d.lease_until < pg_catalog.clock_timestamp())
