{{/* The messages that this transaction has locked, among the first $5 of a deletion that lie at or below its boundary. The
limit comes before the filter, or a huge history would be walked to its end. */}}
{{define "locked"}}(
    select * from (
      select m.xmax as lethe_holder, m.tableoid as lethe_part, m.ctid as lethe_row, {{.Hooks "m"}} from {{.Messages.Name}} m
      where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq and not q.history_kept
      order by m.{{.Messages.Seq}} limit $5) l
    where l.lethe_holder = pg_catalog.pg_current_xact_id()::xid){{end}}
