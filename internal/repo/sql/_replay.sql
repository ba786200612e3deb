{{/* Parts that the statements of a replay share: what is to go is at or below the boundary, and was sent by the time at which the deletion
finished. After a restore seqs may have been used twice, so that a message at or below the boundary may be newer than the deletion. */}}

{{/* Gives the app's parameter a type, which a plan for one app doesn't use. */}}
{{define "app"}}$1::text is not null{{end}}

{{/* Nothing may change while the lane is held; see held.sql. */}}
{{define "free"}}{{template "app"}} and coalesce(pg_catalog.current_setting('lethe.throttled', true), '') = ''{{end}}

{{/* Whether anything is left that the deletion under the alias q had removed. What hangs on a message that has gone is
among it; where messages are locked first, nothing can hang on one that has gone. */}}
{{define "restored"}}(
    exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq and m.{{.Messages.SentAt}} <= {{.Moment "q.completed_at"}})
    {{- if not .Locked}}{{range .RangeChildren}}
    or exists (select from {{.Name}} x where {{.Match "x" "q"}} and x.{{.Seq}} <= q.through_seq
      and not exists (select from {{$.Messages.Name}} m where {{$.Messages.Match "m" "q"}} and m.{{$.Messages.Seq}} = x.{{.Seq}} offset 0))
    {{- end}}{{end}}
  ){{end}}

{{/* The newest message of the conversation of q: whether there is one, and whether it is newer than the deletion. */}}
{{define "newest"}}(
    select pg_catalog.count(*) > 0 as there, coalesce(pg_catalog.bool_or(m.seq > q.through_seq or m.by_then is not true), false) as newer
    from (
      select m.{{.Messages.Seq}}::bigint as seq, m.{{.Messages.SentAt}} <= {{.Moment "q.completed_at"}} as by_then
      from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}}
      order by m.{{.Messages.Seq}} desc limit 1) m){{end}}
