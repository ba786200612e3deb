--- adopt: apps commands conversations users devices wanted kept digests
with q as materialized (
  select *
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::boolean[],
    $8::bytea[])
    as q (app_id, command_id, conversation_id, user_id, device_id, wanted, history_kept, digest)
),
fits as materialized (
  select q.app_id, q.command_id, q.digest
  from q
  cross join lateral (
    select coalesce(pg_catalog.bool_and(d.user_id = q.user_id and coalesce(d.origin_device_id, '') = q.device_id and d.history_kept = q.history_kept
      and (d.conversation_id <> q.conversation_id or q.wanted is null or d.through_seq <= q.wanted)), true) as fits
    from lethe.deletions d where d.app_id = q.app_id and d.command_id = q.command_id) d
  group by q.app_id, q.command_id, q.digest
  having pg_catalog.bool_and(d.fits)
),
blank as (
  delete from lethe.commands k using (
    select f.digest, c.id
    from fits f cross join lateral (
      select c.ctid as id from lethe.commands c
      where c.app_id = f.app_id and c.command_id = f.command_id and c.digest = '' limit 1) c) f
  where k.ctid = f.id and k.digest = ''
  returning k.app_id, k.command_id, k.created_at, f.digest
)
insert into lethe.commands (app_id, command_id, digest, created_at)
select b.app_id, b.command_id, b.digest, b.created_at from blank b

--- bulk_finish: apps commands conversations tokens users devices wanted stored_at kept requested_at through_seqs deleted lease
with q as materialized (
  select *
  from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::bigint[],
    $8::timestamptz[], $9::boolean[], $10::text[], $11::bigint[], $12::bigint[])
    with ordinality as q (app_id, command_id, conversation_id, token, user_id, device_id, wanted, stored_at, history_kept, requested_at,
    through_seq, deleted, ord)
),
seen as materialized (
  select q.*, c.there, c.part, c.id,
    (c.ours or not c.there) and not c.several and (q.history_kept or not (
    exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" <= q.through_seq)
    or exists (select from "chat"."reactions" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq)
    or exists (select from "chat"."attachments" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq)
  )) as finished,
    exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" > q.through_seq) as newer
  from q cross join lateral (
    select pg_catalog.count(*) > 0 as there, pg_catalog.count(*) > 1 as several, coalesce(pg_catalog.bool_and(pg_catalog.pg_current_xact_id()::xid in (c.xmax, c.xmin)), false) as ours,
      pg_catalog.max(c.tableoid) as part, pg_catalog.max(c.ctid) as id
    from "chat"."conversations" c where c."app_id"::text = q.app_id and c."user_id"::text = q.user_id and c."conversation_id"::text = q.conversation_id) c
  where q.through_seq is not null
),
due as materialized (select * from seen q where q.finished and q.there),
leaving as materialized (select q.part, q.id from due q where not q.newer),
dropped as (
  delete from only "chat"."conversations" c where c.ctid = any (array(select f.id from leaving f))
  returning c.tableoid as part, c.ctid as id
),
recounted as (
  update "chat"."conversations" c
  set "unread_count" = least(c."unread_count", (
    select pg_catalog.count(*) from (
      select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" > q.through_seq
      limit greatest(c."unread_count", 0)) n))
  from due q
  where c.tableoid = q.part and c.ctid = q.id and q.newer and c."unread_count" > 0
),
settled as materialized (
  select q.*, q.finished and (q.newer or not q.there or (q.part, q.id) in (select x.part, x.id from dropped x)) as done from seen q
),
written as (
  insert into lethe.deletions as d (app_id, command_id, conversation_id, user_id, origin_device_id, state, requested_through_seq, stored_at,
    through_seq, cursor_seq, messages_deleted, history_kept, conversation_removed, multi_client_sync, requested_at, completed_at,
    lease_token, lease_until)
  select app_id, command_id, conversation_id, user_id, nullif(device_id, ''), case when done then 'done' else 'running' end,
    wanted, stored_at, through_seq, case when done then through_seq else 0 end, deleted, history_kept, done and not (there and newer),
    done and coalesce((select a.multi_client_sync from lethe.apps a where a.app_id = q.app_id), false),
    nullif(requested_at, ''), case when done then pg_catalog.clock_timestamp() end,
    case when not done then token end, case when not done then pg_catalog.clock_timestamp() + $13::interval end
  from settled q
  returning d.app_id, d.command_id, d.conversation_id, d.user_id, d.origin_device_id, d.state, d.lease_token, d.through_seq, d.cursor_seq,
  d.messages_deleted, d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at, d.completed_at, d.failed_at, d.reason,
  d.message, d.attempts, d.last_error, extract(epoch from d.lease_until - pg_catalog.clock_timestamp())::float8 as lease_left
)
select 0::bigint, null::bytea, w.* from written w
union all
select q.ord, k.digest, d.* from q left join lateral (
  select k.digest from lethe.commands k where k.app_id = q.app_id and k.command_id = q.command_id limit 1) k on true
left join lateral (
  select d.app_id, d.command_id, d.conversation_id, d.user_id, d.origin_device_id, d.state, d.lease_token, d.through_seq, d.cursor_seq,
  d.messages_deleted, d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at, d.completed_at, d.failed_at, d.reason,
  d.message, d.attempts, d.last_error, extract(epoch from d.lease_until - pg_catalog.clock_timestamp())::float8 as lease_left from lethe.deletions d
  where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id limit 1) d on true where q.through_seq is null

