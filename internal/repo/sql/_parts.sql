{{/* Parts that several statements share.

No statement leaves the planner a choice that statistics could get wrong: a table that was analyzed while it was tiny must not
make a plan that walks through all of it later. So a row is looked up in a lateral query that can't be flattened (limit, offset 0, an
aggregate), and changed by where it lies (tableoid and ctid; ctid alone repeats across partitions). */}}

{{/* The deletions of a batch that are ours. $1 to $4: their keys and lease tokens, as arrays of one length. */}}
{{define "held"}}held as materialized ( -- deletions_pkey
  select t.ord, d.*
  from unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) with ordinality as t (app_id, command_id, conversation_id, token, ord)
  cross join lateral (
    select d.ctid as entry, d.app_id, d.user_id, d.conversation_id, d.lease_token, d.state, d.through_seq, d.batch_seq, d.history_kept,
      d.messages_deleted
    from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.conversation_id = t.conversation_id
    limit 1) d
  where d.lease_token = t.token and d.state = 'running' and d.through_seq is not null
){{end}}

{{/* The one deletion of a statement of the long lane, locked. $1: app, $2: user, $3: conversation, $4: command, $5: token. */}}
{{define "fence"}}fence as materialized ( -- deletions_pkey; whoever took the lease over holds another token
  select d.through_seq, d.batch_seq, d.history_kept
  from lethe.deletions d
  where {{template "entry"}} and d.lease_token = $5 and d.state = 'running' and d.through_seq is not null
    and coalesce(pg_catalog.current_setting('lethe.throttled', true), '') = '' -- held.sql
  for update
){{end}}

{{define "entry"}}d.app_id = $1::text and d.command_id = $4::text and d.conversation_id = $3::text{{end}}

{{/* Whether anything is left at or below the boundary of q. */}}
{{define "remaining"}}(
    exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} <= q.through_seq)
    {{- range .RangeChildren}}
    or exists (select from {{.Name}} x where {{.Match "x" "q"}} and x.{{.Seq}} <= q.through_seq)
    {{- end}}
  ){{end}}

{{/* Counts what was deleted (gone) in the ledger, and returns it. */}}
{{define "counted"}}counted as (select ord, entry, pg_catalog.count(*) as n from gone group by ord, entry),
noted as (
  update lethe.deletions d set messages_deleted = d.messages_deleted + c.n from counted c where d.ctid = c.entry
)
select ord, n from counted
union all select 0, n from conversations -- so that it is run where nothing is deleted{{end}}

{{/* Locks the conversations' rows before a later statement looks for newer messages: a sender's upsert then waits for us and
inserts the row anew, or we see its message. Rows that somebody else holds are passed over, and their deletions not finished. */}}
{{define "locked_rows"}}conversations as materialized (
  select pg_catalog.count(*) as n from (
    select from held q cross join lateral (
      select c.ctid as id from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}}
      for update skip locked) c
    ) l
){{end}}

{{/* Which version of the conversation's row c is there, '' for none: every change makes another one. */}}
{{define "version"}}coalesce(pg_catalog.string_agg(c.tableoid::text || ' ' || c.xmin::text, ','), ''){{end}}

{{/* The columns of the ledger's row that make a record. */}}
{{define "outcome"}}{{.}}.user_id, {{.}}.origin_device_id, {{.}}.state, {{.}}.lease_token = l.token, {{.}}.through_seq,
  {{.}}.cursor_seq, {{.}}.messages_deleted, {{.}}.history_kept, {{.}}.conversation_removed, {{.}}.multi_client_sync,
  {{.}}.requested_at, {{.}}.completed_at, {{.}}.failed_at, {{.}}.reason, {{.}}.message, {{.}}.attempts, {{.}}.last_error,
  extract(epoch from {{.}}.lease_until - pg_catalog.clock_timestamp())::float8{{end}}

{{/* Deletes up to $10 rows of each table that hang on the messages of what was taken. */}}
{{define "taken_children"}}{{range $i, $c := .RangeChildren}},
found_{{$i}} as materialized (
  select x.part, x.id
  from taken q cross join lateral (
    select x.tableoid as part, x.ctid as id from {{$c.From}} x
    where {{$c.Match "x" "q"}} and x.{{$c.Seq}} <= q.through_seq and not q.history_kept
    order by x.{{$c.Seq}} limit $10) x
  limit $10
),
gone_{{$i}} as (
  delete from {{$c.From}} x where {{$c.At "x" (printf "found_%d" $i)}}
  returning 1
)
{{- end}}{{end}}
