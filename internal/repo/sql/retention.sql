{{/* What the ledger forgets. */}}

{{/* True of a deletion that has been final for longer than the interval, but for one that waits to be reported as erased. */}}
{{define "_expired"}}(d.erased or d.erased_told) and d.state in ('done', 'failed') and coalesce(d.completed_at, d.failed_at) < pg_catalog.now() - @age::interval{{end}}

{{/* The next @limit of the commands that came before the interval @age, above a key, and which of them may go. Erasures, of the
command '', stay: a floor never falls. Index scans
of commands_created_at, from the key on, of deletions_pkey and enumerations_pkey. */}}
{{define "expire_find"}}
select c.created_at, c.app_id, c.command_id,
  not exists (select from lethe.deletions d
    where d.app_id = c.app_id and d.command_id = c.command_id and ({{template "_expired"}}) is not true offset 0)
  and not exists (select from lethe.enumerations e
    where e.app_id = c.app_id and e.command_id = c.command_id and (e.completed_at < pg_catalog.now() - @age::interval) is not true offset 0)
from (
  select created_at, app_id, command_id from lethe.commands
  where created_at < pg_catalog.now() - @age::interval and (created_at, app_id, command_id) > (@created_at, @app, @command) and command_id <> ''
  order by created_at, app_id, command_id limit @limit) c
order by c.created_at, c.app_id, c.command_id
{{end}}

{{/* Locks the deletions of the commands, without waiting: what somebody else has locked is being forgotten by another replica or
reopened. deletions_pkey */}}
{{define "expire_lock"}}
select pg_catalog.count(*) from (
  select from unnest(@apps::text[], @commands::text[]) as t (app_id, command_id)
  cross join lateral (
    select d.ctid as id from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and {{template "_expired"}}
    for update skip locked) d) l
{{end}}

{{/* Removes the commands all of whose deletions this transaction has locked. commands_pkey, deletions_pkey */}}
{{define "expire_commands"}}
with found as materialized (
  select c.id
  from unnest(@apps::text[], @commands::text[]) as t (app_id, command_id)
  cross join lateral (
    select c.ctid as id from lethe.commands c where c.app_id = t.app_id and c.command_id = t.command_id limit 1) c
  where not exists (select from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.xmax <> pg_catalog.pg_current_xact_id()::xid offset 0)
)
delete from lethe.commands c using found f where c.ctid = f.id
{{end}}

{{/* Removes the deletions that this transaction has locked and whose commands it has removed. commands_pkey, deletions_pkey */}}
{{define "expire_deletions"}}
with found as materialized (
  select d.id
  from unnest(@apps::text[], @commands::text[]) as t (app_id, command_id)
  cross join lateral (
    select d.ctid as id from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.xmax = pg_catalog.pg_current_xact_id()::xid offset 0) d
  where not exists (select from lethe.commands c where c.app_id = t.app_id and c.command_id = t.command_id offset 0)
)
delete from lethe.deletions d using found f where d.ctid = f.id
{{end}}

{{/* Removes the enumerations of commands that this transaction has removed. enumerations_pkey, commands_pkey */}}
{{define "expire_enumerations"}}
with found as materialized (
  select e.id
  from unnest(@apps::text[], @commands::text[]) as t (app_id, command_id)
  cross join lateral (
    select e.ctid as id from lethe.enumerations e where e.app_id = t.app_id and e.command_id = t.command_id offset 0) e
  where not exists (select from lethe.commands c where c.app_id = t.app_id and c.command_id = t.command_id offset 0)
)
delete from lethe.enumerations e using found f where e.ctid = f.id
{{end}}
