{{/* The end of a deletion that the ledger knows: finish_prove, lock_conversation, finish. */}}

{{/* The finishing transaction's proof that nothing at or below the boundary is left, before it locks anything that a sender may
want, and which version of the conversation's row it goes with: every change of that makes another one. No row: the lease is not ours.
Each key forward. */}}
{{define "finish_prove"}}
with {{template "_fence" .}}
select q.history_kept or not {{template "_remaining" .}},
  (select {{template "_version"}} from {{.Conversations.Rows}} c where {{.Conversations.MatchArgs "c"}})
from fence q
{{end}}

{{define "_version"}}coalesce(pg_catalog.string_agg(c.tableoid::text || ' ' || c.xmin::text, ','), ''){{end}}

{{/* Locks the conversation's row, and waits for it, before a later statement looks for newer messages: a sender's upsert then
waits for us and inserts the row anew, or we see its message. The conversations' key. */}}
{{define "lock_conversation"}}{{if .Conversations.Name}}
select {{.Conversations.Doubt}}::text
from (
  select c.ctid as id{{range $i, $t := .Conversations.Hints}}, c.{{$t}} as hint_{{$i}}{{end}}
  from {{.Conversations.Name}} c where {{.Conversations.MatchArgs "c"}}
  for update) c
{{end}}{{end}}

{{/* What the plan looks up and wasn't there. deletions_pkey */}}
{{define "missing"}}{{with .Missing "d"}}
select {{.}}::text from lethe.deletions d where {{template "_entry"}}
{{end}}{{end}}

{{/* The rows of the conversation of q, and whether all of them are ours. One that has come in place of the one that the messages were looked up
by is needed by messages that the deletion doesn't know. */}}
{{define "_conversation"}}rows as materialized (
  select c.tableoid as part, c.ctid as id, c.tableoid::text || ' ' || c.xmin::text as version, {{template "_ours"}} as ours, {{if .Conversations.Name}}{{.Replaced "c"}}{{else}}false{{end}} as replaced
  from {{.Conversations.Rows}} c where {{.Conversations.MatchArgs "c"}}
),
conversation as materialized (
  select pg_catalog.count(*) > 0 as there, coalesce(pg_catalog.bool_and(c.ours), true) as ours, coalesce(pg_catalog.string_agg(c.version, ','), '') as version,
    coalesce(pg_catalog.bool_or(c.replaced), false) as replaced
  from rows c
){{end}}

{{/* Finishes a deletion of which nothing is left (@proven): lock_conversation has locked the conversation's rows. What was proven holds no
longer where a sender has changed the row since: then it is proven again.
Each key forward, one row; the conversations' key; apps_pkey, commands_pkey, deletions_pkey. */}}
{{define "finish"}}
with {{template "_fenced" .}}),
{{template "_conversation" .}},
seen as materialized (
  select q.*, c.there, c.ours and @proven::boolean and (c.version = @version::text or q.history_kept or not {{template "_remaining" .}}) as finished,
    c.replaced or {{template "_needed" .}} as newer
  from fence q cross join conversation c
),
due as materialized (select q.*, c.part, c.id from seen q cross join rows c where q.finished and not c.replaced),
{{template "_rows" .}},
written as (
  update lethe.deletions d
  set state = 'done', completed_at = pg_catalog.clock_timestamp(), conversation_removed = not (q.there and {{template "_stays" .}}),
    multi_client_sync = coalesce((select a.multi_client_sync from lethe.apps a where a.app_id = d.app_id), false),
    cursor_seq = q.through_seq, lease_token = null, lease_until = null, waiting_for = null, waiting_detail = null
  from seen q
  where {{template "_entry"}} and q.finished and (select pg_catalog.count(*) from leaving) = (select pg_catalog.count(*) from dropped){{template "_ended" .}}
  returning {{template "_record"}}
)
select 0::bigint, null::bytea, w.* from written w
union all
select 1, k.digest, d.* from (values (@app::text, @command::text, @user::text, @conversation::text)) q (app_id, command_id, user_id, conversation_id) {{template "_known"}}
where not exists (select from written)
{{end}}
