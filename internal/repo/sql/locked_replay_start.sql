-- For tables with foreign keys to messages: locks the batch, up to $7 messages above $4, in order, and tells how far it
-- reaches and how many of them are to go. The messages' key forward.
with batch as materialized (
  select pg_catalog.max(s.seq) as seq, pg_catalog.count(*) as n, pg_catalog.count(*) filter (where s.goes) as going
  from (
    select m.{{.Messages.Seq}}::bigint as seq, m.{{.Messages.SentAt}} <= {{.Moment "$6::timestamptz"}} as goes from {{.Messages.Name}} m
    where {{.Messages.MatchArgs "m"}} and m.{{.Messages.Seq}} > $4::bigint and m.{{.Messages.Seq}} <= $5::bigint and {{template "free"}}
    order by m.{{.Messages.Seq}} limit $7::bigint
    for update) s
),
reach as materialized (
  select case when n < $7::bigint then $5::bigint else seq end as seq, n < $7::bigint as last, n, going from batch where {{template "free"}}
)
select pg_catalog.set_config('lethe.reach', r.seq::text, true)::bigint, pg_catalog.set_config('lethe.last', r.last::text, true)::boolean, r.n, r.going
from reach r
