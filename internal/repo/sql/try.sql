{{/* The dry run: what a deletion would do, in transactions that only read. Those with an underscore are made for one call, for they have
expressions for the size of a row in them. */}}

{{/* The columns of each of the @tables that this role may read, whether those are all of them, and the average size of a row by the
size of the tables with the rows. */}}
{{define "try_columns"}}
select t.ord - 1,
  array(select pg_catalog.quote_ident(a.attname) from pg_catalog.pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and pg_catalog.has_column_privilege(c.oid, a.attnum, 'select') order by a.attnum),
  not exists (select from pg_catalog.pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and not pg_catalog.has_column_privilege(c.oid, a.attnum, 'select')),
  coalesce((
    with recursive tree (oid) as (
      select c.oid union select i.inhrelid from tree t join pg_catalog.pg_inherits i on i.inhparent = t.oid)
    select pg_catalog.sum(pg_catalog.pg_table_size(p.oid)) / nullif(pg_catalog.sum(greatest(p.reltuples, 0)), 0)
    from tree t join pg_catalog.pg_class p on p.oid = t.oid), 0)::bigint
from pg_catalog.unnest(@tables::text[]) with ordinality t (name, ord)
join pg_catalog.pg_class c on c.oid = t.name::regclass
order by t.ord
{{end}}

{{/* Whether setup has yet to run. A name would be an error where the role may not use the schema. */}}
{{define "try_ledgerless"}}
select not exists (
  select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = 'lethe' and c.relname = 'deletions')
{{end}}

{{/* How fast the last large deletions were: messages a second, from when they were taken up until they were done. commands_created_at
backward; deletions_pkey. */}}
{{define "try_pace"}}
select d.messages_deleted / greatest(extract(epoch from d.completed_at - d.created_at), 0.001)::float8
from (select c.app_id, c.command_id, c.created_at from lethe.commands c order by c.created_at desc limit 10000) c
cross join lateral (
  select d.messages_deleted, d.completed_at, d.created_at from lethe.deletions d
  where d.app_id = c.app_id and d.command_id = c.command_id and d.state = 'done' and d.messages_deleted >= @large::bigint and d.attempts = 0 offset 0) d
order by c.created_at desc limit 20
{{end}}

{{/* What workers have noted to throttle large deletions, for now. throttles_pkey */}}
{{define "try_throttles"}}
select t.reason, coalesce(t.detail, '') from lethe.throttles t where t.until > pg_catalog.clock_timestamp() order by t.reason
{{end}}

{{/* Unfinished deletions of the same conversation. deletions_under_way */}}
{{define "try_under_way"}}
select 'command ' || d.command_id || ' deletes the same conversation, and is ' || d.state
from lethe.deletions d
where d.app_id = @app::text and d.user_id = @user::text and d.conversation_id = @conversation::text and d.state in ('pending', 'running')
order by d.command_id limit 3
{{end}}

{{/* Who has locked rows for which transactions stand in xmax, in one line for people each. */}}
{{define "try_holders"}}
select {{template "_session"}}
from pg_locks l join lethe.sessions() s on s.pid = l.pid
where l.locktype = 'transactionid' and l.granted and l.mode = 'ExclusiveLock' and l.transactionid::text = any (@transactions::text[])
order by s.xact_start limit 3
{{end}}

{{/* The boundary as a deletion would pin it at this moment, the newest position, and what the plan looks up in vain. */}}
{{define "_try_boundary"}}
select {{.Boundary "q" "wanted"}},
  (select {{.Messages.Position "m"}} from {{.Messages.Of "m" "q"}} order by {{.Messages.Order "m"}} desc limit 1),
  {{with .Missing "q"}}{{.}}{{else}}null::text{{end}}
from (select @app::text as app_id, @user::text as user_id, @conversation::text as conversation_id, @wanted::bigint as wanted, pg_catalog.now() as stored_at) q
{{end}}