--- bulk_finish_one: app command conversation token user device wanted stored_at kept requested_at lease
with q as materialized (
  select $1::text as app_id, $2::text as command_id, $3::text as conversation_id, $4::uuid as token, $5::text as user_id,
    $6::text as device_id, $7::bigint as wanted, $8::timestamptz as stored_at, $9::boolean as history_kept,
    $10::text as requested_at, nullif(pg_catalog.current_setting('lethe.through_seq'), '')::bigint as through_seq,
    pg_catalog.current_setting('lethe.deleted')::bigint as deleted, 1::bigint as ord
),
seen as materialized (
  select q.*, c.there, c.part, c.id,
    (c.ours or not c.there) and not c.several and (q.history_kept or not (
    exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" <= q.through_seq)
    or exists (select from "chat"."reactions" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq)
    or exists (select from "chat"."attachments" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq)
  )) as finished,
    exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" > q.through_seq) as newer
  from q cross join lateral (
    select pg_catalog.count(*) > 0 as there, pg_catalog.count(*) > 1 as several, coalesce(pg_catalog.bool_and(pg_catalog.pg_current_xact_id()::xid in (c.xmax, c.xmin)), false) as ours,
      pg_catalog.max(c.tableoid) as part, pg_catalog.max(c.ctid) as id
    from "chat"."conversations" c where c."app_id"::text = q.app_id and c."user_id"::text = q.user_id and c."conversation_id"::text = q.conversation_id) c
  where q.through_seq is not null
),
due as materialized (select * from seen q where q.finished and q.there),
leaving as materialized (select q.part, q.id from due q where not q.newer),
dropped as (
  delete from only "chat"."conversations" c where c.ctid = any (array(select f.id from leaving f))
  returning c.tableoid as part, c.ctid as id
),
recounted as (
  update "chat"."conversations" c
  set "unread_count" = least(c."unread_count", (
    select pg_catalog.count(*) from (
      select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" > q.through_seq
      limit greatest(c."unread_count", 0)) n))
  from due q
  where c.tableoid = q.part and c.ctid = q.id and q.newer and c."unread_count" > 0
),
settled as materialized (
  select q.*, q.finished and (q.newer or not q.there or (q.part, q.id) in (select x.part, x.id from dropped x)) as done from seen q
),
written as (
  insert into lethe.deletions as d (app_id, command_id, conversation_id, user_id, origin_device_id, state, requested_through_seq, stored_at,
    through_seq, cursor_seq, messages_deleted, history_kept, conversation_removed, multi_client_sync, requested_at, completed_at,
    lease_token, lease_until)
  select app_id, command_id, conversation_id, user_id, nullif(device_id, ''), case when done then 'done' else 'running' end,
    wanted, stored_at, through_seq, case when done then through_seq else 0 end, deleted, history_kept, done and not (there and newer),
    done and coalesce((select a.multi_client_sync from lethe.apps a where a.app_id = q.app_id), false),
    nullif(requested_at, ''), case when done then pg_catalog.clock_timestamp() end,
    case when not done then token end, case when not done then pg_catalog.clock_timestamp() + $11::interval end
  from settled q
  returning d.app_id, d.command_id, d.conversation_id, d.user_id, d.origin_device_id, d.state, d.lease_token, d.through_seq, d.cursor_seq,
  d.messages_deleted, d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at, d.completed_at, d.failed_at, d.reason,
  d.message, d.attempts, d.last_error, extract(epoch from d.lease_until - pg_catalog.clock_timestamp())::float8 as lease_left
)
select 0::bigint, null::bytea, w.* from written w
union all
select q.ord, k.digest, d.* from q left join lateral (
  select k.digest from lethe.commands k where k.app_id = q.app_id and k.command_id = q.command_id limit 1) k on true
left join lateral (
  select d.app_id, d.command_id, d.conversation_id, d.user_id, d.origin_device_id, d.state, d.lease_token, d.through_seq, d.cursor_seq,
  d.messages_deleted, d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at, d.completed_at, d.failed_at, d.reason,
  d.message, d.attempts, d.last_error, extract(epoch from d.lease_until - pg_catalog.clock_timestamp())::float8 as lease_left from lethe.deletions d
  where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id limit 1) d on true where q.through_seq is null

