-- Which of a page's deletions are to be done again: something of what they removed is there, or the ledger doesn't know that they
-- are done. Locks nothing. Each key forward, mostly to its first row; deletions_pkey
with q as materialized (
  select *
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[], $7::boolean[]) with ordinality
    as q (app_id, command_id, conversation_id, user_id, through_seq, completed_at, history_kept, ord)
)
select q.ord
from q
left join lateral (
  select d.state from lethe.deletions d
  where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id limit 1) d on true
where d.state is distinct from 'done' or not q.history_kept and {{template "restored" .}}
order by q.ord
