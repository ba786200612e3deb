-- One batch: looks at up to $7 messages above $4, in order, and deletes those sent by $6. Waits for a locked row. Tells the
-- later statements how far it reaches, and whether that is the boundary, by settings of the transaction.
-- The messages' key forward.
with batch as materialized (
  select pg_catalog.max(s.seq) as seq, pg_catalog.count(*) as n
  from (
    select m.{{.Messages.Seq}}::bigint as seq from {{.Messages.Name}} m
    where {{.Messages.MatchArgs "m"}} and m.{{.Messages.Seq}} > $4::bigint and m.{{.Messages.Seq}} <= $5::bigint and {{template "free"}}
    order by m.{{.Messages.Seq}} limit $7::bigint) s
),
reach as materialized (
  select case when n < $7::bigint then $5::bigint else seq end as seq, n < $7::bigint as last, n from batch where {{template "free"}}
),
gone as (
  delete from {{.Messages.Name}} m
  where {{.Messages.MatchArgs "m"}} and m.{{.Messages.Seq}} > $4::bigint and m.{{.Messages.Seq}} <= (select seq from reach)
    and m.{{.Messages.SentAt}} <= {{.Moment "$6::timestamptz"}}
  returning 1
)
select pg_catalog.set_config('lethe.reach', r.seq::text, true)::bigint, pg_catalog.set_config('lethe.last', r.last::text, true)::boolean, r.n, (select pg_catalog.count(*) from gone)
from reach r
