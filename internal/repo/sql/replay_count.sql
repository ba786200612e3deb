-- Looks at up to $7 messages above $4 and says how far they reach, how many they are and how many of them a replay would
-- delete. Locks and changes nothing. The messages' key forward.
select coalesce(pg_catalog.max(s.seq), $5::bigint), pg_catalog.count(*), pg_catalog.count(*) filter (where s.goes)
from (
  select m.{{.Messages.Seq}}::bigint as seq, m.{{.Messages.SentAt}} <= {{.Moment "$6::timestamptz"}} as goes from {{.Messages.Name}} m
  where {{.Messages.MatchArgs "m"}} and m.{{.Messages.Seq}} > $4::bigint and m.{{.Messages.Seq}} <= $5::bigint and {{template "app"}}
  order by m.{{.Messages.Seq}} limit $7::bigint) s
