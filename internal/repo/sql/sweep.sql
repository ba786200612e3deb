{{/* Notes that a sweep of the shared logs begins now, unless one has begun within @every. The row is that of no command; retention leaves it
alone. enumerations_pkey */}}
{{define "take_sweep"}}
insert into lethe.enumerations as e (app_id, command_id, completed_at) values ('', '', pg_catalog.clock_timestamp())
on conflict (app_id, command_id) do update set completed_at = excluded.completed_at
where e.completed_at < pg_catalog.clock_timestamp() - @every::interval
{{end}}
