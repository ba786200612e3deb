{{/* What triggers that are deferred to the commit have written back, after they were made to fire. */}}

{{/* What is there now of deletions, and was gone or to go in this transaction: up to 100 messages, and child rows that are found without one, above @above
and at or below @through_seqs, null for the boundary in the ledger; and, if nothing needs it, the conversation's row, with its children that are found
without it. Each table has a number: the messages 0, the child tables, the conversations, their children. By what was looked up in this transaction, @looked_up, or as
the ledger has it. A replay spares what was sent after the deletion had finished, and the child rows of that; where child rows go first, also those that have no message.
deletions_pkey; each key forward; the conversations' key. */}}
{{define "_put_back"}}
with q as materialized (
  select q.ord, q.app_id, q.user_id, q.conversation_id, q.above, coalesce(q.wanted, q.through_seq) as through_seq
    {{- with .LookedUp "q"}}, {{.}} as looked_up{{end}}
    {{- if .Replay}}, @completed_at::timestamptz as completed_at{{end}}
  from (
    select u.ord, u.app_id, u.command_id, u.user_id, u.conversation_id, u.above, u.wanted, d.through_seq{{if .LooksUp}}, coalesce(u.pins::text[], d.looked_up) as looked_up{{end}}
    from unnest(@apps::text[], @commands::text[], @users::text[], @conversations::text[], @above::bigint[], @through_seqs::bigint[]{{if .LooksUp}}, @looked_up::text[]{{end}})
      with ordinality as u (app_id, command_id, user_id, conversation_id, above, wanted{{if .LooksUp}}, pins{{end}}, ord)
    left join lateral (
      select d.through_seq{{if .LooksUp}}, d.looked_up{{end}} from lethe.deletions d
      where d.app_id = u.app_id and d.command_id = u.command_id and d.user_id = u.user_id and d.conversation_id = u.conversation_id limit 1) d on true
    offset 0) q
),
there as materialized (
  select q.ord, {{.Messages.First "q" "q.above" "q.through_seq" (.SentInReplay "q.completed_at") 100}} as messages
    {{- range $i, $c := .RangeChildren}},
    {{- if and $.Replay $.Locked}} null::bigint[]
    {{- else}}
    array(select x.{{.Seq}}::bigint from {{.Name}} x where {{.Match "x" "q"}} and x.{{.Seq}} > q.above and x.{{.Seq}} <= q.through_seq
      {{- if $.Replay}}
      and not exists (select from {{$.Messages.Of "m" "q"}} and m.{{$.Messages.Seq}} = x.{{.Seq}} offset 0)
      {{- end}}
      order by x.{{.Seq}} limit 100)
    {{- end}} as child_{{$i}}
    {{- end}}
    {{- if .EndsConversations}},
    {{if not .Replay}}{{template "_needed" .}}{{else if .Messages.Pointed}}{{.Messages.Exists "q" "" "" ""}}{{else}}exists (select from {{.Messages.Of "m" "q"}} offset 0){{end}} as needed,
    array(select 0::bigint from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}} limit 100) as conversations
    {{- range $i, $c := .EndingChildren}},
    array(select 0::bigint from {{.Name}} x where {{.Match "x" "q"}} limit 100) as ending_{{$i}}
    {{- end}}{{end}}
  from q
)
select t.ord, p.number, pg_catalog.cardinality(p.seqs), p.seqs[1]
from there t cross join lateral (values
  (0, t.messages)
  {{- range $i, $c := .RangeChildren}}, ({{$.Sum 1 $i}}, t.child_{{$i}}){{end}}
  {{- if .EndsConversations}}
  , ({{.Sum 1 (len .RangeChildren)}}, case when not t.needed then t.conversations end)
  {{- range $i, $c := .EndingChildren}}, ({{$.Sum 2 (len $.RangeChildren) $i}}, case when not t.needed then t.ending_{{$i}} end){{end}}
  {{- end}}) p (number, seqs)
where pg_catalog.cardinality(p.seqs) > 0
order by t.ord, p.number
{{end}}

{{define "put_back"}}{{template "_put_back" .}}{{end}}
{{define "replay_put_back"}}{{template "_put_back" .Replaying}}{{end}}

{{/* How many of the @users whose members' rows were removed have one again, of at most 100. The members' key. */}}
{{define "members_put_back"}}{{if .Removes}}
with q as materialized (
  select *{{template "_look_up" .}}
  from (select @app::text as app_id, @command::text as command_id, u.user_id, @conversation::text as conversation_id from unnest(@users::text[]) u (user_id)) q
  offset 0
)
select pg_catalog.count(*) from (
  select from q cross join lateral (select from {{.Members.Name}} x where {{.Members.Match "x" "q"}} limit 1) x limit 100) l
{{end}}{{end}}
