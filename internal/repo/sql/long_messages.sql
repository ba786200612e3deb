-- The batch's messages, up to where long_start found that it reaches. Waits for
-- a locked row, for the cursor must not pass one. The messages' key forward.
with {{template "fence" .}}
delete from {{.Messages.Name}} m
where {{.Messages.MatchArgs "m"}} and m.{{.Messages.Seq}} > $6::bigint and m.{{.Messages.Seq}} <= (select batch_seq from fence)
