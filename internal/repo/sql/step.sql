{{/* The pipeline of one deletion: a batch of it, in one transaction of a few round trips.
step_permit, step_throttles; step_range or replay_range; step_mark, step_lock; step_messages and child_step, step_late; step_note; then finish.sql. */}}

{{/* A permit, which all workers of the database share: one of @permits advisory locks of the class @class, which ends with the
transaction. None is waited for. */}}
{{define "step_permit"}}
select n from pg_catalog.generate_series(1, @permits::int) n where pg_catalog.pg_try_advisory_xact_lock(@class::int, n) limit 1
{{end}}

{{/* What throttles the long lane of all workers, and for how long. throttles_pkey */}}
{{define "step_throttles"}}
select t.reason, t.detail, coalesce(extract(epoch from t.until - pg_catalog.clock_timestamp()), 0)::float8
from lethe.throttles t
where t.until is null or t.until > pg_catalog.clock_timestamp()
order by t.lane, t.reason limit 1
{{end}}

{{/* Locks the ledger's row and chooses the batch: messages above @low (or the cursor, where @claim is set) and up to how far. Where no two
messages have one position and @dense is set, as many positions as the limit hold no more messages than that, and nothing has to be
looked at but the first. Otherwise an index scan counts them off. A cursor that has reached the boundary, with no proof that nothing is left, starts
over: something came in below it. No row: the lease is not ours.
deletions_pkey; the messages' key forward. */}}
{{define "step_range"}}{{if .Messages.Pointed}}
with {{template "_fence" .}}
select {{template "_walked" .}}, r.history_kept, r.messages_deleted, {{template "_positions" .}}
from (
  select f.through_seq, f.history_kept, f.messages_deleted, {{template "_low" .}} as low
  from fence f
  offset 0) r
{{- template "_walk" .}}
{{else}}
with {{template "_fence" .}}
select r.low, r.first, {{template "_high" .}}, {{template "_crowded" .}}, r.through_seq, r.history_kept, r.messages_deleted
from (
  select q.*, case when q.history_kept then null else (
    select {{.Messages.Position "m"}} from {{.Messages.OfArgs "m"}}
      and {{.Messages.Above "m" "q.low"}} and {{.Messages.AtOrBelow "m" "q.through_seq"}}
    order by {{.Messages.Order "m"}} limit 1) end as first
  from (
    select f.through_seq, f.history_kept, f.messages_deleted,
      {{template "_low" .}} as low
    from fence f) q
  offset 0) r
{{- template "_ends" .}}
{{end}}{{end}}

{{define "_low"}}case when not @claim::boolean then @low::bigint
        when f.cursor_seq = 0 or f.cursor_seq >= f.through_seq then (-9223372036854775808)::bigint else f.cursor_seq end{{end}}

{{/* The batch where messages are pointers: those among the next @span rows that they may point to, whether any does, so that a step where others
have most of the rows takes no longer than one. Rows at the position of the last one count with it. The rows' key forward; the messages' reference. */}}
{{define "_walk"}}
cross join lateral (
  select pg_catalog.array_agg(s.seq) as seqs from (
    select {{.Messages.Position "m"}} as seq from {{.Messages.WalkArgs "m" "r.low" "r.through_seq"}} and not r.history_kept
      {{- if .Replay}} and {{.SentBy "m" "@completed_at::timestamptz"}}{{end}}
    order by {{.Messages.Order "m"}} limit @limit::bigint + 1) s) w
{{- template "_span_end" .}}
{{end}}
{{define "_span_end"}}
left join lateral (
  select {{.Messages.Position "m"}} as seq from {{.Messages.RowsArgs "m_at" "r.low"}}
  order by {{.Messages.Order "m"}} offset @span::bigint - 1 limit 1) e on true
{{end}}
{{define "_walked"}}r.low, w.seqs[1] as first, least(coalesce(w.seqs[@limit::bigint], e.seq, r.through_seq), r.through_seq) as high,
  coalesce(w.seqs[@limit::bigint] = w.seqs[@limit::bigint + 1], false) as crowded, r.through_seq{{end}}
{{define "_positions"}}w.seqs[:@limit::bigint] as positions{{end}}

{{define "_high"}}case when r.first is null then r.through_seq
  {{- if .Messages.UniqueSeq}}
  when @dense::boolean then least(r.through_seq, r.first::numeric - 1 + @limit::bigint)::bigint
  else coalesce((
    select {{.Messages.Position "m"}} from {{.Messages.OfArgs "m"}}
      and {{.Messages.Above "m" "r.low"}} and {{.Messages.AtOrBelow "m" "r.through_seq"}}
    order by {{.Messages.Order "m"}} offset @limit::bigint - 1 limit 1), r.through_seq) end as high
  {{- else}}
  else coalesce(e.ends[1], r.through_seq) end as high
  {{- end}}{{end}}

{{/* The positions of the last message that a batch may have, and of the one after it. If they are one, there are more messages than that in
the range, and it is worked on again until there are not. */}}
{{define "_ends"}}{{if not .Messages.UniqueSeq}}
cross join lateral (
  select pg_catalog.array_agg(s.seq) as ends from (
    select {{.Messages.Position "m"}} as seq from {{.Messages.OfArgs "m"}}
      and {{.Messages.Above "m" "r.low"}} and {{.Messages.AtOrBelow "m" "r.through_seq"}} and r.first is not null
      {{- if .Replay}} and {{.SentBy "m" "@completed_at::timestamptz"}}{{end}}
    order by {{.Messages.Order "m"}} offset @limit::bigint - 1 limit 2) s) e
{{- end}}{{end}}
{{define "_crowded"}}{{if .Messages.UniqueSeq}}false{{else}}coalesce(e.ends[1] = e.ends[2], false){{end}} as crowded{{end}}

