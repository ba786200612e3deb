{{/* Rows that are found by way of others than messages, and parents, which go with the last row that refers to them. In these statements x is a row
of the child table, or a message.

Locks come first, from the messages down, in one order everywhere: the parents of a batch's rows in the order of their keys, then the rows, and then
of the other rows that refer to a parent one, which keeps it from being the last reference that somebody removes at this moment. So two
deletions never wait for each other in a circle, an insert that a foreign key ties to a parent waits or is seen, and a later statement of
the transaction knows by the locks which rows are the batch's. */}}

{{/* The messages of the batch, those above @low and up to @high. A replay spares what was sent after the deletion had finished. Pointers, once
they are locked, are known by their places: to find them takes two look-ups each. */}}
{{define "_batch"}}{{if .Messages.Pointed}}{{.Messages.From}} m where m.ctid = any (@places::text[]::tid[])
      {{- if .Messages.Partitioned}}
      and (m.tableoid, m.ctid) in (select p.part, p.place from pg_catalog.unnest(@parts::text[]::oid[], @places::text[]::tid[]) p (part, place))
      {{- end}}{{else}}{{.Messages.OfArgs "m"}} and {{.Messages.Above "m" "@low::bigint"}} and {{.Messages.AtOrBelow "m" "@high::bigint"}}
      {{- if .Replay}}
      and {{.SentBy "m" "@completed_at::timestamptz"}}
      {{- end}}{{end}}{{end}}
{{define "_first_batch"}}{{.Messages.PositionsArgs "m"}}
      {{- if .Replay}}
      and {{.SentBy "m" "@completed_at::timestamptz"}}
      {{- end}}{{end}}
{{define "_batch_order"}}{{if .Messages.Pointed}}offset 0{{else}}order by {{.Messages.Order "m"}} {{if .Messages.UniqueSeq}}offset 0{{else}}limit @limit::bigint{{end}}{{end}}{{end}}

{{/* The condition that the row x of a range is of the batch. A replay spares those of messages that stay. */}}
{{define "_in_range"}}{{.Child.MatchArgs "x"}} and x.{{.Child.Seq}} > @low::bigint and x.{{.Child.Seq}} <= @high::bigint
    {{- if .Replay}}
    and {{if not .Locked}}not {{end}}exists (select from {{.Messages.OfArgs "m"}} and m.{{.Messages.Seq}} = x.{{.Child.Seq}}
      {{- if .Locked}} and {{.SentBy "m" "@completed_at::timestamptz"}}{{end}} offset 0)
    {{- end}}{{end}}

{{/* The rows above those of the child table, from the messages of the batch, or the rows of a range, down. */}}
{{define "_above"}}
  {{- with .Child.Top}}(
    select {{$.TopKeys $.Child "x"}} from {{.Name}} x
    where {{template "_in_range" ($.Of .)}}
    order by x.{{.Seq}} offset 0) above_1
  {{- else}}(
    select {{.ChildKeys "m"}} from {{template "_batch" .}}
    {{template "_batch_order" .}}) m
  {{- end}}{{.Hops .Child .Replay}}{{end}}

{{/* The columns of the batch's rows x by which parents are found, as a query: up to @limit child rows, or all messages. */}}
{{define "_referring"}}
  {{- if not .Child}}select {{.ParentColumns "m"}} from {{template "_batch" .}} {{template "_batch_order" .}}
  {{- else if .Child.Reference}}select x.* from {{template "_above" .}}
    cross join lateral (select {{.ParentColumns "x"}}, x.tableoid::text || x.ctid::text as lethe_place from {{.Child.Name}} x where {{.Child.BelongsTo "x" .Child.Above ""}} limit @limit::bigint) x
    limit @limit::bigint
  {{- else}}select {{.ParentColumns "x"}}, x.tableoid::text || x.ctid::text as lethe_place from {{.Child.Name}} x where {{template "_in_range" .}}
    order by x.{{.Child.Seq}} limit @limit::bigint
  {{- end}}{{end}}

