-- Fences the deletions that an earlier statement of ours took up: from here to
-- the commit nobody else can take their lease. deletions_pkey
select count(*) from (
  select from unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) as t (app_id, command_id, conversation_id, token)
  join lethe.deletions d
    on d.app_id = t.app_id and d.command_id = t.command_id and d.conversation_id = t.conversation_id
  where d.lease_token = t.token and d.state = 'running'
  order by d.app_id, d.command_id, d.conversation_id
  for update of d
) l
