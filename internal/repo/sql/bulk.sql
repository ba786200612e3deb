{{/* The pipeline of deletions that the ledger doesn't know: bulk_take, bulk_finish. */}}

{{/* Deletes what picked lists of messages (by lethe_part and lethe_row) and their child rows: those of the messages, or, by a range, those of the deletions
in taken. */}}
{{define "_picked"}}found as (select m.lethe_ord as ord, m.lethe_part as part, m.lethe_row as id from picked m)
{{- range $i, $c := .Children}},
{{- if $c.Reference}}
found_{{$i}} as materialized (
  select x.part, x.id
  from picked m cross join lateral (
    select x.tableoid as part, x.ctid as id from {{$c.From}} x where {{$c.BelongsTo "x" "m" ""}} limit @rows::bigint) x
  limit @rows::bigint
)
{{- else}}
found_{{$i}} as materialized (
  select x.part, x.id
  from taken q cross join lateral (
    select x.tableoid as part, x.ctid as id from {{$c.From}} x
    where {{$c.Match "x" "q"}} and x.{{$c.Seq}} <= q.through_seq and not q.history_kept
    order by x.{{$c.Seq}} limit @rows::bigint
    {{- if and $.SkipLocked (not $.Locked)}}
    for update skip locked
    {{- end}}) x
  limit @rows::bigint
)
{{- end}},
gone_{{$i}} as (
  {{template "_remove" ($.Of $c)}} where {{$c.At "x" (printf "found_%d" $i)}}
  returning 1
)
{{- end}},
gone as (
  delete from {{.Messages.From}} m where {{.Messages.At "m" "found"}}
  {{- if .Locked}}{{range $i, $c := .Children}}
    and (select pg_catalog.count(*) < @rows::bigint and pg_catalog.count(*) = (select pg_catalog.count(*) from gone_{{$i}}) from found_{{$i}})
  {{- end}}{{end}}
{{end}}

{{/* Locks the messages that bulk_take is going to delete, where a child row that comes in between could stay, or one has violated a
foreign key: what the messages' lockers have committed is seen then. Waits for messages that somebody else has locked, or passes over
them. commands_pkey; the messages' key backward and forward. */}}
{{define "_bulk_lock"}}{{if .LockFirst}}
with q as materialized (
  select *{{template "_look_up" .}}
  from unnest(@apps::text[], @commands::text[], @conversations::text[], @users::text[], @wanted::bigint[], @stored_at::timestamptz[],
    @kept::boolean[], @fresh::boolean[])
    as q (app_id, command_id, conversation_id, user_id, wanted, stored_at, history_kept, fresh)
),
due as materialized (
  select q.app_id, q.user_id, q.conversation_id{{if .LooksUp}}, q.looked_up{{end}}, {{.Boundary "q" "wanted"}} as through_seq
  from q
  where q.fresh and not q.history_kept
    {{- if .Listed}} and {{template "_unknown"}}{{else}}
    and not exists (select from lethe.commands k where k.app_id = q.app_id and k.command_id = q.command_id offset 0){{end}}
)
select pg_catalog.count(*) from (
  select from due q cross join lateral (
    select from {{.Messages.Name}} m
    where {{.Messages.Match "m" "q"}} and {{.Messages.AtOrBelow "m" "q.through_seq"}}
    order by m.{{.Messages.Seq}} limit @each::bigint
    for update{{if .SkipLocked}} skip locked{{end}}) m
  limit @rows::bigint) l
{{end}}{{end}}

{{define "bulk_lock"}}{{template "_bulk_lock" .}}{{end}}
{{define "bulk_lock_unlocked"}}{{template "_bulk_lock" .Skipping}}{{end}}
{{define "bulk_lock_listed"}}{{template "_bulk_lock" .Listing}}{{end}}
{{define "bulk_lock_listed_unlocked"}}{{template "_bulk_lock" .Listing.Skipping}}{{end}}

{{/* Whether the ledger doesn't know the deletion q, of a command that names its deletions by a rule and has been entered. Where another
worker takes it up meanwhile, the key of the ledger refuses ours. deletions_pkey */}}
{{define "_unknown"}}not exists (select from lethe.deletions d
      where d.app_id = q.app_id and d.command_id = q.command_id and d.user_id = q.user_id and d.conversation_id = q.conversation_id offset 0){{end}}

{{/* Takes up the commands that the ledger doesn't know yet, and deletes up to @each messages of each of their deletions and up to @rows
in all, oldest first, and up to @rows of each table's child rows. A row whose writer holds its message meanwhile is not
seen here: the proof that nothing is left finds it, and single steps remove it; what no proof could find bulk_lock prevents. A foreign key
is checked when the statement is over, and by then child rows and messages have gone alike; where they are tied together no message goes
unless all child rows that were found have gone.
The key of the commands makes a command's content unique, and whoever has entered it works on it alone; sorted, so that two workers
never wait for each other in a circle. What isn't @fresh is left alone. A boundary is the greatest seq sent by the time at which
the stream stored the command, or the one asked for, but never past the newest message. Locks the conversations' rows too, but for those
that somebody else holds.
commands_pkey; the messages' key backward and forward, the conversations'. One scan takes all rows by their places: a scan for
each would ask for the table's size each time (2 us a row). */}}
{{define "_bulk_take"}}
with q as materialized (
  select *{{template "_look_up" .}}
  from unnest(@apps::text[], @commands::text[], @conversations::text[], @users::text[], @wanted::bigint[], @stored_at::timestamptz[],
    @kept::boolean[], @digests::bytea[], @fresh::boolean[])
    with ordinality as q (app_id, command_id, conversation_id, user_id, wanted, stored_at, history_kept, digest, fresh, ord)
),
{{- if not .Listed}}
entered as (
  insert into lethe.commands (app_id, command_id, digest)
  select distinct q.app_id, q.command_id, q.digest from q where q.fresh
  order by q.app_id, q.command_id
  on conflict do nothing
  returning app_id, command_id, digest
),
{{- end}}
taken as materialized (
  select q.ord, q.app_id, q.user_id, q.conversation_id, q.history_kept{{if .LooksUp}}, q.looked_up{{end}}, {{.Boundary "q" "wanted"}} as through_seq
  from q
  where q.fresh and {{if .Listed}}{{template "_unknown"}}{{else}}(q.app_id, q.command_id, q.digest) in (select e.app_id, e.command_id, e.digest from entered e){{end}}
),
{{- if .Conversations.Name}}
conversations as materialized (
  select q.ord, {{.Conversations.Doubt}}::text as doubt
  from taken q cross join lateral (
    select c.ctid as id{{range $i, $t := .Conversations.Hints}}, c.{{$t}} as hint_{{$i}}{{end}}
    from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}}
    for update skip locked) c
),
{{- end}}
picked as materialized (
  select q.ord as lethe_ord, m.*
  from taken q cross join lateral (
    select m.tableoid as lethe_part, m.ctid as lethe_row{{if .Locked}}, {{.ChildKeys "m"}}{{end}} from {{.Messages.From}} m
    where {{.Messages.Match "m" "q"}} and {{.Messages.AtOrBelow "m" "q.through_seq"}} and not q.history_kept
      {{- if .LockFirst}} and {{template "_locked"}}{{end}}
    order by m.{{.Messages.Seq}} limit @each::bigint
    {{- if and .SkipLocked (not .LockFirst)}}
    for update skip locked
    {{- end}}) m
  limit @rows::bigint
),
{{template "_picked" .}}  returning {{.Messages.Keys "m"}}
),
-- What somebody else has removed since it was found doesn't count; then each deletion's own are looked for among those gone.
counts as materialized (select (select pg_catalog.count(*) from gone) = (select pg_catalog.count(*) from found) as all_gone),
tally as (
  select t.ord, pg_catalog.max(t.through_seq) as through_seq, pg_catalog.count(t.message) as n, pg_catalog.max(t.doubt) as doubt
  from (
    select q.ord, null::bigint as through_seq, null::boolean as message, null::text as doubt from q
    union all select t.ord, t.through_seq, null, null from taken t
    {{- if .Conversations.Name}}
    union all select c.ord, null, null, c.doubt from conversations c
    {{- end}}
    {{- with .Missing "q"}}
    union all select q.ord, null, null, {{.}} from taken q
    {{- end}}
    union all select f.ord, null, true, null from found f where (select all_gone from counts)
    union all select q.ord, null, true, null from taken q
      cross join lateral (select from gone g where {{.Messages.Match "g" "q"}} offset 0) g
      where not (select all_gone from counts)) t
  group by t.ord
)
select pg_catalog.array_agg(through_seq order by ord), pg_catalog.array_agg(n order by ord), pg_catalog.array_agg(doubt order by ord),
  array[{{range $i, $c := .Children}}{{if $i}}, {{end}}(select pg_catalog.count(*) from gone_{{$i}}){{end}}]::bigint[]
  {{- if .LooksUp}},
  (select pg_catalog.array_agg(q.looked_up::text order by q.ord) from q)
  {{- end}}
