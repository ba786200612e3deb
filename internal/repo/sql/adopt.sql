-- Gives commands that a replay has entered, whose content no event tells, the content that one of them now comes with, if
-- it is of the user, the device and the mode of the events, and asks for no less than they have removed. By a delete and an insert,
-- since a worker may not update commands. Whoever comes second finds the first one's. commands_pkey, deletions_pkey
with q as materialized (
  select *
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::boolean[], $8::bytea[])
    as q (app_id, command_id, conversation_id, user_id, device_id, through_seq, history_kept, digest)
),
fits as materialized (
  select q.app_id, q.command_id, q.digest
  from q
  cross join lateral (
    select coalesce(pg_catalog.bool_and(d.user_id = q.user_id and coalesce(d.origin_device_id, '') = q.device_id and d.history_kept = q.history_kept
      and (d.conversation_id <> q.conversation_id or q.through_seq is null or d.through_seq <= q.through_seq)), true) as fits
    from lethe.deletions d where d.app_id = q.app_id and d.command_id = q.command_id) d
  group by q.app_id, q.command_id, q.digest
  having pg_catalog.bool_and(d.fits)
),
blank as (
  delete from lethe.commands k using (
    select f.digest, c.id
    from fits f cross join lateral (
      select c.ctid as id from lethe.commands c
      where c.app_id = f.app_id and c.command_id = f.command_id and c.digest = '' limit 1) c) f
  where k.ctid = f.id and k.digest = ''
  returning k.app_id, k.command_id, k.created_at, f.digest
)
insert into lethe.commands (app_id, command_id, digest, created_at)
select b.app_id, b.command_id, b.digest, b.created_at from blank b
