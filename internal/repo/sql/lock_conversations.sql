-- Locks the conversation's row, and waits for it, before a later statement looks
-- for newer messages: a sender's upsert then waits for us and inserts the row
-- anew, or we see its message. The conversations' key.
with {{template "held" .}}
select pg_catalog.count(*) from (
  select from held q cross join lateral (
    select c.ctid as id from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}}
    for update) c
) l