from tally
{{end}}

{{define "bulk_take"}}{{template "_bulk_take" .}}{{end}}

{{/* bulk_take for one deletion that comes alone, and that somebody waits for: with fewer steps (70 us instead of 135), and with its boundary and its
number of messages as settings of the transaction, which spares bulk_finish_one a round trip (60 to 100 us). For the app '' it takes up
nothing: so it is planned ahead. commands_pkey; the messages' key backward and forward, the others' forward. */}}
{{define "bulk_take_one"}}
with entered as (
  insert into lethe.commands (app_id, command_id, digest) select @app::text, @command::text, @digest::bytea where @app::text <> ''
  on conflict do nothing
  returning 1
),
taken as materialized (
  select q.*, {{.Boundary "q" "wanted"}} as through_seq
  from (select @app::text as app_id, @user::text as user_id, @conversation::text as conversation_id, @wanted::bigint as wanted,
    @stored_at::timestamptz as stored_at, @kept::boolean as history_kept{{template "_looked_up_args" .}} from entered{{if .LooksUp}} offset 0{{end}}) q
),
{{- if .Conversations.Name}}
conversations as materialized (
  select {{.Conversations.Doubt}}::text as doubt
  from taken q cross join lateral (
    select c.ctid as id{{range $i, $t := .Conversations.Hints}}, c.{{$t}} as hint_{{$i}}{{end}}
    from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}}
    for update skip locked) c
),
{{- end}}
picked as materialized (
  select 1 as lethe_ord, m.*
  from taken q cross join lateral (
    select m.tableoid as lethe_part, m.ctid as lethe_row{{if .Locked}}, {{.ChildKeys "m"}}{{end}} from {{.Messages.From}} m
    where {{.Messages.Match "m" "q"}} and {{.Messages.AtOrBelow "m" "q.through_seq"}} and not q.history_kept
    order by m.{{.Messages.Seq}} limit least(@each::bigint, @rows::bigint)) m
),
{{template "_picked" .}}
  returning 1
)
select array[(select through_seq from taken)], array[n], array[{{template "_doubt_of_one" .}}],
  array[{{range $i, $c := .Children}}{{if $i}}, {{end}}(select pg_catalog.count(*) from gone_{{$i}}){{end}}]::bigint[],
  pg_catalog.set_config('lethe.through_seq', coalesce((select through_seq::text from taken), ''), true), pg_catalog.set_config('lethe.deleted', n::text, true)
  {{- if .LooksUp}},
  pg_catalog.set_config('lethe.looked_up', coalesce((select looked_up::text from taken), ''), true)
  {{- end}}
