-- In which of the plan's tables the deletion has rows, the messages' and the conversations' first. Of what refers to messages
-- by a reference, only the first 1,000 are asked. Each key forward, one row.
select array[
  exists (select from {{.Messages.Name}} m where {{.Messages.MatchArgs "m"}}),
  exists (select from {{.Conversations.Name}} c where {{.Conversations.MatchArgs "c"}})
  {{- range .Children}},
  {{- if .Reference}}
  exists (
    select from (
      select {{$.Hooks "m"}} from {{$.Messages.Name}} m where {{$.Messages.MatchArgs "m"}} order by m.{{$.Messages.Seq}} limit 1000) m
    cross join lateral (select from {{.Name}} x where {{.HangsOn "x" "m" "q"}} limit 1) x)
  {{- else}}
  exists (select from {{.Name}} x where {{.MatchArgs "x"}})
  {{- end}}
  {{- end}}]::boolean[]
where $1::text is not null
