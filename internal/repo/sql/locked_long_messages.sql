-- The batch's messages on which nothing hangs any more. The messages' key
-- forward, each child's key or reference. Offset 0 keeps the planner from a join
-- that would use only a part of the child's key.
with {{template "fence" .}},
gone as (
  delete from {{.Messages.Name}} m using fence q
  where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > $5 and m.{{.Messages.Seq}} <= q.batch_seq
  {{- range .Children}}
    and not exists (select from {{.Name}} x where {{.HangsOn "x" "m" "q"}} offset 0)
  {{- end}}
  returning 1
)
update lethe.deletions d set messages_deleted = d.messages_deleted + (select count(*) from gone)
from fence q
where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id
returning (select count(*) from gone)
