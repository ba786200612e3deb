package repo

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// pauses are the operator's. By throttles_pkey.
	pauses = `select h.lane, h.since from lethe.throttles h where h.reason = 'paused' order by h.lane`

	// transactions are all that this database has seen, as far as its sessions have
	// reported them: each does so about once a second. And whether this role may let
	// others rest.
	transactions = `select s.xact_commit + s.xact_rollback,
  has_table_privilege('lethe.throttles', 'insert') and has_table_privilege('lethe.throttles', 'update')
from pg_stat_database s where s.datname = current_database()`

	// standbys are those that replay, and where they and we are. What only
	// receives, such as pg_receivewal, says nothing of replaying. The role may see
	// them itself, as an older roles.sql had it, or the function's owner does. If neither
	// may, the rows are there, and empty: then the grant that is missing. Postgres 16 and
	// newer keep with a membership whether it is inherited.
	standbys = `select coalesce(s.application_name, ''), pg_wal_lsn_diff(s.replay_lsn, '0/0')::bigint,
  case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint else 0 end,
  'grant pg_read_all_stats to ' || (select p.proowner::regrole::text from pg_proc p where p.oid = 'lethe.standbys()'::regprocedure)
    || case when current_setting('server_version_num')::int >= 160000 then ' with inherit true' else '' end
from (
  select s.application_name, s.state, s.replay_lsn from pg_stat_replication s where pg_has_role('pg_read_all_stats', 'usage')
  union all
  select s.application_name, s.state, s.replay_lsn from lethe.standbys() s where not pg_has_role('pg_read_all_stats', 'usage')) s
where s.state is null or s.state in ('streaming', 'catchup') and s.replay_lsn is not null and s.application_name <> all ($1::text[])`

	// walRetained is who keeps the most WAL from being recycled. What the archiver
	// failed on last is the oldest that it has not got rid of.
	walRetained = `select h.holder, h.held
from (select case when not pg_is_in_recovery() then pg_current_wal_lsn() end as at) p
cross join lateral (
  select 'replication slot "' || s.slot_name || '"' as holder, pg_wal_lsn_diff(p.at, s.restart_lsn)::bigint as held
  from pg_replication_slots s where s.restart_lsn is not null and s.wal_status is distinct from 'lost'
  union all
  select 'the archiver, which failed on ' || a.last_failed_wal || ',',
    (pg_wal_lsn_diff(p.at, (substr(a.last_failed_wal, 9, 8) || '/0')::pg_lsn)
      - ('x' || substr(a.last_failed_wal, 17, 8))::bit(32)::bigint * pg_size_bytes(current_setting('wal_segment_size')))::bigint
  from pg_stat_archiver a
  where current_setting('archive_mode') <> 'off' and a.last_failed_wal ~ '^[0-9A-F]{24}$'
    and (a.last_archived_time is null or a.last_failed_time > a.last_archived_time)) h
where h.held is not null
order by h.held desc limit 1`

	// lockWaiters are sessions of others that have waited for longer than $1 for
	// a lock which a worker's session holds, of this replica or another: they are
	// known by their application_name. Since when they wait is told by Postgres 14
	// and newer; before, the age of the statement has to do.
	lockWaiters = `select pg_catalog.count(*)::int, coalesce(pg_catalog.max(extract(epoch from clock_timestamp() - w.since)), 0)::float8
from (
  select l.pid, pg_catalog.min(coalesce((pg_catalog.to_jsonb(l) ->> 'waitstart')::timestamptz, a.query_start)) as since
  from pg_locks l join pg_stat_activity a on a.pid = l.pid
  where not l.granted and a.application_name <> current_setting('application_name')
  group by l.pid) w
where w.since < clock_timestamp() - $1::interval and exists (
  select from pg_stat_activity b
  where b.pid = any (pg_blocking_pids(w.pid)) and b.datname = current_database() and b.application_name = current_setting('application_name'))`
)

// permitHolders are sessions that have held permits of the long lane for longer
// than any batch takes. $1 is the class of the advisory locks, $2 the number of permits.
const permitHolders = `select ` + sessionText + `
from pg_locks l join lethe.sessions() s on s.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.classid = $1::bigint::oid and l.objsubid = 2 and l.objid::bigint between 1 and $2
  and l.database = (select d.oid from pg_database d where d.datname = current_database())
  and coalesce(s.xact_start, s.backend_start) < clock_timestamp() - interval '5 s'
group by s.pid, s.usename, s.application_name, s.xact_start, s.backend_start
order by coalesce(s.xact_start, s.backend_start) limit 3`

// sessionText is a session s of lethe.sessions(), for people.
const sessionText = `'pid ' || s.pid::text || ' (role ' || coalesce(s.usename::text, '-') || ', application ' || coalesce(nullif(s.application_name, ''), '-') || '), '
  || case when s.xact_start is null then 'connected' else 'in a transaction' end || ' since '
  || to_char(coalesce(s.xact_start, s.backend_start) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`

// look is one of the things that a watch looks at.
type look struct {
	cause purge.ThrottleReason
	sql   string
	needs string // the privilege that it takes, as grant names it
	args  []any
	scan  func(pgx.Rows) error
}

