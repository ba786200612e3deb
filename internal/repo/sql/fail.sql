-- Adds $10 to the attempts ($10 = 1 for a real failure, less than that takes some back), releases the lease, and gives up
-- when $5 of them are used up ($5 = 1 gives up at once), unless this one may not be the last ($11). The try that failed may
-- have been rolled back together with its claim, so that the row is ours, or has no lease.
{{- if .Pin}} That
-- try has also decided the boundary, which a later one must not move.
{{- end}}
-- deletions_pkey, commands_pkey{{if .Pin}}; the messages' key backward{{end}}
update lethe.deletions d
set attempts = {{template "attempts"}}, last_error = $8, lease_token = null, lease_until = null, waiting_for = null, waiting_detail = null,
  {{- if .Pin}}
  through_seq = coalesce(d.through_seq, {{.Boundary "d" "requested_through_seq"}}),
  {{- end}}
  state = case when {{template "attempts"}} >= $5 then 'failed' else 'pending' end,
  reason = case when {{template "attempts"}} >= $5 then $6 end,
  message = case when {{template "attempts"}} >= $5 then $7 end,
  failed_at = case when {{template "attempts"}} >= $5 then pg_catalog.clock_timestamp() end
from lethe.commands k
where d.app_id = $1 and d.command_id = $2 and d.conversation_id = $3 and d.state in ('pending', 'running')
  and (d.lease_token = $4 or d.lease_until is null or d.lease_until < pg_catalog.clock_timestamp())
  and k.app_id = d.app_id and k.command_id = d.command_id and k.digest = $9
{{- define "attempts"}}greatest(0, case when $10::int > 0 and $11::boolean then d.attempts + $10::int else least(d.attempts + $10::int, $5::int - 1) end){{end}}
