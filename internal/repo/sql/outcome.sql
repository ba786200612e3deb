-- What the ledger now says of each deletion, known before or not.
-- commands_pkey, deletions_pkey
select t.ord, coalesce(k.digest <> t.digest, false), d.*
from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bytea[]) with ordinality
  as t (app_id, command_id, conversation_id, token, digest, ord)
left join lateral (
  select k.digest from lethe.commands k where k.app_id = t.app_id and k.command_id = t.command_id limit 1) k on true
left join lateral (
  select d.user_id, d.origin_device_id, d.state, d.lease_token = t.token, d.through_seq, d.cursor_seq, d.messages_deleted,
    d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at, d.completed_at, d.failed_at, d.reason, d.message,
    d.attempts, d.last_error, extract(epoch from d.lease_until - clock_timestamp())::float8
  from lethe.deletions d
  where d.app_id = t.app_id and d.command_id = t.command_id and d.conversation_id = t.conversation_id and k.digest = t.digest
  limit 1) d on true