--- bulk_take: apps commands conversations users wanted stored_at kept digests fresh each rows
with q as materialized (
  select *
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[],
    $7::boolean[], $8::bytea[], $9::boolean[])
    with ordinality as q (app_id, command_id, conversation_id, user_id, wanted, stored_at, history_kept, digest, fresh, ord)
),
entered as (
  insert into lethe.commands (app_id, command_id, digest)
  select distinct q.app_id, q.command_id, q.digest from q where q.fresh
  order by q.app_id, q.command_id
  on conflict do nothing
  returning app_id, command_id, digest
),
taken as materialized (
  select q.ord, q.app_id, q.user_id, q.conversation_id, q.history_kept, case when q.wanted is null then coalesce((select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."sent_at" <= q.stored_at order by m."seq" desc limit 1), coalesce((select least(0, greatest(m."seq"::bigint, -9223372036854775807) - 1) from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id order by m."seq" limit 1), 0)) else least(q.wanted, coalesce((select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id order by m."seq" desc limit 1), 0)) end as through_seq
  from q
  where q.fresh and (q.app_id, q.command_id, q.digest) in (select e.app_id, e.command_id, e.digest from entered e)
),
conversations as materialized (
  select q.ord, pg_catalog.concat_ws(', ', case when hint_0 > 0 then 'unread_count ' || hint_0::text end, case when hint_1 > 0 then 'last_seq ' || hint_1::text end)::text as doubt
  from taken q cross join lateral (
    select c.ctid as id, c."unread_count" as hint_0, c."last_seq" as hint_1
    from "chat"."conversations" c where c."app_id"::text = q.app_id and c."user_id"::text = q.user_id and c."conversation_id"::text = q.conversation_id
    for update skip locked) c
),
picked as materialized (
  select q.ord as lethe_ord, m.*
  from taken q cross join lateral (
    select m.tableoid as lethe_part, m.ctid as lethe_row from only "chat"."messages" m
    where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" <= q.through_seq and not q.history_kept
    order by m."seq" limit $10::bigint) m
  limit $11::bigint
),
found as (select m.lethe_ord as ord, m.lethe_part as part, m.lethe_row as id from picked m),
found_0 as materialized (
  select x.part, x.id
  from taken q cross join lateral (
    select x.tableoid as part, x.ctid as id from only "chat"."reactions" x
    where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq and not q.history_kept
    order by x."seq" limit $11::bigint) x
  limit $11::bigint
),
gone_0 as (
  delete from only "chat"."reactions" x where x.ctid = any (array(select f.id from found_0 f))
  returning 1
),
found_1 as materialized (
  select x.part, x.id
  from taken q cross join lateral (
    select x.tableoid as part, x.ctid as id from only "chat"."attachments" x
    where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq and not q.history_kept
    order by x."seq" limit $11::bigint) x
  limit $11::bigint
),
gone_1 as (
  delete from only "chat"."attachments" x where x.ctid = any (array(select f.id from found_1 f))
  returning 1
),
gone as (
  delete from only "chat"."messages" m where m.ctid = any (array(select f.id from found f))
  returning m."app_id", m."user_id", m."conversation_id"
),
-- What somebody else has removed since it was found doesn't count; then each deletion's own are looked for among those gone.
counts as materialized (select (select pg_catalog.count(*) from gone) = (select pg_catalog.count(*) from found) as all_gone),
tally as (
  select t.ord, pg_catalog.max(t.through_seq) as through_seq, pg_catalog.count(t.message) as n, pg_catalog.max(t.doubt) as doubt
  from (
    select q.ord, null::bigint as through_seq, null::boolean as message, null::text as doubt from q
    union all select t.ord, t.through_seq, null, null from taken t
    union all select c.ord, null, null, c.doubt from conversations c
    union all select f.ord, null, true, null from found f where (select all_gone from counts)
    union all select q.ord, null, true, null from taken q
      cross join lateral (select from gone g where g."app_id"::text = q.app_id and g."user_id"::text = q.user_id and g."conversation_id"::text = q.conversation_id offset 0) g
      where not (select all_gone from counts)) t
  group by t.ord
)
select pg_catalog.array_agg(through_seq order by ord), pg_catalog.array_agg(n order by ord), pg_catalog.array_agg(doubt order by ord),
  array[(select pg_catalog.count(*) from gone_0), (select pg_catalog.count(*) from gone_1)]::bigint[]
from tally

--- bulk_take_one: app command digest user conversation wanted stored_at kept each rows
with entered as (
  insert into lethe.commands (app_id, command_id, digest) select $1::text, $2::text, $3::bytea where $1::text <> ''
  on conflict do nothing
  returning 1
),
taken as materialized (
  select q.*, case when q.wanted is null then coalesce((select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."sent_at" <= q.stored_at order by m."seq" desc limit 1), coalesce((select least(0, greatest(m."seq"::bigint, -9223372036854775807) - 1) from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id order by m."seq" limit 1), 0)) else least(q.wanted, coalesce((select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id order by m."seq" desc limit 1), 0)) end as through_seq
  from (select $1::text as app_id, $4::text as user_id, $5::text as conversation_id, $6::bigint as wanted,
    $7::timestamptz as stored_at, $8::boolean as history_kept from entered) q
),
conversations as materialized (
  select pg_catalog.concat_ws(', ', case when hint_0 > 0 then 'unread_count ' || hint_0::text end, case when hint_1 > 0 then 'last_seq ' || hint_1::text end)::text as doubt
  from taken q cross join lateral (
    select c.ctid as id, c."unread_count" as hint_0, c."last_seq" as hint_1
    from "chat"."conversations" c where c."app_id"::text = q.app_id and c."user_id"::text = q.user_id and c."conversation_id"::text = q.conversation_id
    for update skip locked) c
),
picked as materialized (
  select 1 as lethe_ord, m.*
  from taken q cross join lateral (
    select m.tableoid as lethe_part, m.ctid as lethe_row from only "chat"."messages" m
    where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" <= q.through_seq and not q.history_kept
    order by m."seq" limit least($9::bigint, $10::bigint)) m
),
found as (select m.lethe_ord as ord, m.lethe_part as part, m.lethe_row as id from picked m),
found_0 as materialized (
  select x.part, x.id
  from taken q cross join lateral (
    select x.tableoid as part, x.ctid as id from only "chat"."reactions" x
    where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq and not q.history_kept
    order by x."seq" limit $10::bigint) x
  limit $10::bigint
),
gone_0 as (
  delete from only "chat"."reactions" x where x.ctid = any (array(select f.id from found_0 f))
  returning 1
),
found_1 as materialized (
  select x.part, x.id
  from taken q cross join lateral (
    select x.tableoid as part, x.ctid as id from only "chat"."attachments" x
    where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq and not q.history_kept
    order by x."seq" limit $10::bigint) x
  limit $10::bigint
),
gone_1 as (
  delete from only "chat"."attachments" x where x.ctid = any (array(select f.id from found_1 f))
  returning 1
),
gone as (
  delete from only "chat"."messages" m where m.ctid = any (array(select f.id from found f))

  returning 1
)
select array[(select through_seq from taken)], array[n], array[(select pg_catalog.max(doubt) from conversations)],
  array[(select pg_catalog.count(*) from gone_0), (select pg_catalog.count(*) from gone_1)]::bigint[],
  pg_catalog.set_config('lethe.through_seq', coalesce((select through_seq::text from taken), ''), true), pg_catalog.set_config('lethe.deleted', n::text, true)
