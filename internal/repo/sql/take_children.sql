-- Deletes up to $5 rows of each table that hang on messages at or below the boundaries of what was taken. After the messages: a
-- writer that held a message has committed by now, and what it wrote is seen. Each child's key forward.
with q as materialized (
{{- if .One}}
  select $1::text as app_id, $2::text as user_id, $3::text as conversation_id, $4::boolean as history_kept,
    nullif(current_setting('lethe.through', true), '')::bigint as through_seq
{{- else}}
  select *
  from unnest($1::text[], $2::text[], $3::text[], $4::boolean[], string_to_array(current_setting('lethe.through', true), ',', '')::bigint[])
    as q (app_id, user_id, conversation_id, history_kept, through_seq)
{{- end}}
)
{{- range $i, $c := .RangeChildren}},
found_{{$i}} as materialized (
  select x.part, x.id
  from q cross join lateral (
    select x.tableoid as part, x.ctid as id from {{$c.From}} x
    where {{$c.Match "x" "q"}} and x.{{$c.Seq}} <= q.through_seq and not q.history_kept
    order by x.{{$c.Seq}} limit $5) x
  limit $5
),
gone_{{$i}} as (
  delete from {{$c.From}} x where x.ctid = any (array(select f.id from found_{{$i}} f))
  {{- if $c.Parted}} and (x.tableoid, x.ctid) in (select f.part, f.id from found_{{$i}} f){{end}}
  returning 1
)
{{- end}}
select array[{{range $i, $c := .RangeChildren}}{{if $i}}, {{end}}(select count(*) from gone_{{$i}}){{end}}]::bigint[]
