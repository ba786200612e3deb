-- Locks the conversation's row, and waits for it, before a later statement looks for newer messages; only in the transaction
-- that reaches the boundary, or ($4) of a deletion that kept the history. The conversations' key.
select pg_catalog.count(*) from (
  select c.ctid as id from {{.Conversations.Name}} c
  where {{.Conversations.MatchArgs "c"}} and {{template "free"}} and ($4::boolean or pg_catalog.current_setting('lethe.last', true) = 'true')
  for update) l
