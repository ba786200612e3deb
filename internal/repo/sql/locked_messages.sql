-- For tables with foreign keys to messages: locks up to $5 messages of each
-- deletion and up to $6 in all, so that nothing new can hang on them, before
-- what hangs on them goes. The messages' key forward.
with {{template "held" .}}
select pg_catalog.count(*) from (
  select m.id
  from held q cross join lateral (
    select m.ctid as id from {{.Messages.Name}} m
    where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq and not q.history_kept
    order by m.{{.Messages.Seq}} limit $5
    for update skip locked) m
  limit $6
) l