// Watch looks for what should hold the worker back: at the operator's pauses, and
// if all is set also at the figures that limits are set for, in one round trip. It
// takes no lock and changes nothing. What the role may not read is left out from
// then on, and told in Unread; what is hidden from it is told each time. A limit
// of time for it is the context's.
func (r *Repo) Watch(ctx context.Context, limits purge.Limits, all bool) (purge.Figures, error) {
	f := purge.Figures{Unread: map[purge.ThrottleReason]string{}}
	looks := r.looks(&f, limits, all)
	err := r.see(ctx, looks...)
	if !denied(err) {
		return f, classifyShared(ctx, err)
	}
	f = purge.Figures{Unread: map[purge.ThrottleReason]string{}}
	for _, k := range looks {
		err := r.see(ctx, k)
		if denied(err) && k.cause != purge.Paused {
			r.blind.Store(k.cause, oneLine(err).Error()+"; run: "+r.mend(err, k))
			continue
		}
		if err != nil {
			return f, classifyShared(ctx, err)
		}
	}
	r.blind.Range(func(cause, why any) bool {
		f.Unread[cause.(purge.ThrottleReason)] = why.(string)
		return true
	})
	return f, nil
}

// mend is the statement after which the server allows a sample that it has refused.
func (r *Repo) mend(err error, k look) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code != noPrivilege { // no such function
		return "worker setup"
	}
	return "grant " + k.needs + " to " + r.role()
}

// own counts a transaction of the long lane, which others need not be asked for.
func (r *Repo) own() { r.made.Add(1) }

// looks are what a watch has to look at; what they find goes into f.
func (r *Repo) looks(f *purge.Figures, limits purge.Limits, all bool) []look {
	found := []look{{purge.Paused, pauses, "", nil, func(rows pgx.Rows) error {
		var p purge.Pause
		err := rows.Scan(&p.Lane, &p.Since)
		f.Pauses = append(f.Pauses, p)
		return err
	}}}
	if _, blind := r.blind.Load(purge.ForegroundLoad); !blind {
		own := r.made.Load()
		found = append(found, look{purge.ForegroundLoad, transactions, "select on pg_catalog.pg_stat_database", nil, func(rows pgx.Rows) error {
			var mayThrottle bool
			err := rows.Scan(&f.Transactions, &mayThrottle)
			r.mayThrottle.Store(mayThrottle)
			f.Transactions -= own
			return err
		}})
	}
	add := func(wanted bool, k look) {
		if _, blind := r.blind.Load(k.cause); all && wanted && !blind {
			found = append(found, k)
		}
	}
	add(limits.ReplicaLag > 0, look{purge.ReplicaLag, standbys, "execute on function lethe.standbys()", []any{append([]string{}, limits.IgnoreStandbys...)}, func(rows pgx.Rows) error {
		var s purge.Standby
		var replayed *int64
		var mends string
		if err := rows.Scan(&s.Name, &replayed, &f.Position, &mends); err != nil {
			return err
		}
		if replayed == nil {
			f.Unread[purge.ReplicaLag] = "the owner of lethe.standbys() may not see how far standbys are; run: " + mends
			return nil
		}
		s.Replayed = *replayed
		f.Standbys = append(f.Standbys, s)
		return nil
	}})
	add(limits.WALRetained > 0, look{purge.WALRetained, walRetained, "select on pg_catalog.pg_replication_slots, pg_catalog.pg_stat_archiver", nil, func(rows pgx.Rows) error {
		return rows.Scan(&f.WALHolder, &f.WALRetained)
	}})
	add(limits.LockWait > 0, look{purge.LockWaiters, lockWaiters, "select on pg_catalog.pg_locks, pg_catalog.pg_stat_activity", []any{limits.LockWait}, func(rows pgx.Rows) error {
		var longest float64
		err := rows.Scan(&f.LockWaiters, &longest)
		f.LongestWait = seconds(longest)
		return err
	}})
	add(r.cfg.LongConcurrency > 0, look{purge.PermitsHeld, permitHolders, "execute on function lethe.sessions()", []any{turnClass, r.cfg.LongConcurrency}, func(rows pgx.Rows) error {
		var holder string
		err := rows.Scan(&holder)
		f.PermitHolders = append(f.PermitHolders, holder)
		return err
	}})
	return found
}

// blockers is who most likely locks the rows that a deletion waits for: of others'
// transactions that have locked rows of one of the tables $1, or a table, the
// oldest. Postgres shows who locks a single row only to transactions that wait for it, and
// deletions don't.
const blockers = `select coalesce(` + sessionText + `,
  'prepared transaction "' || x.gid || '" (role ' || x.owner || '), since ' || to_char(x.prepared at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
from pg_locks l
left join lethe.sessions() s on s.pid = l.pid
left join pg_prepared_xacts x on l.pid is null and l.virtualtransaction = '-1/' || x.transaction
where l.locktype = 'relation' and l.granted and l.mode <> 'AccessShareLock' and l.relation = any ($1::text[]::regclass[])
  and s.application_name is distinct from current_setting('application_name')
  and coalesce(s.xact_start, x.prepared) < clock_timestamp() - interval '100 ms'
order by coalesce(s.xact_start, x.prepared) limit 1`

// Blocker returns who most likely locks what a deletion waits for, in one line for
// people; "" if there is none or the role may not see it.
func (r *Repo) Blocker(ctx context.Context) string {
	var tables []string
	for _, t := range r.plan.Tables() {
		tables = append(tables, t.Name)
	}
	var holder string
	if err := r.pool.QueryRow(ctx, blockers, tables).Scan(&holder); err != nil {
		return ""
	}
	return holder
}

// see takes looks, in one round trip.
func (r *Repo) see(ctx context.Context, looks ...look) error {
	t := r.begin(false)
	for _, k := range looks {
		t.query(k.scan, k.sql, k.args...)
	}
	return r.commit(ctx, t)
}

// role is whom the pool connects as, quoted.
func (r *Repo) role() string { return r.source.role() }

// denied says that a view or function is not for this role, or not there.
func denied(err error) bool {
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	return errors.As(err, &pg) && !errors.As(err, &connect) && strings.HasPrefix(pg.Code, "42")
}
