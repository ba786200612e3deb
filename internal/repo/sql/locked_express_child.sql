-- Deletes up to $6 rows that hang on the messages which this transaction has
-- locked, but for those that somebody else has locked. The child's key or
-- reference.
with {{template "held" .}},
found as materialized (
  select x.part, x.id
  from held q
  cross join lateral {{template "locked" .}} m
  cross join lateral (
    select x.tableoid as part, x.ctid as id from {{.Child.Name}} x where {{.Child.HangsOn "x" "m" "q"}} limit $6
    for update skip locked) x
  limit $6
)
delete from {{.Child.Name}} x using found f where x.tableoid = f.part and x.ctid = f.id
