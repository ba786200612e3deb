-- Finishes the deletions of which nothing is left. An earlier statement of this
-- transaction has locked the conversations' rows: only a row that carries our
-- lock (or that a key's action has rewritten for us since) may go, for only then
-- does this statement's snapshot hold every message that its senders have
-- committed. A row that came or was locked by somebody else in between leaves
-- its deletion unfinished.
{{- if .Proven}} What an earlier statement has proved holds no longer
-- where a sender has changed the row since: then it is proved again.
{{- end}}
-- Several deletions of one conversation may finish together, and a statement can
-- change a row only once: the greatest boundary among them decides for all.
-- Each key forward, one row; the conversations' key; commands_pkey, deletions_pkey.
with {{template "held" .}},
seen as materialized (
  select q.*, c.there, c.ours, c.spot,{{range $i, $t := .Conversations.Hints}} c.hint_{{$i}},{{end}}
    {{- if .Proven}}
    (q.batch_seq is distinct from q.through_seq
      or c.version <> pg_catalog.current_setting('lethe.version') and not q.history_kept and {{template "remaining" .}}) as remaining,
    {{- else}}
    not q.history_kept and {{template "remaining" .}} as remaining,
    {{- end}}
    exists (select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > q.through_seq) as newer
  from held q cross join lateral (
    select pg_catalog.count(*) > 0 as there, coalesce(pg_catalog.bool_and(pg_catalog.pg_current_xact_id()::xid in (c.xmax, c.xmin)), false) as ours,
      pg_catalog.min(c.tableoid::text || ' ' || c.ctid::text) as spot
      {{- range $i, $t := .Conversations.Hints}}, pg_catalog.max(c.{{$t}}) as hint_{{$i}}{{end}}
    {{- if .Proven}}, {{template "version" .}} as version{{end}}
    from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}}) c
),
finished as materialized (
  select *, pg_catalog.row_number() over together = 1 as decides, there and pg_catalog.first_value(newer) over together as stays,
    pg_catalog.sum(messages_deleted) over (partition by spot) = 0 and there and not history_kept as none_found
  from seen where not remaining and (ours or not there)
  window together as (partition by spot order by through_seq desc, ord)
),
entries as materialized (
  select q.*, c.part, c.id
  from finished q cross join lateral (
    select c.tableoid as part, c.ctid as id from {{.Conversations.Name}} c where {{.Conversations.Match "c" "q"}} offset 0) c
  where q.decides
),
dropped as (
  delete from {{.Conversations.Name}} c using entries q where c.tableoid = q.part and c.ctid = q.id and not q.newer
  returning c.tableoid as part, c.ctid as id
)
{{- if .Conversations.Unread}},
recounted as (
  update {{.Conversations.Name}} c
  set {{.Conversations.Unread}} = least(c.{{.Conversations.Unread}}, (
    select pg_catalog.count(*) from (
      select from {{.Messages.Name}} m where {{.Messages.Match "m" "q"}} and m.{{.Messages.Seq}} > q.through_seq
      limit greatest(c.{{.Conversations.Unread}}, 0)) n))
  from entries q
  where c.tableoid = q.part and c.ctid = q.id and q.newer and c.{{.Conversations.Unread}} > 0
)
{{- end}},
done as (
  update lethe.deletions d
  set state = 'done', completed_at = pg_catalog.clock_timestamp(), conversation_removed = not q.stays,
    multi_client_sync = coalesce((select a.multi_client_sync from lethe.apps a where a.app_id = d.app_id), false),
    cursor_seq = q.through_seq, batch_seq = null, lease_token = null, lease_until = null
  from finished q
  where d.ctid = q.entry
    and (q.stays or not q.there or q.spot not in ( -- a trigger may keep a row
      select e.spot from entries e where not e.newer and (e.part, e.id) not in (select x.part, x.id from dropped x)))
  returning q.ord, d as entry,
    {{if .Conversations.Hints}}case when q.none_found and not q.stays then {{.Conversations.Doubt}} end{{else}}null{{end}} as doubt
)
-- What the ledger now says of each deletion, finished here or not.
select l.ord, l.finished, l.doubt, l.reused, {{template "outcome" "(l.entry)"}}
from (
  select t.ord, t.token, f.ord is not null as finished, f.doubt, coalesce(k.digest <> t.digest, false) as reused, coalesce(f.entry, d.entry) as entry
  from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bytea[]) with ordinality
    as t (app_id, command_id, conversation_id, token, digest, ord)
  left join done f on f.ord = t.ord
  left join lateral (
    select k.digest from lethe.commands k
    where k.app_id = t.app_id and k.command_id = t.command_id and f.ord is null limit 1) k on true
  left join lateral (
    select d as entry from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.conversation_id = t.conversation_id and k.digest = t.digest
    limit 1) d on true
  offset 0) l
