{{/* Why a deletion makes no progress: which tables have rows of it, and whether they stay. */}}

{{/* The positions of the first messages that are pointers, of the deletion and, for kept's statements, of those that it covers: each of the
statements below would pass by all that others have before them. The side with fewer rows, its keys forward; deletions_pkey. */}}
{{define "first_messages"}}{{if .Messages.Pointed}}
select {{.Messages.First "q" "" "" "" 1000}}
from (select @app::text as app_id, @user::text as user_id, @conversation::text as conversation_id{{template "_looked_up_args" .}} offset 0) q
{{end}}{{end}}
{{define "kept_first"}}{{if .Messages.Pointed}}
with {{template "_fence" .}}
select {{.Messages.First "q" "" "q.through_seq" "" 100}} from fence q where not q.history_kept
{{end}}{{end}}
{{define "_known_messages"}}{{if .Messages.Pointed}}{{.Messages.PositionsArgs "m"}}{{else}}{{.Messages.OfArgs "m"}}{{end}}{{end}}

{{/* In which of the plan's tables the deletion has rows, the messages' and the conversations' first. Of rows that refer to messages
by a reference, only those of the first 1,000 messages are looked for. Each key forward, one row. */}}
{{define "tables"}}
select array[
  exists (select from {{template "_known_messages" .}}),
  {{if .Conversations.Keep}}false{{else}}exists (select from {{.Conversations.Rows}} c where {{.Conversations.MatchArgs "c"}}){{end}}
  {{- range .Conversations.Children}} or exists (
    {{- if .Reference}}select from {{$.Conversations.Name}} c
    cross join lateral (select from {{.Name}} x where {{.BelongsTo "x" "c" ""}} limit 1) x where {{$.Conversations.MatchArgs "c"}}
    {{- else}}select from {{.Name}} x where {{.MatchArgs "x"}}{{end}})
  {{- end}}
  {{- range .Children}},
  exists (select from {{template "_some" ($.Of .)}} limit 1) x)
  {{- end}}
  {{- range $p := .Parents}},
  exists (
    select from (select {{$.ChildKeys "m"}} from {{template "_known_messages" $}} order by {{$.Messages.Order "m"}} limit 1000) m
    cross join lateral (select from {{.Name}} p where {{.Refers "m" "p"}} and {{$.Goes . "p" ""}} limit 1) p)
  {{- end}}
  {{- range $c := .Children}}{{range .Parents}},
  exists (
    select from {{template "_some" ($.Of $c)}} offset 0) x
    cross join lateral (select from {{.Name}} p where {{.Refers "x" "p"}} and {{$.Goes . "p" "x"}} limit 1) p)
  {{- end}}{{end}}]::boolean[]
where @app::text is not null
{{end}}

