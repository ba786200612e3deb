-- Fences the deletions that an earlier statement of ours took up: from here to
-- the commit nobody else can take their lease. deletions_pkey
select pg_catalog.count(*) from (
  select from unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) as t (app_id, command_id, conversation_id, token)
  cross join lateral (
    select d.ctid as entry from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.conversation_id = t.conversation_id
      and d.lease_token = t.token and d.state = 'running'
    limit 1
    for update) d
) l