from (select pg_catalog.count(*) as n from gone) g
{{end}}

{{define "_doubt_of_one"}}
  {{- with .Missing "q"}}coalesce((select {{.}} from taken q), {{end}}
  {{- if .Conversations.Name}}(select pg_catalog.max(doubt) from conversations){{else}}null::text{{end}}
  {{- if .Missing "q"}}){{end}}
{{- end}}

{{/* Passes over messages and child rows that somebody else has locked, instead of waiting for them. */}}
{{define "bulk_take_unlocked"}}{{template "_bulk_take" .Skipping}}{{end}}

{{/* bulk_take for deletions of commands that name them by a rule, and that the ledger knows. */}}
{{define "bulk_take_listed"}}{{template "_bulk_take" .Listing}}{{end}}
{{define "bulk_take_listed_unlocked"}}{{template "_bulk_take" .Listing.Skipping}}{{end}}

{{/* Enters in the ledger what was taken, with its boundary (@through_seqs) and its messages (@deleted), as done where nothing is left, and
returns what the ledger has of every deletion. bulk_take has locked the conversations' rows. A row that came or was locked by
another transaction in between leaves its deletion unfinished, and so do several rows of one conversation: a single step removes
all of them. No conversation is taken twice.
Each key forward, one row; the conversations' key; apps_pkey; commands_pkey and deletions_pkey for what was known before. */}}
{{define "_bulk_finish"}}
with q as materialized (
{{- if .One}}
  select @app::text as app_id, @command::text as command_id, @conversation::text as conversation_id, @token::uuid as token, @user::text as user_id,
    @device::text as device_id, @wanted::bigint as wanted, @stored_at::timestamptz as stored_at, @kept::boolean as history_kept,
    @conversation_kept::boolean as conversation_kept, @scope::text as scope, @requested_by::text as requested_by, @requested_at::text as requested_at, nullif(pg_catalog.current_setting('lethe.through_seq'), '')::bigint as through_seq,
    pg_catalog.current_setting('lethe.deleted')::bigint as deleted, 1::bigint as ord
    {{- if .LooksUp}}, nullif(pg_catalog.current_setting('lethe.looked_up'), '')::text[] as looked_up{{end}}
{{- else}}
  select *{{if .LooksUp}}, q.pins::text[] as looked_up{{end}}
  from unnest(@apps::text[], @commands::text[], @conversations::text[], @tokens::uuid[], @users::text[], @devices::text[], @wanted::bigint[],
    @stored_at::timestamptz[], @kept::boolean[], @conversations_kept::boolean[], @scopes::text[], @requesters::text[], @requested_at::text[], @through_seqs::bigint[], @deleted::bigint[]{{if .LooksUp}}, @looked_up::text[]{{end}})
    with ordinality as q (app_id, command_id, conversation_id, token, user_id, device_id, wanted, stored_at, history_kept, conversation_kept,
    scope, requested_by, requested_at, through_seq, deleted{{if .LooksUp}}, pins{{end}}, ord)
{{- end}}
),
seen as materialized (
  select q.*, c.there, c.part, c.id,
    (c.ours or not c.there) and not c.several and (q.history_kept or not {{template "_remaining" .}}) as finished,
    exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and {{.Messages.Above "m" "q.through_seq"}}) as newer
  from q cross join lateral (
    select pg_catalog.count(*) > 0 as there, pg_catalog.count(*) > 1 as several, coalesce(pg_catalog.bool_and({{template "_ours"}}), false) as ours,
      pg_catalog.max(c.tableoid) as part, pg_catalog.max(c.ctid) as id
    from {{.Conversations.Rows}} c where {{.Conversations.Match "c" "q"}}) c
  where q.through_seq is not null
),
due as materialized (select * from seen q where q.finished and q.there),
{{template "_rows" .Skipping}},
settled as materialized (
  select q.*, q.finished and ({{template "_stays" .}} or not q.there or (q.part, q.id) in (select x.part, x.id from dropped x)){{template "_ended" .}} as done from seen q
),
written as (
  insert into lethe.deletions as d (app_id, command_id, conversation_id, user_id, origin_device_id, state, requested_through_seq, stored_at,
    through_seq, cursor_seq, messages_deleted, history_kept, conversation_kept, scope, requested_by, conversation_removed, multi_client_sync, requested_at,
    completed_at, lease_token, lease_until{{if .LooksUp}}, looked_up{{end}})
  select app_id, command_id, conversation_id, user_id, nullif(device_id, ''), case when done then 'done' else 'running' end,
    wanted, stored_at, through_seq, case when done then through_seq else 0 end, deleted, history_kept,
    conversation_kept, nullif(scope, ''), nullif(requested_by, ''), done and not (there and {{template "_stays" .}}),
    done and coalesce((select a.multi_client_sync from lethe.apps a where a.app_id = q.app_id), false),
    nullif(requested_at, ''), case when done then pg_catalog.clock_timestamp() end,
    case when not done then token end, case when not done then pg_catalog.clock_timestamp() + @lease::interval end
    {{- if .LooksUp}}, case when not done then looked_up end{{end}}
  from settled q
  returning {{template "_record"}}
)
select 0::bigint, null::bytea, w.* from written w
union all
select q.ord, k.digest, d.* from q {{template "_known"}} where q.through_seq is null
{{end}}

{{define "bulk_finish"}}{{template "_bulk_finish" .}}{{end}}
{{define "bulk_finish_one"}}{{template "_bulk_finish" .Single}}{{end}}