from (select pg_catalog.count(*) as n from gone) g

--- bulk_take_unlocked: apps commands conversations users wanted stored_at kept digests fresh each rows
with q as materialized (
  select *
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[],
    $7::boolean[], $8::bytea[], $9::boolean[])
    with ordinality as q (app_id, command_id, conversation_id, user_id, wanted, stored_at, history_kept, digest, fresh, ord)
),
entered as (
  insert into lethe.commands (app_id, command_id, digest)
  select distinct q.app_id, q.command_id, q.digest from q where q.fresh
  order by q.app_id, q.command_id
  on conflict do nothing
  returning app_id, command_id, digest
),
taken as materialized (
  select q.ord, q.app_id, q.user_id, q.conversation_id, q.history_kept, case when q.wanted is null then coalesce((select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."sent_at" <= q.stored_at order by m."seq" desc limit 1), coalesce((select least(0, greatest(m."seq"::bigint, -9223372036854775807) - 1) from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id order by m."seq" limit 1), 0)) else least(q.wanted, coalesce((select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id order by m."seq" desc limit 1), 0)) end as through_seq
  from q
  where q.fresh and (q.app_id, q.command_id, q.digest) in (select e.app_id, e.command_id, e.digest from entered e)
),
conversations as materialized (
  select q.ord, pg_catalog.concat_ws(', ', case when hint_0 > 0 then 'unread_count ' || hint_0::text end, case when hint_1 > 0 then 'last_seq ' || hint_1::text end)::text as doubt
  from taken q cross join lateral (
    select c.ctid as id, c."unread_count" as hint_0, c."last_seq" as hint_1
    from "chat"."conversations" c where c."app_id"::text = q.app_id and c."user_id"::text = q.user_id and c."conversation_id"::text = q.conversation_id
    for update skip locked) c
),
picked as materialized (
  select q.ord as lethe_ord, m.*
  from taken q cross join lateral (
    select m.tableoid as lethe_part, m.ctid as lethe_row from only "chat"."messages" m
    where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" <= q.through_seq and not q.history_kept
    order by m."seq" limit $10::bigint
    for update skip locked) m
  limit $11::bigint
),
found as (select m.lethe_ord as ord, m.lethe_part as part, m.lethe_row as id from picked m),
found_0 as materialized (
  select x.part, x.id
  from taken q cross join lateral (
    select x.tableoid as part, x.ctid as id from only "chat"."reactions" x
    where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq and not q.history_kept
    order by x."seq" limit $11::bigint
    for update skip locked) x
  limit $11::bigint
),
gone_0 as (
  delete from only "chat"."reactions" x where x.ctid = any (array(select f.id from found_0 f))
  returning 1
),
found_1 as materialized (
  select x.part, x.id
  from taken q cross join lateral (
    select x.tableoid as part, x.ctid as id from only "chat"."attachments" x
    where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq and not q.history_kept
    order by x."seq" limit $11::bigint
    for update skip locked) x
  limit $11::bigint
),
gone_1 as (
  delete from only "chat"."attachments" x where x.ctid = any (array(select f.id from found_1 f))
  returning 1
),
gone as (
  delete from only "chat"."messages" m where m.ctid = any (array(select f.id from found f))
  returning m."app_id", m."user_id", m."conversation_id"
),
-- What somebody else has removed since it was found doesn't count; then each deletion's own are looked for among those gone.
counts as materialized (select (select pg_catalog.count(*) from gone) = (select pg_catalog.count(*) from found) as all_gone),
tally as (
  select t.ord, pg_catalog.max(t.through_seq) as through_seq, pg_catalog.count(t.message) as n, pg_catalog.max(t.doubt) as doubt
  from (
    select q.ord, null::bigint as through_seq, null::boolean as message, null::text as doubt from q
    union all select t.ord, t.through_seq, null, null from taken t
    union all select c.ord, null, null, c.doubt from conversations c
    union all select f.ord, null, true, null from found f where (select all_gone from counts)
    union all select q.ord, null, true, null from taken q
      cross join lateral (select from gone g where g."app_id"::text = q.app_id and g."user_id"::text = q.user_id and g."conversation_id"::text = q.conversation_id offset 0) g
      where not (select all_gone from counts)) t
  group by t.ord
)
select pg_catalog.array_agg(through_seq order by ord), pg_catalog.array_agg(n order by ord), pg_catalog.array_agg(doubt order by ord),
  array[(select pg_catalog.count(*) from gone_0), (select pg_catalog.count(*) from gone_1)]::bigint[]
from tally

--- claim: token lease app command conversation digest
update lethe.deletions d
set state = 'running', lease_token = $1, lease_until = pg_catalog.clock_timestamp() + $2::interval,
  through_seq = coalesce(d.through_seq, case when d.requested_through_seq is null then coalesce((select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = d.app_id and m."user_id"::text = d.user_id and m."conversation_id"::text = d.conversation_id and m."sent_at" <= d.stored_at order by m."seq" desc limit 1), coalesce((select least(0, greatest(m."seq"::bigint, -9223372036854775807) - 1) from "chat"."messages" m where m."app_id"::text = d.app_id and m."user_id"::text = d.user_id and m."conversation_id"::text = d.conversation_id order by m."seq" limit 1), 0)) else least(d.requested_through_seq, coalesce((select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = d.app_id and m."user_id"::text = d.user_id and m."conversation_id"::text = d.conversation_id order by m."seq" desc limit 1), 0)) end)
