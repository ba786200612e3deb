-- Walks over what batches have deleted above $4 and up to $5. A deleted row
-- stays in the index, and the first walk over it has to look at the row itself
-- (0.3 us); it marks the entry, so that later ones pass quickly (0.015 us).
-- Done before each batch, a piece at a time, it keeps the finishing
-- transaction's proof short. Not if the batch is held (held.sql). Each key
-- forward.
select
  exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > $4::bigint and m.{{.Messages.Seq}} <= $5::bigint)
  {{- range .RangeChildren}}
  or exists (select from {{.Name}} x where {{.Match "x" "q"}} and x.{{.Seq}} > $4::bigint and x.{{.Seq}} <= $5::bigint)
  {{- end}}
from (values ($1::text, $2::text, $3::text)) q (app_id, user_id, conversation_id)
where coalesce(pg_catalog.current_setting('lethe.throttled', true), '') = ''
