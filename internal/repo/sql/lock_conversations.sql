-- Locks the conversations' rows before a later statement looks for newer
-- messages: a sender's upsert then waits for us and inserts the row anew, or we
-- see its message. The conversations' key.
with {{template "held" .}}
select count(*) from (
  select from held q join {{.Conversations.Name}} c on {{.Conversations.Match "c" "q"}}
  order by q.ord
  for update of c{{if .SkipLocked}} skip locked{{end}}
) l