{{/* Rows x of the child table that belong to the first messages of the conversation. */}}
{{define "_some"}}
  {{- $keys := "x.ctid, x.tableoid"}}{{if .Parents}}{{$keys = print $keys ", " (.ParentColumns "x")}}{{end}}
  {{- if .Child.Reference}}
  {{- with .Child.Top}}(select {{$.TopKeys $.Child "x"}} from {{.Name}} x where {{.MatchArgs "x"}} order by x.{{.Seq}} limit 1000) above_1
  {{- else}}(select {{.ChildKeys "m"}} from {{template "_known_messages" $}} order by {{$.Messages.Order "m"}} limit 1000) m
  {{- end}}{{.ReadHops .Child}}
  cross join lateral (select {{$keys}} from {{.Child.Name}} x where {{.Child.BelongsTo "x" .Child.Above ""}}
  {{- else}}(select {{$keys}} from {{.Child.Name}} x where {{.Child.MatchArgs "x"}}
  {{- end}}{{end}}

{{/* Locks the messages that kept_messages deletes, before their child rows are looked for: none can come in between then. The messages' key. */}}
{{define "kept_lock"}}{{if .Locked}}
with {{template "_fence" .}}
select pg_catalog.count(*) from (
  select from {{template "_known_messages" .}} and {{.Messages.AtOrBelow "m" "(select f.through_seq from fence f where not f.history_kept)"}}
  order by {{.Messages.Order "m"}} limit 100
  {{.Messages.ForUpdate}} skip locked) l
{{end}}{{end}}

{{/* Deletes up to 100 rows of one table that the deletion covers and that no other transaction has locked, and counts those that
are still there: this transaction has locked them, so only a trigger or a rule can have kept them.
The transaction is rolled back. The messages' key forward, the child's key or reference. */}}
{{define "_kept"}}
with {{template "_fence" .}},
q as materialized (select f.* from fence f where not f.history_kept),
found as materialized (
{{- if not .Child}}
  select m.tableoid as part, m.ctid as id, {{.Messages.Position "m"}} as seq from {{if .Messages.Pointed}}{{.Messages.OnlyPositionsArgs "m"}}{{else}}{{.Messages.OnlyOfArgs "m"}}{{end}}
    and {{.Messages.AtOrBelow "m" "(select through_seq from q)"}}
  {{- if .Locked}} and {{template "_locked"}}{{range .OfMessages}}
    and not exists (select from {{.Name}} x where {{.BelongsToArgs "x" "m"}} offset 0)
  {{- end}}{{end}}
  order by {{.Messages.Order "m"}} limit 100
  {{.Messages.ForUpdate}} skip locked
{{- else if .Child.Reference}}
  select x.part, x.id, lethe_seq as seq
  from q
  {{- with .Child.Top}}
  cross join lateral (
    select x.{{.Seq}}::bigint as lethe_seq, {{$.TopKeys $.Child "x"}} from {{.Name}} x
    where {{.Match "x" "q"}} and x.{{.Seq}} <= q.through_seq
    order by x.{{.Seq}} limit 100) above_1
  {{- else}}
  cross join lateral (
    select {{.Messages.Position "m"}} as lethe_seq, {{.ChildKeys "m"}} from {{if .Messages.Pointed}}{{template "_known_messages" .}}{{else}}{{.Messages.Of "m" "q"}}{{end}} and {{.Messages.AtOrBelow "m" "q.through_seq"}}
    order by {{.Messages.Order "m"}} limit 100) m
  {{- end}}{{.ReadHops .Child}}
  cross join lateral (
    select x.tableoid as part, x.ctid as id from {{.Child.From}} x where {{.Child.BelongsTo "x" .Child.Above ""}}{{template "_childless" .}} limit 100
    for update skip locked) x
  limit 100
{{- else}}
  select x.tableoid as part, x.ctid as id, x.{{.Child.Seq}}::bigint as seq from {{.Child.From}} x
  where {{.Child.MatchArgs "x"}} and x.{{.Child.Seq}} <= (select through_seq from q){{template "_childless" .}}
  order by x.{{.Child.Seq}} limit 100
  for update skip locked
{{- end}}
),
gone as (
  {{template "_remove" .}} where {{.Table.At "x" "found"}}
  returning x.tableoid as part, x.ctid as id
)
{{- if and .Child .Child.Set}}
select pg_catalog.count(*) - (select pg_catalog.count(*) from gone), coalesce(pg_catalog.min(f.seq), 0)
from found f
{{- else}}
select pg_catalog.count(*), coalesce(pg_catalog.min(f.seq), 0)
from found f
where (f.part, f.id) not in (select g.part, g.id from gone g)
{{- end}}
{{end}}

{{define "kept_messages"}}{{template "_kept" .}}{{end}}
{{define "child_kept"}}{{template "_kept" .}}{{end}}

{{/* Deletes the conversation's row and children, if they are to go and an earlier statement of this transaction has locked the row, and
counts what is still there of each, which only a trigger or a rule can have kept. Each key forward, one row. */}}
{{define "kept_rows"}}
with {{template "_fence" .}},
{{template "_conversation" .}},
seen as materialized (
  select q.*, c.ours and (q.history_kept or not {{template "_remaining" .}}) as finished,
    c.replaced or {{template "_needed" .}} as newer
  from fence q cross join conversation c
),
due as materialized (select q.*, c.part, c.id from seen q cross join rows c where q.finished and not c.replaced),
{{template "_rows" .}}
select array[(select pg_catalog.count(*) from leaving where true{{template "_ended" .}}) - (select pg_catalog.count(*) from dropped)
  {{- range $i, $c := .Conversations.Children}},
  (select pg_catalog.count(*) from ending_{{$i}}) - (select pg_catalog.count(*) from ended_{{$i}}){{end}}]::bigint[]
{{end}}

{{/* What the messages are found by and isn't there. deletions_pkey */}}
{{define "vanished"}}{{if .Vanished "q"}}
with {{template "_fence" .}}
select {{.Vanished "q"}}::text from fence q where q.through_seq <> 0
{{end}}{{end}}