from lethe.commands k
where d.app_id = $3::text and d.command_id = $4::text and d.conversation_id = $5::text and d.state in ('pending', 'running')
  and (d.lease_token = $1 or d.lease_until is null or d.lease_until < pg_catalog.clock_timestamp())
  and k.app_id = d.app_id and k.command_id = d.command_id and k.digest = $6

--- enter: app command conversation user device wanted stored_at kept requested_at digest
insert into lethe.deletions (app_id, command_id, conversation_id, user_id, origin_device_id, state,
  requested_through_seq, stored_at, history_kept, requested_at)
select $1, $2, $3, $4, nullif($5, ''), 'pending', $6, $7, $8, nullif($9, '')
from lethe.commands k where k.app_id = $1 and k.command_id = $2 and k.digest = $10
on conflict do nothing

--- enter_command: app command digest
insert into lethe.commands (app_id, command_id, digest) values ($1, $2, $3)
on conflict do nothing

--- expire_commands: apps commands
with found as materialized (
  select c.id
  from unnest($1::text[], $2::text[]) as t (app_id, command_id)
  cross join lateral (
    select c.ctid as id from lethe.commands c where c.app_id = t.app_id and c.command_id = t.command_id limit 1) c
  where not exists (select from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.xmax <> pg_catalog.pg_current_xact_id()::xid offset 0)
)
delete from lethe.commands c using found f where c.ctid = f.id

--- expire_deletions: apps commands
with found as materialized (
  select d.id
  from unnest($1::text[], $2::text[]) as t (app_id, command_id)
  cross join lateral (
    select d.ctid as id from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.xmax = pg_catalog.pg_current_xact_id()::xid offset 0) d
  where not exists (select from lethe.commands c where c.app_id = t.app_id and c.command_id = t.command_id offset 0)
)
delete from lethe.deletions d using found f where d.ctid = f.id

--- expire_find: age created_at app command limit
select c.created_at, c.app_id, c.command_id,
  not exists (select from lethe.deletions d
    where d.app_id = c.app_id and d.command_id = c.command_id and (d.state in ('done', 'failed') and coalesce(d.completed_at, d.failed_at) < pg_catalog.now() - $1::interval) is not true offset 0)
from (
  select created_at, app_id, command_id from lethe.commands
  where created_at < pg_catalog.now() - $1::interval and (created_at, app_id, command_id) > ($2, $3, $4)
  order by created_at, app_id, command_id limit $5) c
order by c.created_at, c.app_id, c.command_id

--- expire_lock: apps commands age
select pg_catalog.count(*) from (
  select from unnest($1::text[], $2::text[]) as t (app_id, command_id)
  cross join lateral (
    select d.ctid as id from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.state in ('done', 'failed') and coalesce(d.completed_at, d.failed_at) < pg_catalog.now() - $3::interval
    for update skip locked) d) l

--- fail: counts final max error reason message app command conversation token digest
update lethe.deletions d
set attempts = greatest(0,
  case when $1::int > 0 and $2::boolean then d.attempts + $1::int else least(d.attempts + $1::int, $3::int - 1) end), last_error = $4, lease_token = null, lease_until = null, waiting_for = null, waiting_detail = null,
  state = case when greatest(0,
  case when $1::int > 0 and $2::boolean then d.attempts + $1::int else least(d.attempts + $1::int, $3::int - 1) end) >= $3 then 'failed' else 'pending' end,
  reason = case when greatest(0,
  case when $1::int > 0 and $2::boolean then d.attempts + $1::int else least(d.attempts + $1::int, $3::int - 1) end) >= $3 then $5 end,
  message = case when greatest(0,
  case when $1::int > 0 and $2::boolean then d.attempts + $1::int else least(d.attempts + $1::int, $3::int - 1) end) >= $3 then $6 end,
  failed_at = case when greatest(0,
  case when $1::int > 0 and $2::boolean then d.attempts + $1::int else least(d.attempts + $1::int, $3::int - 1) end) >= $3 then pg_catalog.clock_timestamp() end
from lethe.commands k
where d.app_id = $7::text and d.command_id = $8::text and d.conversation_id = $9::text and d.state in ('pending', 'running')
  and (d.lease_token = $10 or d.lease_until is null or d.lease_until < pg_catalog.clock_timestamp())
  and k.app_id = d.app_id and k.command_id = d.command_id and k.digest = $11

--- fail_pinned: counts final max error reason message app command conversation token digest
update lethe.deletions d
set attempts = greatest(0,
  case when $1::int > 0 and $2::boolean then d.attempts + $1::int else least(d.attempts + $1::int, $3::int - 1) end), last_error = $4, lease_token = null, lease_until = null, waiting_for = null, waiting_detail = null,
  through_seq = coalesce(d.through_seq, case when d.requested_through_seq is null then coalesce((select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = d.app_id and m."user_id"::text = d.user_id and m."conversation_id"::text = d.conversation_id and m."sent_at" <= d.stored_at order by m."seq" desc limit 1), coalesce((select least(0, greatest(m."seq"::bigint, -9223372036854775807) - 1) from "chat"."messages" m where m."app_id"::text = d.app_id and m."user_id"::text = d.user_id and m."conversation_id"::text = d.conversation_id order by m."seq" limit 1), 0)) else least(d.requested_through_seq, coalesce((select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = d.app_id and m."user_id"::text = d.user_id and m."conversation_id"::text = d.conversation_id order by m."seq" desc limit 1), 0)) end),
  state = case when greatest(0,
  case when $1::int > 0 and $2::boolean then d.attempts + $1::int else least(d.attempts + $1::int, $3::int - 1) end) >= $3 then 'failed' else 'pending' end,
  reason = case when greatest(0,
  case when $1::int > 0 and $2::boolean then d.attempts + $1::int else least(d.attempts + $1::int, $3::int - 1) end) >= $3 then $5 end,
  message = case when greatest(0,
  case when $1::int > 0 and $2::boolean then d.attempts + $1::int else least(d.attempts + $1::int, $3::int - 1) end) >= $3 then $6 end,
  failed_at = case when greatest(0,
  case when $1::int > 0 and $2::boolean then d.attempts + $1::int else least(d.attempts + $1::int, $3::int - 1) end) >= $3 then pg_catalog.clock_timestamp() end