{{/* Locks the parents of the batch's rows. The way to the rows; the parents' keys. */}}
{{define "_lock_parents"}}{{if .Parents}}
select {{range $i, $p := .Parents}}{{if $i}},
{{end}}(select pg_catalog.count(*) from (
  select from (select distinct {{$p.Columns "x"}} from (
    {{- if and $.Messages.Pointed (not $.Child)}}select {{$.ParentColumns "m"}} from {{template "_first_batch" $}} limit @limit::bigint
    {{- else}}{{template "_referring" $}}{{end}}) x order by {{$p.Columns "x"}} offset 0) x
  cross join lateral (select from {{$p.Name}} p where {{$p.Refers "x" "p"}} for update) p) l)
{{- end}}
{{end}}{{end}}

{{/* Locks the batch's child rows: none can come to refer to them then. The way to the rows. */}}
{{define "_lock_rows"}}{{if or .Parents .Below}}
select pg_catalog.count(*) from (
{{- if .Child.Reference}}
  select from {{template "_above" .}}
  cross join lateral (select from {{.Child.Name}} x where {{.Child.BelongsTo "x" .Child.Above ""}} limit @limit::bigint for update) x
  limit @limit::bigint
{{- else}}
  select from {{.Child.Name}} x where {{template "_in_range" .}}
  order by x.{{.Child.Seq}} limit @limit::bigint for update
{{- end}}) l
{{end}}{{end}}

{{/* The condition that the row r, of the table of the batch's rows, is none of them: it isn't locked, or only because another parent needs it. */}}
{{define "_outside"}}{{if .Child}}(not {{.Ours "r"}}
        or r.tableoid::text || r.ctid::text not in (select b.lethe_place from batch b)){{else}}{{.OutsideBatch "r" .Replay}}{{end}}{{end}}

{{/* Locks, for each parent of the batch's rows, one other row that refers to it: one that nobody is changing, or else whoever removes or changes it
is waited for. An update takes a reference away, too, and no foreign key makes it wait for the parent's lock. The way to
the rows; the parents' keys; the references to the parents. */}}
{{define "_lock_keepers"}}{{if .Parents}}
with batch as materialized ({{template "_referring" .}})
select {{range $i, $p := .Parents}}{{if $i}},
{{end}}{{range $j, $r := $p.Referrers}}{{if $j}},
{{end}}(select pg_catalog.count(*) from (
  select from (select distinct {{$p.Columns "x"}} from batch x offset 0) x
  cross join lateral (select {{$p.Targets "p"}} from {{$p.Name}} p where {{$p.Refers "x" "p"}} offset 0) p
  cross join lateral (
    select from (select from {{$r.Name}} r where {{$r.Refers "r" "p"}}{{if $r.Own}} and {{template "_outside" $}}{{end}} and r.xmax = '0'::xid limit 1 for key share) free
    union all
    select from (select from {{$r.Name}} r where {{$r.Refers "r" "p"}}{{if $r.Own}} and {{template "_outside" $}}{{end}} limit 1 for share) touched
    limit 1) r) l)
{{- end}}{{end}}
{{end}}{{end}}

{{define "step_lock_parents"}}{{template "_lock_parents" .}}{{end}}
{{define "step_lock_keepers"}}{{template "_lock_keepers" .}}{{end}}
{{define "child_lock_parents"}}{{template "_lock_parents" .}}{{end}}
{{define "child_lock"}}{{template "_lock_rows" .}}{{end}}
{{define "child_lock_keepers"}}{{template "_lock_keepers" .}}{{end}}
{{define "replay_lock_parents"}}{{template "_lock_parents" .Replaying}}{{end}}
{{define "replay_lock_keepers"}}{{template "_lock_keepers" .Replaying}}{{end}}
{{define "child_replay_lock_parents"}}{{template "_lock_parents" .Replaying}}{{end}}
{{define "child_replay_lock"}}{{template "_lock_rows" .Replaying}}{{end}}
{{define "child_replay_lock_keepers"}}{{template "_lock_keepers" .Replaying}}{{end}}

{{/* Deletes a row x, or, of a table whose rows stay, its reference. */}}
{{define "_remove"}}{{if and .Child .Child.Set}}update {{.Child.From}} x set {{.Child.Set}}{{else}}delete from {{.Table.From}} x{{end}}{{end}}

