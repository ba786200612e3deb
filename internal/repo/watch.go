package repo

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/internal/purge"
)

// sample is one of the things that a watch reads.
type sample struct {
	cause purge.ThrottleReason
	sql   string // the statement's name
	needs string // the privilege that it takes, as grant names it
	args  args
	scan  func(pgx.Rows) error
}

// Watch reads what may throttle the worker: the operator's pauses, and if all is set also the
// figures that limits are set for, in one round trip. It
// takes no lock and changes nothing. What the role may not read is left out from
// then on, and reported in Unread; what is hidden from it is reported each time. A limit
// of time for it is the context's.
func (r *Repo) Watch(ctx context.Context, limits purge.Limits, all bool) (purge.Figures, error) {
	f := purge.Figures{Unread: map[purge.ThrottleReason]string{}}
	samples := r.samples(&f, limits, all)
	err := r.read(ctx, samples...)
	if !denied(err) {
		return f, classifyShared(ctx, err)
	}
	f = purge.Figures{Unread: map[purge.ThrottleReason]string{}}
	for _, k := range samples {
		err := r.read(ctx, k)
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
func (r *Repo) mend(err error, k sample) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code != noPrivilege { // no such function
		return "worker setup"
	}
	return "grant " + k.needs + " to " + r.role()
}

// countLong counts a transaction of the long lane, which must not count as foreground load.
func (r *Repo) countLong() { r.longMade.Add(1) }

// samples are what a watch reads; what they find goes into f.
func (r *Repo) samples(f *purge.Figures, limits purge.Limits, all bool) []sample {
	found := []sample{{purge.Paused, "pauses", "", nil, func(rows pgx.Rows) error {
		var p purge.Pause
		err := rows.Scan(&p.Lane, &p.Since)
		f.Pauses = append(f.Pauses, p)
		return err
	}}}
	if _, blind := r.blind.Load(purge.ForegroundLoad); !blind {
		own := r.longMade.Load()
		found = append(found, sample{purge.ForegroundLoad, "transactions", "select on pg_catalog.pg_stat_database", nil, func(rows pgx.Rows) error {
			var mayThrottle bool
			err := rows.Scan(&f.Transactions, &mayThrottle)
			r.mayThrottle.Store(mayThrottle)
			f.Transactions -= own
			return err
		}})
	}
	add := func(wanted bool, k sample) {
		if _, blind := r.blind.Load(k.cause); all && wanted && !blind {
			found = append(found, k)
		}
	}
	add(limits.ReplicaLag > 0, sample{purge.ReplicaLag, "standbys", "execute on function lethe.standbys()", args{"ignored": append([]string{}, limits.IgnoreStandbys...)}, func(rows pgx.Rows) error {
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
	add(limits.WALRetained > 0, sample{purge.WALRetained, "wal_retained", "select on pg_catalog.pg_replication_slots, pg_catalog.pg_stat_archiver", nil, func(rows pgx.Rows) error {
		return rows.Scan(&f.WALHolder, &f.WALRetained)
	}})
	add(limits.LockWait > 0, sample{purge.LockWaiters, "lock_waiters", "select on pg_catalog.pg_locks, pg_catalog.pg_stat_activity", args{"wait": limits.LockWait}, func(rows pgx.Rows) error {
		var longest float64
		err := rows.Scan(&f.LockWaiters, &longest)
		f.LongestWait = seconds(longest)
		return err
	}})
	add(r.cfg.LongConcurrency > 0, sample{purge.PermitsHeld, "permit_holders", "execute on function lethe.sessions()", args{"class": permitClass, "permits": r.cfg.LongConcurrency}, func(rows pgx.Rows) error {
		var holder string
		err := rows.Scan(&holder)
		f.PermitHolders = append(f.PermitHolders, holder)
		return err
	}})
	return found
}

// Blocker returns who most likely locks what a deletion waits for, in one line for
// people; "" if there is none or the role may not see it.
func (r *Repo) Blocker(ctx context.Context) string {
	var tables []string
	for _, t := range r.plan.Locks() {
		if t.Name != "" { // as that of conversations may be
			tables = append(tables, t.Name)
		}
	}
	var holder string
	t := r.begin(false)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&holder) }, general.get("blocker"), args{"tables": tables})
	if err := r.commit(ctx, t); err != nil {
		return ""
	}
	return holder
}

// read takes samples, in one round trip.
func (r *Repo) read(ctx context.Context, samples ...sample) error {
	t := r.begin(false)
	for _, k := range samples {
		t.query(k.scan, general.get(k.sql), k.args)
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

// ThrottleSlowBatch throttles the long lane of all workers for a while; a longer time that
// has been noted stays. detail says why, for people.
func (r *Repo) ThrottleSlowBatch(ctx context.Context, left time.Duration, detail string) error {
	t := r.begin(false)
	t.exec(nil, general.get("slow_batch"), args{"left": left, "detail": detail})
	return r.commit(ctx, t)
}