from lethe.commands k
where d.app_id = $7::text and d.command_id = $8::text and d.conversation_id = $9::text and d.state in ('pending', 'running')
  and (d.lease_token = $10 or d.lease_until is null or d.lease_until < pg_catalog.clock_timestamp())
  and k.app_id = d.app_id and k.command_id = d.command_id and k.digest = $11

--- finish: app user conversation command token proven version
with fence as materialized ( -- deletions_pkey
  select $1::text as app_id, $2::text as user_id, $3::text as conversation_id,
    d.through_seq, d.history_kept, d.cursor_seq, d.messages_deleted
  from lethe.deletions d
  where d.app_id = $1::text and d.command_id = $4::text and d.conversation_id = $3::text and d.lease_token = $5::uuid and d.through_seq is not null),
rows as materialized (
  select c.tableoid as part, c.ctid as id, c.tableoid::text || ' ' || c.xmin::text as version, pg_catalog.pg_current_xact_id()::xid in (c.xmax, c.xmin) as ours
  from "chat"."conversations" c where c."app_id"::text = $1::text and c."user_id"::text = $2::text and c."conversation_id"::text = $3::text
),
conversation as materialized (
  select pg_catalog.count(*) > 0 as there, coalesce(pg_catalog.bool_and(c.ours), true) as ours, coalesce(pg_catalog.string_agg(c.version, ','), '') as version
  from rows c
),
seen as materialized (
  select q.*, c.there, c.ours and $6::boolean and (c.version = $7::text or q.history_kept or not (
    exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" <= q.through_seq)
    or exists (select from "chat"."reactions" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq)
    or exists (select from "chat"."attachments" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq)
  )) as finished,
    exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" > q.through_seq) as newer
  from fence q cross join conversation c
),
due as materialized (select q.*, c.part, c.id from seen q cross join rows c where q.finished),
leaving as materialized (select q.part, q.id from due q where not q.newer),
dropped as (
  delete from only "chat"."conversations" c where c.ctid = any (array(select f.id from leaving f))
  returning c.tableoid as part, c.ctid as id
),
recounted as (
  update "chat"."conversations" c
  set "unread_count" = least(c."unread_count", (
    select pg_catalog.count(*) from (
      select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" > q.through_seq
      limit greatest(c."unread_count", 0)) n))
  from due q
  where c.tableoid = q.part and c.ctid = q.id and q.newer and c."unread_count" > 0
),
written as (
  update lethe.deletions d
  set state = 'done', completed_at = pg_catalog.clock_timestamp(), conversation_removed = not (q.there and q.newer),
    multi_client_sync = coalesce((select a.multi_client_sync from lethe.apps a where a.app_id = d.app_id), false),
    cursor_seq = q.through_seq, lease_token = null, lease_until = null, waiting_for = null, waiting_detail = null
  from seen q
  where d.app_id = $1::text and d.command_id = $4::text and d.conversation_id = $3::text and q.finished and (select pg_catalog.count(*) from leaving) = (select pg_catalog.count(*) from dropped)
  returning d.app_id, d.command_id, d.conversation_id, d.user_id, d.origin_device_id, d.state, d.lease_token, d.through_seq, d.cursor_seq,
  d.messages_deleted, d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at, d.completed_at, d.failed_at, d.reason,
  d.message, d.attempts, d.last_error, extract(epoch from d.lease_until - pg_catalog.clock_timestamp())::float8 as lease_left
)
select 0::bigint, null::bytea, w.* from written w
union all
select 1, k.digest, d.* from (values ($1::text, $4::text, $3::text)) q (app_id, command_id, conversation_id) left join lateral (
  select k.digest from lethe.commands k where k.app_id = q.app_id and k.command_id = q.command_id limit 1) k on true
left join lateral (
  select d.app_id, d.command_id, d.conversation_id, d.user_id, d.origin_device_id, d.state, d.lease_token, d.through_seq, d.cursor_seq,
  d.messages_deleted, d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at, d.completed_at, d.failed_at, d.reason,
  d.message, d.attempts, d.last_error, extract(epoch from d.lease_until - pg_catalog.clock_timestamp())::float8 as lease_left from lethe.deletions d
  where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id limit 1) d on true
where not exists (select from written)

--- finish_prove: app user conversation command token
with fence as materialized ( -- deletions_pkey
  select $1::text as app_id, $2::text as user_id, $3::text as conversation_id,
    d.through_seq, d.history_kept, d.cursor_seq, d.messages_deleted
  from lethe.deletions d
  where d.app_id = $1::text and d.command_id = $4::text and d.conversation_id = $3::text and d.lease_token = $5::uuid and d.through_seq is not null
  for update
)
select q.history_kept or not (
    exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" <= q.through_seq)
    or exists (select from "chat"."reactions" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq)
    or exists (select from "chat"."attachments" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq)
  ),
  (select coalesce(pg_catalog.string_agg(c.tableoid::text || ' ' || c.xmin::text, ','), '') from "chat"."conversations" c where c."app_id"::text = $1::text and c."user_id"::text = $2::text and c."conversation_id"::text = $3::text)