{{/* Scans what batches have deleted above @from and up to @to. A deleted row stays in the index, and the first scan has to fetch the
row itself (0.3 us); it marks the entry as dead, so that later ones skip it (0.015 us). Done a piece at a time while the
batches run, it keeps the finishing transaction's proof short. Each key forward. */}}
{{define "step_mark"}}
select
  exists (select from {{.Messages.OfArgs "m"}} and {{.Messages.Above "m" "@from::bigint"}} and {{.Messages.AtOrBelow "m" "@to::bigint"}})
  {{- range .RangeChildren}}
  or exists (select from {{.Name}} x where {{.MatchArgs "x"}} and x.{{.Seq}} > @from::bigint and x.{{.Seq}} <= @to::bigint)
  {{- end}}
{{end}}

{{/* Locks the batch's messages, for child rows that foreign keys tie to them: none can come in between then. The messages' key. */}}
{{define "_step_lock"}}{{if .Locked}}
{{- if .Messages.Pointed}}
select pg_catalog.array_agg(l.tableoid::text), pg_catalog.array_agg(l.ctid::text) from (
  select m.tableoid, m.ctid from {{template "_first_batch" .}}
  limit @limit::bigint
{{- else}}
select pg_catalog.count(*) from (
  select from {{template "_batch" .}}
  order by {{.Messages.Order "m"}}{{if not .Messages.UniqueSeq}} limit @limit::bigint{{end}}
{{- end}}
  {{.Messages.ForUpdate}}) l
{{end}}{{end}}

{{define "step_lock"}}{{template "_step_lock" .}}{{end}}
{{define "replay_lock"}}{{template "_step_lock" .Replaying}}{{end}}

{{/* The batch's messages, as many as there is time for, and some of them even after a slow start: the clock is read for each row, in 30 ns. Of more messages with one position than a
batch has, those that were locked, if any were. Waits for a locked row, for the cursor must not
pass one. The messages' key forward. */}}
{{define "_step_messages"}}
delete from {{.Messages.Name}} m
where {{.Messages.MatchArgs "m"}} and {{.Messages.Above "m" "@low::bigint"}} and {{.Messages.AtOrBelow "m" "@high::bigint"}}
  {{- if .Replay}}
  and {{.SentBy "m" "@completed_at::timestamptz"}}
  {{- end}}
  {{- range .ReferringChildren}}
  and not exists (select from {{.Name}} x where {{.BelongsTo "x" "m" ""}} offset 0)
  {{- end}}
  {{- if and .Locked (not .Messages.UniqueSeq)}}
  and (not @locked::boolean or {{template "_locked"}})
  {{- end}}
  and pg_catalog.clock_timestamp() < (select greatest(pg_catalog.now() + @time::interval, pg_catalog.clock_timestamp() + @least::interval))
{{end}}

{{define "step_messages"}}{{if .Parents}}{{template "_messages_with_parents" .}}{{else}}{{template "_step_messages" .}}{{end}}{{end}}
{{define "replay_messages"}}{{with .Replaying}}{{if .Parents}}{{template "_messages_with_parents" .}}{{else}}{{template "_step_messages" .}}{{end}}{{end}}{{end}}

{{/* Up to @limit child rows of the batch, and how many of them went. After the messages, a range is enough: a writer that held a message has
committed by now, and what it wrote is seen. A replay spares those of messages that stay.
The child's key forward; the messages' key and the reference. */}}
{{define "_step_child"}}
with found as materialized (
  {{- if .Child.Reference}}
  select {{if .Child.Many}}distinct {{end}}x.part, x.id
  from {{template "_above" .}}
  cross join lateral (select x.tableoid as part, x.ctid as id from {{.Child.From}} x where {{.Child.BelongsTo "x" .Child.Above ""}}
    {{- if or .Parents (and .Loose .Below)}} and {{.Ours "x"}}{{end}} limit @limit::bigint) x
  limit @limit::bigint
  {{- else}}
  select x.tableoid as part, x.ctid as id from {{.Child.From}} x
  where {{template "_in_range" .}}
    {{- if or .Parents (and .Loose .Below)}} and {{.Ours "x"}}{{end}}
  order by x.{{.Child.Seq}} limit @limit::bigint
  {{- end}}
),
{{- if .Parents}}
{{template "_with_parents" .}}
{{- else}}
gone as (
  {{template "_remove" .}} where {{.Child.At "x" "found"}} and pg_catalog.clock_timestamp() < (select greatest(pg_catalog.now() + @child_time::interval, pg_catalog.clock_timestamp() + @least::interval)){{template "_free" .}}
  returning 1
)
select (select pg_catalog.count(*) from found), (select pg_catalog.count(*) from gone)
{{- end}}
{{end}}

{{define "child_step"}}{{template "_step_child" .}}{{end}}
{{define "child_replay"}}{{template "_step_child" .Replaying}}{{end}}

{{/* Whether the transaction has taken so long. */}}
{{define "step_late"}}
select pg_catalog.clock_timestamp() >= pg_catalog.now() + @late::interval
{{end}}

{{/* Counts what was deleted, moves the cursor, renews the lease. deletions_pkey */}}
{{define "step_note"}}
update lethe.deletions d
set messages_deleted = d.messages_deleted + @deleted::bigint, cursor_seq = greatest(d.cursor_seq, @cursor::bigint),
  lease_until = pg_catalog.clock_timestamp() + @lease::interval, waiting_for = null, waiting_detail = null
where {{template "_entry"}} and d.lease_token = @token::uuid
returning 0::bigint, null::bytea, {{template "_record"}}
{{end}}
