-- Mends the count of a batch by $5: others deleted some of its messages between
-- the count and the delete, or added some. deletions_pkey
update lethe.deletions d set messages_deleted = d.messages_deleted + $5
where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3 and d.state = 'running' and d.lease_token = $4