from fence q

--- lock_conversation: app user conversation
select pg_catalog.concat_ws(', ', case when hint_0 > 0 then 'unread_count ' || hint_0::text end, case when hint_1 > 0 then 'last_seq ' || hint_1::text end)::text
from (
  select c.ctid as id, c."unread_count" as hint_0, c."last_seq" as hint_1
  from "chat"."conversations" c where c."app_id"::text = $1::text and c."user_id"::text = $2::text and c."conversation_id"::text = $3::text
  for update) c

--- probe_erase: id
delete from lethe.commands where app_id = '' and command_id = $1

--- probe_write: id
insert into lethe.commands (app_id, command_id, digest) values ('', $1, '')

--- record: app command conversation
select 1::bigint, k.digest, d.* from (values ($1::text, $2::text, $3::text)) q (app_id, command_id, conversation_id) left join lateral (
  select k.digest from lethe.commands k where k.app_id = q.app_id and k.command_id = q.command_id limit 1) k on true
left join lateral (
  select d.app_id, d.command_id, d.conversation_id, d.user_id, d.origin_device_id, d.state, d.lease_token, d.through_seq, d.cursor_seq,
  d.messages_deleted, d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at, d.completed_at, d.failed_at, d.reason,
  d.message, d.attempts, d.last_error, extract(epoch from d.lease_until - pg_catalog.clock_timestamp())::float8 as lease_left from lethe.deletions d
  where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id limit 1) d on true

--- release: waiting_for detail low app command conversation token
update lethe.deletions d
set state = 'pending', lease_token = null, lease_until = null, waiting_for = nullif($1::text, ''),
  waiting_detail = nullif($2::text, ''), cursor_seq = greatest(d.cursor_seq, $3)
where d.app_id = $4::text and d.command_id = $5::text and d.conversation_id = $6::text and d.state in ('pending', 'running')
  and (d.lease_token = $7 or d.lease_until is null and $1::text <> '')

--- renew: lease low waiting_for detail app command conversation token
update lethe.deletions d
set lease_until = pg_catalog.clock_timestamp() + $1::interval, cursor_seq = greatest(d.cursor_seq, $2), waiting_for = nullif($3::text, ''),
  waiting_detail = nullif($4::text, '')
where d.app_id = $5::text and d.command_id = $6::text and d.conversation_id = $7::text and d.state = 'running' and d.lease_token = $8

--- reopen: letter app command conversation digest
update lethe.deletions d
set state = 'pending', attempts = 0, reason = null, message = null, failed_at = null, last_error = null,
  lease_token = null, lease_until = null, retried = pg_catalog.array_append(d.retried, $1::bigint)
from lethe.commands k
where d.app_id = $2::text and d.command_id = $3::text and d.conversation_id = $4::text and d.state = 'failed' and not ($1 = any (d.retried))
  and k.app_id = d.app_id and k.command_id = d.command_id and k.digest = $5

--- replay_due: apps commands conversations users through_seqs completed_at kept
with q as materialized (
  select *
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[],
    $7::boolean[]) with ordinality as q (app_id, command_id, conversation_id, user_id, through_seq, completed_at, history_kept, ord)
)
select q.ord
from q
left join lateral (
  select d.state from lethe.deletions d
  where d.app_id = q.app_id and d.command_id = q.command_id and d.conversation_id = q.conversation_id limit 1) d on true