{{/* Of a shared log: whether the user has a row as a member, and it counts; through which position they have cleared the log; how many members count; the
floor after a deletion through @through, null without members; who keeps messages at or below @through: how many members, and the first of them with the
positions that they have cleared. The members' index by conversation; watermarks_pkey; deletions_pkey. */}}
{{define "_try_log"}}
with q as materialized (select @app::text as app_id, @user::text as user_id, @conversation::text as conversation_id, @through::bigint as through_seq),
own as materialized (
  select pg_catalog.count(*) > 0 as member, coalesce(pg_catalog.bool_or(x.counts), false) as counts, pg_catalog.max(x.cleared) as cleared
  from q cross join lateral (
    select {{.Members.Counts "x"}} as counts, {{template "_cleared" .}} as cleared from {{.Members.Name}} x where {{.Members.Match "x" "q"}} offset 0) x
),
members as materialized (
  select m.* from q cross join lateral (
    select {{.Members.UserID "x"}} as name, {{template "_cleared_by" .}} as cleared, {{.Members.Match "x" "q"}} as own from {{template "_counting" .}} offset 0) m
)
select o.member, o.counts, greatest(o.cleared
  {{- if not .Ledgerless}}, (select w.cleared_through from lethe.watermarks w where w.app_id = q.app_id and w.user_id = @log_user::text and w.conversation_id = @log_conversation::text){{end}}),
  (select pg_catalog.count(*) from members),
  greatest((select pg_catalog.min(case when m.own then greatest(m.cleared, q.through_seq) else m.cleared end) from members m)
  {{- if not .Ledgerless}}, (select d.through_seq from lethe.deletions d where d.app_id = q.app_id and d.command_id = '' and d.user_id = '' and d.conversation_id = q.conversation_id){{end}}),
  (select pg_catalog.count(*) from members m where m.cleared < q.through_seq and not m.own),
  array(select m.name from members m where m.cleared < q.through_seq and not m.own order by m.cleared, m.name limit 5),
  array(select m.cleared from members m where m.cleared < q.through_seq and not m.own order by m.cleared, m.name limit 5)
from q cross join own o
{{end}}

{{/* When the newest message that goes and the oldest that stays were sent, by their positions. The messages' key. */}}
{{define "_try_times"}}
select
  (select {{.SentMicros "m"}} from {{.Messages.OfArgs "m"}} and {{.Messages.AtOrBelow "m" "@through::bigint"}} order by {{.Messages.Order "m"}} desc limit 1),
  (select {{.SentMicros "m"}} from {{.Messages.OfArgs "m"}} and {{.Messages.Above "m" "@through::bigint"}} order by {{.Messages.Order "m"}} limit 1)
{{end}}

{{/* Where the page of @limit messages above @low ends. The messages' key forward. */}}
{{define "_try_page"}}
select coalesce((
  select {{.Messages.Position "m"}} from {{.Messages.OfArgs "m"}} and {{.Messages.Above "m" "@low::bigint"}} and {{.Messages.AtOrBelow "m" "@through::bigint"}}
  order by {{.Messages.Order "m"}} offset @limit::bigint - 1 limit 1), @through::bigint)
{{end}}

{{/* How many messages the page has. The messages' key forward. */}}
{{define "_try_count"}}
select pg_catalog.count(*) from (select {{template "_try_page_of" .}}) x
{{end}}

{{/* The page's messages. The messages' key forward. */}}
{{define "_try_page_of"}}from {{.Messages.OfArgs "m"}} and {{.Messages.Above "m" "@low::bigint"}} and {{.Messages.AtOrBelow "m" "@high::bigint"}} offset 0{{end}}

{{/* How many they are, and their bytes. The messages' key forward, and where they lie. */}}
{{define "_try_messages"}}
select pg_catalog.count(*), coalesce(pg_catalog.sum(x.bytes), 0)::bigint, 0::bigint from
{{- if .Messages.Pointed}} (select m.tableoid as part, m.ctid as id {{template "_try_page_of" .}}) m
cross join lateral (select {{.Size .Messages.Name}} as bytes from {{.Messages.Name}} x where x.ctid = m.id and x.tableoid = m.part offset 0) x
{{- else}} (
  select {{.Size .Messages.Name}} as bytes from {{.Messages.OfArgs "x"}} and {{.Messages.Above "x" "@low::bigint"}} and {{.Messages.AtOrBelow "x" "@high::bigint"}} offset 0) x
{{- end}}
{{end}}

