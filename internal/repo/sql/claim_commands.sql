-- Makes a command's content unique. Sorted, so that two workers never wait for
-- each other in a circle. commands_pkey
insert into lethe.commands (app_id, command_id, digest)
select distinct q.app_id, q.command_id, q.digest
from unnest($1::text[], $2::text[], $3::bytea[]) as q (app_id, command_id, digest)
order by q.app_id, q.command_id
on conflict do nothing
