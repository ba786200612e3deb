-- Deletes up to $5 messages of each deletion and up to $6 in all, oldest first.
{{- if .SkipLocked}}
-- Skips what others have locked; a later statement proves what is left.
{{- end}}
-- The messages' key forward.
with {{template "held" .}},
{{- if .SkipLocked}}
found as materialized (
  select q.ord, m.part, m.id
  from held q cross join lateral (
    select m.tableoid as part, m.ctid as id from {{.Messages.Name}} m
    where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq and not q.history_kept
    order by m.{{.Messages.Seq}} limit $5
    for update skip locked) m
  limit $6
),
gone as (
  delete from {{.Messages.Name}} m using found f where m.tableoid = f.part and m.ctid = f.id returning f.ord
),
{{- else}}
found as materialized (
  select s.ord, max(s.seq) as seq
  from (
    select q.ord, m.seq
    from held q cross join lateral (
      select m.{{.Messages.Seq}} as seq from {{.Messages.Name}} m
      where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq and not q.history_kept
      order by m.{{.Messages.Seq}} limit $5) m
    limit $6) s
  group by s.ord
),
-- One row with both: from two, the planner may take the upper end for a filter
-- and walk to the conversation's end.
span as materialized (select q.*, f.seq as upto from held q join found f on f.ord = q.ord),
gone as (
  delete from {{.Messages.Name}} m using span q
  where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.upto
  returning q.ord
),
{{- end}}
counted as (select ord, count(*) as n from gone group by ord),
noted as (
  update lethe.deletions d set messages_deleted = d.messages_deleted + c.n
  from counted c join held q on q.ord = c.ord
  where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id
)
select ord, n from counted
