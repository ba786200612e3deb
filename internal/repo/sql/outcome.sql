-- What the ledger says of each deletion, known before or not.
-- commands_pkey, deletions_pkey
select l.ord, l.reused, {{template "outcome" "(l.entry)"}}
from (
  select t.ord, t.token, coalesce(k.digest <> t.digest, false) as reused, d.entry
  from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bytea[]) with ordinality
    as t (app_id, command_id, conversation_id, token, digest, ord)
  left join lateral (
    select k.digest from lethe.commands k where k.app_id = t.app_id and k.command_id = t.command_id limit 1) k on true
  left join lateral (
    select d as entry from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.conversation_id = t.conversation_id and k.digest = t.digest
    limit 1) d on true
  offset 0) l
