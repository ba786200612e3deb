{{/* The ledger's rows, one deletion at a time. */}}

{{/* Makes the command's content unique. commands_pkey */}}
{{define "enter_command"}}
insert into lethe.commands (app_id, command_id, digest) values (@app, @command, @digest)
on conflict do nothing
{{end}}

{{/* Enters the deletion if the ledger lacks it, with a boundary only if its command has pinned one. commands_pkey, deletions_pkey */}}
{{define "enter"}}
insert into lethe.deletions (app_id, command_id, conversation_id, user_id, origin_device_id, state,
  requested_through_seq, stored_at, through_seq, history_kept, conversation_kept, scope, requested_by, requested_at)
select @app, @command, @conversation, @user, nullif(@device, ''), 'pending', @wanted, @stored_at, @boundary, @kept, @conversation_kept, nullif(@scope, ''),
  nullif(@requested_by, ''), nullif(@requested_at, '')
from lethe.commands k where k.app_id = @app and k.command_id = @command and k.digest = @digest
on conflict do nothing
{{end}}

{{/* Pins the boundary of the ledger's row d, if that has not been done, and with it what the plan looks up. */}}
{{define "_pin"}}{{if .LooksUp}}(through_seq, looked_up) = (
    select coalesce(d.through_seq, {{.Boundary "q" "requested_through_seq"}}), q.looked_up
    from (select d.app_id, d.user_id, d.conversation_id, d.stored_at, d.requested_through_seq{{template "_looked_up" .}} offset 0) q)
  {{- else}}through_seq = coalesce(d.through_seq, {{.Boundary "d" "requested_through_seq"}}){{end}}{{end}}

{{/* Takes the lease of an unfinished deletion that nobody holds, and pins its boundary if that has not been done. Token and expiry are
the database's. deletions_pkey, commands_pkey; the messages' key backward. */}}
{{define "claim"}}
update lethe.deletions d
set state = 'running', lease_token = @token, lease_until = pg_catalog.clock_timestamp() + @lease::interval,
  {{template "_pin" .}}
from lethe.commands k
where {{template "_entry"}} and d.state in ('pending', 'running')
  and (d.lease_token = @token or d.lease_until is null or d.lease_until < pg_catalog.clock_timestamp())
  and k.app_id = d.app_id and k.command_id = d.command_id and k.digest = @digest
{{end}}

{{/* What the ledger has of a deletion. commands_pkey, deletions_pkey */}}
{{define "record"}}
select 1::bigint, k.digest, d.* from (values (@app::text, @command::text, @user::text, @conversation::text)) q (app_id, command_id, user_id, conversation_id) {{template "_known"}}
{{end}}

{{/* Keeps the lease of a deletion that is throttled, and says what it waits for. deletions_pkey */}}
{{define "renew"}}
update lethe.deletions d
set lease_until = pg_catalog.clock_timestamp() + @lease::interval, cursor_seq = greatest(d.cursor_seq, @low), waiting_for = nullif(@waiting_for::text, ''),
  waiting_detail = nullif(@detail::text, '')
where {{template "_entry"}} and d.state = 'running' and d.lease_token = @token
{{end}}

{{/* Releases the lease, if it is ours, so that another worker may go on at once, and says what the deletion waits for. deletions_pkey */}}
{{define "release"}}
update lethe.deletions d
set state = 'pending', lease_token = null, lease_until = null, waiting_for = nullif(@waiting_for::text, ''),
  waiting_detail = nullif(@detail::text, ''), cursor_seq = greatest(d.cursor_seq, @low)
where {{template "_entry"}} and d.state in ('pending', 'running')
  and (d.lease_token = @token or d.lease_until is null and @waiting_for::text <> '')
{{end}}

{{/* Adds @counts to the attempts (1 for a real failure, less than that takes some back), releases the lease, and gives up
when @max of them are used up (1 gives up at once), unless this one may not be the last (@final). The try that failed may
have been rolled back together with its claim, so that the row is ours, or has no lease. With a boundary, that try has decided it, and a
later one must not move it. deletions_pkey, commands_pkey; the messages' key backward. */}}
{{define "_fail"}}
update lethe.deletions d
set attempts = {{template "_attempts"}}, last_error = @error, lease_token = null, lease_until = null, waiting_for = null, waiting_detail = null,
  {{- if .Pin}}
  {{template "_pin" .}},
  {{- end}}
  state = case when {{template "_attempts"}} >= @max then 'failed' else 'pending' end,
  reason = case when {{template "_attempts"}} >= @max then @reason end,
  message = case when {{template "_attempts"}} >= @max then @message end,
  failed_at = case when {{template "_attempts"}} >= @max then pg_catalog.clock_timestamp() end
from lethe.commands k
where {{template "_entry"}} and d.state in ('pending', 'running')
  and (d.lease_token = @token or d.lease_until is null or d.lease_until < pg_catalog.clock_timestamp())
  and k.app_id = d.app_id and k.command_id = d.command_id and k.digest = @digest
{{end}}
{{define "_attempts"}}greatest(0,
  case when @counts::int > 0 and @final::boolean then d.attempts + @counts::int else least(d.attempts + @counts::int, @max::int - 1) end){{end}}

{{define "fail"}}{{template "_fail" .}}{{end}}
{{define "fail_pinned"}}{{template "_fail" .Pinning}}{{end}}

{{/* Reopens a failed deletion, once for each dead letter. deletions_pkey, commands_pkey */}}
{{define "reopen"}}
update lethe.deletions d
set state = 'pending', attempts = 0, reason = null, message = null, failed_at = null, last_error = null,
  lease_token = null, lease_until = null, retried = pg_catalog.array_append(d.retried, @letter::bigint)
from lethe.commands k
where {{template "_entry"}} and d.state = 'failed' and not (@letter = any (d.retried))
  and k.app_id = d.app_id and k.command_id = d.command_id and k.digest = @digest
{{end}}

{{/* Gives commands that a replay has entered, whose content no event tells, the content that one of them now comes with, if
it is of the user, the device and the mode of the events, and asks for no less than they have removed. By a delete and an insert,
since a worker may not update commands. Whoever comes second finds the first one's. commands_pkey, deletions_pkey */}}
{{define "adopt"}}
with q as materialized (
  select *
  from unnest(@apps::text[], @commands::text[], @conversations::text[], @users::text[], @devices::text[], @wanted::bigint[], @kept::boolean[],
    @requesters::text[], @digests::bytea[])
    as q (app_id, command_id, conversation_id, user_id, device_id, wanted, history_kept, requested_by, digest)
),
fits as materialized (
  select q.app_id, q.command_id, q.digest
  from q
  cross join lateral (
    select coalesce(pg_catalog.bool_and(coalesce(d.requested_by, d.user_id) = coalesce(nullif(q.requested_by, ''), q.user_id)
      and (d.requested_by is null) = (q.requested_by = '') and coalesce(d.origin_device_id, '') = q.device_id and d.history_kept = q.history_kept
      and (d.conversation_id <> q.conversation_id or q.wanted is null or d.through_seq <= q.wanted)), true) as fits
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
{{end}}

{{/* Writes to the ledger what nobody else can see, for the next statement takes it away: a read-only server and a full disk fail here. The
app '' is no command's. commands_pkey */}}
{{define "probe_write"}}
insert into lethe.commands (app_id, command_id, digest) values ('', @id, '')
{{end}}
{{define "probe_erase"}}
delete from lethe.commands where app_id = '' and command_id = @id
{{end}}
