-- Deletes the conversation's row, if it is to go and an earlier statement of this transaction has locked it, and counts what is
-- still there, which only a trigger or a rule can have kept. Each key forward, one row.
with {{template "fence" .}},
q as materialized (select $1::text as app_id, $2::text as user_id, $3::text as conversation_id, through_seq, history_kept from fence),
seen as materialized (
  select c.part, c.id, c.ours and (q.history_kept or not {{template "remaining" .}})
    and not exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > q.through_seq) as due
  from q
  cross join lateral (
    select c.tableoid as part, c.ctid as id, pg_catalog.pg_current_xact_id()::xid in (c.xmax, c.xmin) as ours
    from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}} offset 0) c
),
gone as (
  delete from {{.Conversations.Name}} c using seen s where c.tableoid = s.part and c.ctid = s.id and s.due returning 1
)
select (select pg_catalog.count(*) from seen where due) - (select pg_catalog.count(*) from gone), 0
