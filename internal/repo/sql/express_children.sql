-- Deletes up to $5 rows of each table that hang on messages at or below the
-- boundaries. After the messages: a writer that held a message has committed by
-- now, and what it wrote is seen. Each child's key forward.
with {{template "held" .}}
{{- range $i, $c := .RangeChildren}},
found_{{$i}} as materialized (
  select x.part, x.id
  from held q cross join lateral (
    select x.tableoid as part, x.ctid as id from {{$c.Name}} x
    where {{$c.Match "x" "q"}} and x.{{$c.Seq}} <= q.through_seq and not q.history_kept
    order by x.{{$c.Seq}} limit $5
    {{- if $.SkipLocked}}
    for update skip locked
    {{- end}}) x
  limit $5
),
gone_{{$i}} as (
  delete from {{$c.Name}} x using found_{{$i}} f where x.tableoid = f.part and x.ctid = f.id returning 1
)
{{- end}}
select array[{{range $i, $c := .RangeChildren}}{{if $i}}, {{end}}(select pg_catalog.count(*) from gone_{{$i}}){{end}}]::bigint[]
