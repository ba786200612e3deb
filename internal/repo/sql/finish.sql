-- Finishes the deletions of which nothing is left. An earlier statement of this
-- transaction has locked the conversations' rows: only a row that carries our
-- lock may go, for only then does this statement's snapshot hold every message
-- that its senders have committed. A row that came or was locked by somebody
-- else in between leaves its deletion unfinished.
-- Each key forward, one row; the conversations' key.
with {{template "held" .}},
seen as materialized (
  select q.*,
    {{if .Proven}}q.batch_seq is distinct from q.through_seq{{else}}not q.history_kept and {{template "remaining" .}}{{end}} as remaining,
    exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > q.through_seq) as newer,
    c.ctid is not null as row_there,
    coalesce(c.{{template "ours"}}, false) as row_held
  from held q left join {{.Conversations.Name}} c on {{.Conversations.Match "c" "q"}}
),
dropped as (
  delete from {{.Conversations.Name}} c using seen q
  where {{.Conversations.Match "c" "q"}} and not q.remaining and not q.newer and c.{{template "ours"}}
)
{{- if .Conversations.Unread}},
recounted as (
  update {{.Conversations.Name}} c
  set {{.Conversations.Unread}} = least(c.{{.Conversations.Unread}}, (
    select count(*) from (
      select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > q.through_seq
      limit greatest(c.{{.Conversations.Unread}}, 0)) n))
  from seen q
  where {{.Conversations.Match "c" "q"}} and not q.remaining and q.newer and c.{{template "ours"}} and c.{{.Conversations.Unread}} > 0
)
{{- end}}
update lethe.deletions d
set state = 'done', completed_at = clock_timestamp(), conversation_removed = not (q.row_there and q.newer),
  multi_client_sync = coalesce((select a.multi_client_sync from lethe.apps a where a.app_id = d.app_id), false),
  cursor_seq = q.through_seq, batch_seq = null, lease_token = null, lease_until = null
from seen q
where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id
  and not q.remaining and (not q.row_there or q.row_held)
returning q.ord
