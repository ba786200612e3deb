package repo

import (
	"context"
	"time"
)

// TakeSweep notes that a sweep of the shared logs begins now, unless one has begun within
// every; then it reports false. So all workers of the database together make one in each interval.
func (r *Repo) TakeSweep(ctx context.Context, every time.Duration) (taken bool, err error) {
	t, noted := r.begin(false), 0
	t.exec(&noted, general.get("take_sweep"), args{"every": every})
	err = r.commit(ctx, t)
	return noted > 0, err
}

// Hides reports whether deletions hide: whether the plan's messages are a shared log with members.
func (r *Repo) Hides() bool { return r.plan.Members != nil }
