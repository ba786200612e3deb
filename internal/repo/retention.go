package repo

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// commandKey is where a command stands in the order of retention.
type commandKey struct {
	created      time.Time
	app, command string
}

// Expire makes the ledger forget the commands all of whose deletions became
// final longer than olderThan ago, with their deletions, and returns how many
// commands those were. A command stays, however old, with all of its deletions, while one
// is unfinished, or waits in a shared log for its messages to be erased. So does what the ledger has of a log's
// erasure. It goes through the ledger once, oldest first, in transactions of at
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
	}, r.sql.get("expire_find"), args{"age": olderThan, "created_at": from.created, "app": from.app, "command": from.command, "limit": n})
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
	a := args{"age": olderThan, "apps": apps, "commands": ids}
	t.exec(nil, r.sql.get("expire_lock"), a)
	t.exec(&gone, r.sql.get("expire_commands"), a)
	t.exec(nil, r.sql.get("expire_deletions"), a)
	t.exec(nil, r.sql.get("expire_enumerations"), a)
	if err := r.commit(ctx, t); err != nil {
		return 0, err
	}
	return gone, nil
}