where d.state is distinct from 'done' or not q.history_kept and (
    exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" <= q.through_seq and m."sent_at" <= q.completed_at)
    or exists (select from "chat"."reactions" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq
      and not exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" = x."seq" offset 0))
    or exists (select from "chat"."attachments" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq
      and not exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" = x."seq" offset 0))
  )
order by q.ord

--- replay_finish: app user conversation command through_seq completed_at kept device deleted removed sync requested_at
with q as materialized (
  select $1::text as app_id, $2::text as user_id, $3::text as conversation_id, $4::text as command_id,
    $5::bigint as through_seq, $6::timestamptz as completed_at, $7::boolean as history_kept
),
rows as materialized (
  select c.tableoid as part, c.ctid as id, c.tableoid::text || ' ' || c.xmin::text as version, pg_catalog.pg_current_xact_id()::xid in (c.xmax, c.xmin) as ours
  from "chat"."conversations" c where c."app_id"::text = $1::text and c."user_id"::text = $2::text and c."conversation_id"::text = $3::text
),
conversation as materialized (
  select pg_catalog.count(*) > 0 as there, coalesce(pg_catalog.bool_and(c.ours), true) as ours, coalesce(pg_catalog.string_agg(c.version, ','), '') as version
  from rows c
),
seen as materialized (
  select q.*, c.ours and (q.history_kept or not (
    exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" <= q.through_seq and m."sent_at" <= q.completed_at)
    or exists (select from "chat"."reactions" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq
      and not exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" = x."seq" offset 0))
    or exists (select from "chat"."attachments" x where x."app_id"::text = q.app_id and x."user_id"::text = q.user_id and x."conversation_id"::text = q.conversation_id and x."seq" <= q.through_seq
      and not exists (select from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id and m."seq" = x."seq" offset 0))
  )) as finished,
    case when q.history_kept then n.newer else n.there end as newer
  from q
  cross join conversation c
  cross join lateral ( -- the newest message: whether there is one, and whether it is newer than the deletion
    select m.newest is not null as there, m.newest is not null and (m.newest[1] > q.through_seq or m.newest[2] is distinct from 1) as newer
    from (select (select array[m."seq"::bigint, (m."sent_at" <= q.completed_at)::int] from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id order by m."seq" desc limit 1) as newest offset 0) m) n
),
due as materialized (select q.*, c.part, c.id from seen q cross join rows c where q.finished),
leaving as materialized (select q.part, q.id from due q where not q.newer),
dropped as (
  delete from only "chat"."conversations" c where c.ctid = any (array(select f.id from leaving f))
  returning c.tableoid as part, c.ctid as id
),
recounted as (
  update "chat"."conversations" c
  set "unread_count" = least(c."unread_count", (
    select pg_catalog.count(*) from (
      select m."seq" > q.through_seq or (m."sent_at" <= q.completed_at) is not true as newer
      from "chat"."messages" m where m."app_id"::text = q.app_id and m."user_id"::text = q.user_id and m."conversation_id"::text = q.conversation_id
      order by m."seq" desc limit greatest(c."unread_count", 0)) n
    where n.newer))
  from due q
  where c.tableoid = q.part and c.ctid = q.id and q.newer and c."unread_count" > 0
),
settled as materialized (
  select q.* from seen q where q.finished and (select pg_catalog.count(*) from leaving) = (select pg_catalog.count(*) from dropped)
),
entered as (
  insert into lethe.commands (app_id, command_id, digest, created_at)
  select q.app_id, q.command_id, '', q.completed_at from settled q
  on conflict do nothing
),
written as (
  insert into lethe.deletions as d (app_id, command_id, conversation_id, user_id, origin_device_id, state, stored_at, through_seq, cursor_seq,
    messages_deleted, history_kept, conversation_removed, multi_client_sync, requested_at, created_at, completed_at)
  select q.app_id, q.command_id, q.conversation_id, q.user_id, nullif($8::text, ''), 'done', q.completed_at, q.through_seq, q.through_seq,
    $9::bigint, q.history_kept, $10::boolean, $11::boolean, nullif($12::text, ''), q.completed_at, q.completed_at
  from settled q
  on conflict (app_id, command_id, conversation_id) do update
  set state = 'done', through_seq = excluded.through_seq, cursor_seq = excluded.cursor_seq, messages_deleted = excluded.messages_deleted,
    conversation_removed = excluded.conversation_removed, multi_client_sync = excluded.multi_client_sync, completed_at = excluded.completed_at,
    failed_at = null, reason = null, message = null, waiting_for = null, waiting_detail = null, lease_token = null, lease_until = null
  where d.state <> 'done'
)
select exists (select from settled), exists (select from dropped)

--- step_note: deleted cursor lease app command conversation token
update lethe.deletions d
set messages_deleted = d.messages_deleted + $1::bigint, cursor_seq = greatest(d.cursor_seq, $2::bigint),
  lease_until = pg_catalog.clock_timestamp() + $3::interval, waiting_for = null, waiting_detail = null
where d.app_id = $4::text and d.command_id = $5::text and d.conversation_id = $6::text and d.lease_token = $7::uuid
returning 0::bigint, null::bytea, d.app_id, d.command_id, d.conversation_id, d.user_id, d.origin_device_id, d.state, d.lease_token, d.through_seq, d.cursor_seq,
  d.messages_deleted, d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at, d.completed_at, d.failed_at, d.reason,
  d.message, d.attempts, d.last_error, extract(epoch from d.lease_until - pg_catalog.clock_timestamp())::float8 as lease_left

--- step_range: app user conversation command token dense limit claim low
with fence as materialized ( -- deletions_pkey
  select $1::text as app_id, $2::text as user_id, $3::text as conversation_id,
    d.through_seq, d.history_kept, d.cursor_seq, d.messages_deleted
  from lethe.deletions d
  where d.app_id = $1::text and d.command_id = $4::text and d.conversation_id = $3::text and d.lease_token = $5::uuid and d.through_seq is not null
  for update
)
select r.low, r.first, case when r.first is null then r.through_seq
  when $6::boolean then least(r.through_seq, r.first::numeric - 1 + $7::bigint)::bigint
  else coalesce((
    select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = $1::text and m."user_id"::text = $2::text and m."conversation_id"::text = $3::text
      and m."seq" > r.low and m."seq" <= r.through_seq
    order by m."seq" offset $7::bigint - 1 limit 1), r.through_seq) end as high, false as crowded, r.through_seq, r.history_kept, r.messages_deleted
from (
  select q.*, case when q.history_kept then null else (
    select m."seq"::bigint from "chat"."messages" m where m."app_id"::text = $1::text and m."user_id"::text = $2::text and m."conversation_id"::text = $3::text
      and m."seq" > q.low and m."seq" <= q.through_seq
    order by m."seq" limit 1) end as first
  from (
    select f.through_seq, f.history_kept, f.messages_deleted,
      case when not $8::boolean then $9::bigint
        when f.cursor_seq = 0 or f.cursor_seq >= f.through_seq then (-9223372036854775808)::bigint else f.cursor_seq end as low
    from fence f) q
  offset 0) r

--- step_throttles: 
select t.reason, t.detail, coalesce(extract(epoch from t.until - pg_catalog.clock_timestamp()), 0)::float8
from lethe.throttles t
where t.until is null or t.until > pg_catalog.clock_timestamp()
order by t.lane, t.reason limit 1