{{/* The condition that no child row refers to the row x. */}}
{{define "_childless"}}
  {{- range .Below}}
  and not exists (select from {{.Name}} y where {{.BelongsTo "y" "x" ""}} offset 0)
  {{- end}}{{end}}

{{/* The condition that nothing refers to the row x which is to go before it: no child row, and no child row of a parent that goes with
it. What the parents are has been decided by the locks: one that isn't locked is for the next step. */}}
{{define "_free"}}{{template "_childless" .}}
  {{- range .Parents}}
  and not exists (select from {{.Name}} p where {{.Refers "x" "p"}} and (not {{$.Ours "p"}}
    {{- if .Children}} or {{$.Doomed . "p" $.Replay}} and ({{range $i, $c := .Children}}{{if $i}} or {{end}}exists (select from {{$c.Name}} y where {{$c.BelongsTo "y" "p" ""}} offset 0){{end}}){{end}}) offset 0)
  {{- end}}{{end}}

{{/* Of the rows x that found lists those go that are free, as many as there is time for, but some of them even where finding them took
all of it, and each parent with the last of the rows that
refer to it: all that this statement sees of them are among those that go, and no other table has one. Returns how many rows were
found, how many went, how many parents were to go and how many went, which is less where a trigger keeps one.
The rows' places; the parents' keys and the references to them. */}}
{{define "_with_parents"}}gone as (
  {{template "_remove" .}}
  where {{.Table.At "x" "found"}}{{template "_free" .}}
    and pg_catalog.clock_timestamp() < (select greatest(pg_catalog.now() + {{if .Child}}@child_time{{else}}@time{{end}}::interval, pg_catalog.clock_timestamp() + @least::interval))
  returning {{.ParentColumns "x"}}, x.tableoid as part, x.ctid as id
)
{{- range $i, $p := .Parents}},
due_{{$i}} as materialized (
  select p.part, p.id
  from (select {{$p.Columns "g"}}, pg_catalog.count(*) as n from gone g group by {{$p.Columns "g"}}) g
  cross join lateral (
    select p.tableoid as part, p.ctid as id from {{$p.Name}} p
    where {{$p.Refers "g" "p"}}
      {{- range $k, $earlier := $.Parents}}{{if and (lt $k $i) (eq $earlier.Name $p.Name)}}
      and (p.tableoid, p.ctid) not in (select d.part, d.id from due_{{$k}} d)
      {{- end}}{{end}}
      {{- range $p.Children}}
      and not exists (select from {{.Name}} y where {{.BelongsTo "y" "p" ""}} offset 0)
      {{- end}}
      {{- range $j, $r := $p.Referrers}}
      {{- if $j}}
      and not exists (select from {{$r.Name}} r where {{$r.Refers "r" "p"}}
        {{- if $r.Own}} and (r.tableoid, r.ctid) not in (select o.part, o.id from gone o){{end}} offset 0)
      {{- else}}
      and (select pg_catalog.count(*) from (select from {{$r.Name}} r where {{$r.Refers "r" "p"}} limit g.n + 1) r) = g.n
      {{- end}}{{end}}
    offset 0) p
),
parents_{{$i}} as (
  delete from {{$p.From}} p where {{$p.At "p" (printf "due_%d" $i)}}
  returning 1
)
{{- end}}
select (select pg_catalog.count(*) from found), (select pg_catalog.count(*) from gone),
  array[{{range $i, $p := .Parents}}{{if $i}}, {{end}}(select pg_catalog.count(*) from due_{{$i}}){{end}}]::bigint[],
  array[{{range $i, $p := .Parents}}{{if $i}}, {{end}}(select pg_catalog.count(*) from parents_{{$i}}){{end}}]::bigint[]{{end}}

{{/* The batch's messages that are locked, and their parents. The messages' key forward. */}}
{{define "_messages_with_parents"}}
with found as materialized (select m.tableoid as part, m.ctid as id from {{template "_batch" .}} and {{.Ours "m"}}),
{{template "_with_parents" .}}
{{end}}