{{/* The rows x of a child table that belong to the page. The child's key; the messages' key and the references. */}}
{{define "_try_rows"}}
  {{- if .Child.Reference}}
  {{- with .Child.Top}}(select {{$.TopKeys $.Child "x"}} from {{.Name}} x where {{.MatchArgs "x"}} and x.{{.Seq}} > @low::bigint and x.{{.Seq}} <= @high::bigint offset 0) above_1
  {{- else}}(select {{.ChildKeys "m"}} {{template "_try_page_of" .}}) m
  {{- end}}{{.TallyHops .Child}}
  cross join lateral (select x.tableoid as part, x.ctid as id{{.RowKeys}} from {{.Child.Name}} x
    where {{.Child.BelongsToArgs "x" .Child.Above}} and not ({{.Again .Child "x"}}) offset 0) x
  {{- else}}(select x.tableoid as part, x.ctid as id{{.RowKeys}} from {{.Child.Name}} x
    where {{.Child.MatchArgs "x"}} and x.{{.Child.Seq}} > @low::bigint and x.{{.Child.Seq}} <= @high::bigint offset 0) x
  {{- end}}{{end}}

{{/* How many rows of a child table belong to the page, and their bytes. The child's key; the messages' key and the references. */}}
{{define "_try_child"}}
select pg_catalog.count(*), coalesce(pg_catalog.sum(x.bytes), 0)::bigint, 0::bigint
from (select {{if and .Child.Reference .Child.Many}}distinct on (x.part, x.id) {{end}}x.bytes from {{template "_try_rows" .}}) x
{{end}}

{{/* How many parents of the page's messages, or child rows, go with it, their bytes, and how many stay because something else refers to
them. The parent's key; each referrer's reference. */}}
{{define "_try_parent"}}
select pg_catalog.count(*) filter (where x.goes), coalesce(pg_catalog.sum(x.bytes) filter (where x.goes), 0)::bigint, pg_catalog.count(*) filter (where x.stays)
from (
  select distinct on (p.part, p.id) p.bytes, p.goes, p.stays from
  {{- if .Child}} (select x.* from {{template "_try_rows" .}}) above
  {{- else}} (select {{.ChildKeys "m"}} {{template "_try_page_of" .}}) m
  {{- end}}
  cross join lateral (
    select x.tableoid as part, x.ctid as id, {{.Size .Parent.Name}} as bytes, {{.GoesThrough .Parent .Child "x" "@high::bigint"}} as goes,
      not ({{.GoesThrough .Parent .Child "x" "@through::bigint"}}) as stays
    from {{.Parent.Name}} x where {{.Parent.Refers (or (and .Child "above") "m") "x"}} offset 0) p) x
{{end}}

{{/* The rows of a child table of the conversations, and their bytes. The child's key, or the conversations' key and the reference. */}}
{{define "_try_beside"}}
select pg_catalog.count(*), coalesce(pg_catalog.sum(x.bytes), 0)::bigint from
{{- if .Child.Reference}} (select {{.Child.Targets "c"}} from {{.Conversations.Name}} c where {{.Conversations.MatchArgs "c"}} offset 0) c
cross join lateral (select {{.Size .Child.Name}} as bytes from {{.Child.Name}} x where {{.Child.BelongsToArgs "x" "c"}} offset 0) x
{{- else}} (select {{.Size .Child.Name}} as bytes from {{.Child.Name}} x where {{.Child.MatchArgs "x"}} offset 0) x
{{- end}}
{{end}}

{{/* The conversation's rows: how many, their bytes, what they say of messages, and who may have locked them. The conversations' key. */}}
{{define "_try_row"}}
select pg_catalog.count(*), coalesce(pg_catalog.sum(bytes), 0)::bigint, coalesce(pg_catalog.max({{.Conversations.Doubt}}), ''),
  coalesce(pg_catalog.array_agg(lock) filter (where lock <> '0'), '{}')
from (
  select {{.Size .Conversations.Name}} as bytes, x.xmax::text as lock{{range $i, $t := .Conversations.Hints}}, x.{{$t}} as hint_{{$i}}{{end}}
  from {{.Conversations.Name}} x where {{.Conversations.MatchArgs "x"}} offset 0) c
{{end}}
