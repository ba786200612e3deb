-- Up to $5 rows of a table that hangs on messages, above $4 and as far as the batch reaches, whose messages have gone; after
-- them. The child's key forward, the messages' for each row.
with found as materialized (
  select x.tableoid as part, x.ctid as id from {{.Child.Name}} x
  where {{.Child.MatchArgs "x"}} and x.{{.Child.Seq}} > $4::bigint and x.{{.Child.Seq}} <= nullif(pg_catalog.current_setting('lethe.reach', true), '')::bigint and {{template "app"}}
    and not exists (select from {{.Messages.Name}} m where {{.Messages.MatchArgs "m"}} and m.{{.Messages.Seq}} = x.{{.Child.Seq}} offset 0)
  order by x.{{.Child.Seq}} limit $5::bigint
)
delete from {{.Child.Name}} x using found f where x.tableoid = f.part and x.ctid = f.id
