-- What take does, for a single deletion: with fewer steps, which a command that comes alone waits for. $9 and $10: how many messages
-- at the most, $10: how many rows of each table that hangs on them. commands_pkey; the messages' key backward and
-- forward, the others' forward. For the app '' it takes up nothing: so it is made ready.
with entered as (
  insert into lethe.commands (app_id, command_id, digest) select $1::text, $2::text, $8::bytea where $1::text <> ''
  on conflict do nothing
  returning 1
),
taken as materialized (
  select q.*, {{.Boundary "q" "wanted"}} as through_seq
  from (select $1::text as app_id, $3::text as conversation_id, $4::text as user_id, $5::bigint as wanted, $6::timestamptz as stored_at,
    $7::boolean as history_kept from entered) q
),
conversations as materialized (
  select pg_catalog.count(*) as n from (
    select from taken q cross join lateral (
      select c.ctid as id from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}}
      for update skip locked) c
    ) l
),
found as materialized (
  select m.part, m.id
  from taken q cross join lateral (
    select m.tableoid as part, m.ctid as id from {{.Messages.From}} m
    where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq and not q.history_kept
    order by m.{{.Messages.Seq}} limit least($9::bigint, $10::bigint)) m
),
gone as (
  delete from {{.Messages.From}} m where {{.Messages.At "m" "found"}}
  returning 1
)
{{- template "taken_children" .}}
select array[n],
  array[{{range $i, $c := .RangeChildren}}{{if $i}}, {{end}}(select pg_catalog.count(*) from gone_{{$i}}){{end}}]::bigint[], -- what hung on them
  pg_catalog.set_config('lethe.through', coalesce((select through_seq::text from taken), ''), true), pg_catalog.set_config('lethe.deleted', n::text, true),
  (select n from conversations) -- so that it is run
from (select pg_catalog.count(*) as n from gone) t
