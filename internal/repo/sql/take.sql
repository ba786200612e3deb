-- Takes up the commands that the ledger doesn't know yet, and deletes up to $9 messages of each of their deletions and up to $10
-- in all, oldest first, and up to $10 rows of each table that hangs on them. A row whose writer holds its message meanwhile is not
-- seen here: the proof that nothing is left finds it, and the long way removes it.
-- The key of the commands makes a command's content unique, and whoever has entered it works on it alone; sorted, so that two workers never wait for each other in a circle. A boundary is the greatest seq sent by the time at which
-- the stream stored the command, or the one asked for, but never past the newest message. Locks the conversations' rows too.
-- Boundaries and counts, in the order of the arrays, go to the later statement as settings of the transaction; the ledger's
-- rows are written once, by that one.
-- commands_pkey; the messages' key backward and forward, the conversations'. One scan takes all rows by their places: a scan for
-- each would ask for the table's size each time (2 us a row).
with q as materialized (
  select *
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[], $7::boolean[], $8::bytea[])
    with ordinality as q (app_id, command_id, conversation_id, user_id, through_seq, stored_at, history_kept, digest, ord)
),
entered as (
  insert into lethe.commands (app_id, command_id, digest)
  select distinct q.app_id, q.command_id, q.digest from q
  order by q.app_id, q.command_id
  on conflict do nothing
  returning app_id, command_id, digest
),
taken as materialized (
  select q.ord, q.app_id, q.user_id, q.conversation_id, q.history_kept, {{.Boundary "q" "through_seq"}} as through_seq
  from q
  where (q.app_id, q.command_id, q.digest) in (select e.app_id, e.command_id, e.digest from entered e)
),
conversations as materialized (
  select pg_catalog.count(*) as n from (
    select from taken q cross join lateral (
      select c.ctid as id from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}}
      for update skip locked) c
    ) l
),
found as materialized (
  select q.ord, m.part, m.id
  from taken q cross join lateral (
    select m.tableoid as part, m.ctid as id from {{.Messages.From}} m
    where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq and not q.history_kept
    order by m.{{.Messages.Seq}} limit $9) m
  limit $10
),
gone as (
  delete from {{.Messages.From}} m where {{.Messages.At "m" "found"}}
  returning {{.Messages.Keys "m"}}
)
{{- template "taken_children" .}},
-- What somebody else has removed since it was found doesn't count; then each deletion's own are looked for among those gone.
counts as materialized (select (select pg_catalog.count(*) from gone) = (select pg_catalog.count(*) from found) as all_gone),
tally as (
  select t.ord, pg_catalog.max(t.through_seq) as through_seq, pg_catalog.count(t.message) as n
  from (
    select q.ord, null::bigint as through_seq, null::boolean as message from q
    union all select t.ord, t.through_seq, null from taken t
    union all select f.ord, null, true from found f where (select all_gone from counts)
    union all select q.ord, null, true from taken q
      cross join lateral (select from gone g where {{.Messages.Match "g" "q"}} offset 0) g
      where not (select all_gone from counts)) t
  group by t.ord
)
select pg_catalog.array_agg(n order by ord),
  array[{{range $i, $c := .RangeChildren}}{{if $i}}, {{end}}(select pg_catalog.count(*) from gone_{{$i}}){{end}}]::bigint[], -- what hung on them
  pg_catalog.set_config('lethe.through', pg_catalog.string_agg(coalesce(through_seq::text, ''), ',' order by ord), true),
  pg_catalog.set_config('lethe.deleted', pg_catalog.string_agg(n::text, ',' order by ord), true),
  (select n from conversations) -- so that it is run
from tally
