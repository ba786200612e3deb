package repo

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// expired is true of a deletion that has been final for longer than the
// interval: the ledger may forget it.
const expired = `d.state in ('done', 'failed') and coalesce(d.completed_at, d.failed_at) < now() - $1::interval`

// findExpired looks at the next $5 of the commands that came before the
// interval $1, above the key ($2, $3, $4), and says which may go. Index scans
// of commands_created_at, from the key on, and of deletions_pkey.
const findExpired = `
select c.created_at, c.app_id, c.command_id,
  not exists (select from lethe.deletions d
    where d.app_id = c.app_id and d.command_id = c.command_id and (` + expired + `) is not true offset 0)
from (
  select created_at, app_id, command_id from lethe.commands
  where created_at < now() - $1::interval and (created_at, app_id, command_id) > ($2, $3, $4)
  order by created_at, app_id, command_id limit $5) c
order by c.created_at, c.app_id, c.command_id`

// lockExpired locks the deletions of the commands, without waiting: what
// somebody else has locked is being forgotten by another replica or reopened.
const lockExpired = `
select pg_catalog.count(*) from (
  select from unnest($2::text[], $3::text[]) as t (app_id, command_id)
  cross join lateral (
    select d.ctid as id from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and ` + expired + `
    for update skip locked) d) l`

// forgetCommands removes the commands all of whose deletions this transaction
// has locked.
const forgetCommands = `
with found as materialized (
  select c.id
  from unnest($1::text[], $2::text[]) as t (app_id, command_id)
  cross join lateral (
    select c.ctid as id from lethe.commands c where c.app_id = t.app_id and c.command_id = t.command_id limit 1) c
  where not exists (select from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.xmax <> pg_current_xact_id()::xid offset 0)
)
delete from lethe.commands c using found f where c.ctid = f.id`

// forgetDeletions removes the deletions that this transaction has locked and
// whose commands it has removed.
const forgetDeletions = `
with found as materialized (
  select d.id
  from unnest($1::text[], $2::text[]) as t (app_id, command_id)
  cross join lateral (
    select d.ctid as id from lethe.deletions d
    where d.app_id = t.app_id and d.command_id = t.command_id and d.xmax = pg_current_xact_id()::xid offset 0) d
  where not exists (select from lethe.commands c where c.app_id = t.app_id and c.command_id = t.command_id offset 0)
)
delete from lethe.deletions d using found f where d.ctid = f.id`

// commandKey is where a command stands in the order of retention.
type commandKey struct {
	created      time.Time
	app, command string
}

// Expire makes the ledger forget the commands all of whose deletions became
// final longer than olderThan ago, with their deletions, and returns how many
// commands those were. An unfinished command stays, however old, with all of its
// deletions. It goes through the ledger once, oldest first, in transactions of at
// most limit commands (at least 1) and about the Repo's target time, until
// nothing is left or ctx ends; after an error, what it counted has gone all the
// same. Replicas may do it at the same time and then share the work.
func (r *Repo) Expire(ctx context.Context, olderThan time.Duration, limit int) (removed int, err error) {
	pace := purge.Pace{Target: r.cfg.Target, Min: 1, Max: limit}
	n := pace.Clamp(100) // commands of up to 100 deletions: a cautious start
	var from commandKey
	for {
		found, ripe, last, err := r.findExpired(ctx, olderThan, from, n)
		if err != nil || found == 0 {
			return removed, err
		}
		from = last // never again over what has been removed, or has to stay
		start := time.Now()
		gone, err := r.forget(ctx, olderThan, ripe)
		removed += gone
		if err != nil {
			return removed, err
		}
		n = pace.Next(n, time.Since(start), len(ripe) == n)
	}
}

// findExpired returns how many commands it looked at, which of them may go, and
// the key of the last.
func (r *Repo) findExpired(ctx context.Context, olderThan time.Duration, from commandKey, n int) (found int, ripe []commandKey, last commandKey, err error) {
	t := r.begin(false)
	t.query(func(rows pgx.Rows) error {
		var may bool
		if err := rows.Scan(&last.created, &last.app, &last.command, &may); err != nil {
			return err
		}
		found++
		if may {
			ripe = append(ripe, last)
		}
		return nil
	}, findExpired, olderThan, from.created, from.app, from.command, n)
	err = r.commit(ctx, t)
	return found, ripe, last, err
}

// forget removes the commands in one transaction, but for those that somebody
// else has in flight, and returns how many went.
func (r *Repo) forget(ctx context.Context, olderThan time.Duration, commands []commandKey) (gone int, err error) {
	if len(commands) == 0 {
		return 0, nil
	}
	var apps, ids []string
	for _, c := range commands {
		apps, ids = append(apps, c.app), append(ids, c.command)
	}
	t := r.begin(false) // what a crash brings back is forgotten again
	t.exec(nil, lockExpired, olderThan, apps, ids)
	t.exec(&gone, forgetCommands, apps, ids)
	t.exec(nil, forgetDeletions, apps, ids)
	if err := r.commit(ctx, t); err != nil {
		return 0, err
	}
	return gone, nil
}
