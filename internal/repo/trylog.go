package repo

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// TrialLog is what a deletion would do in a shared log: what it hides from its user at once. What it erases, because the
// floor rises, is in the rest of the [Trial].
type TrialLog struct {
	// Member says that the user has a row as a member, and Counts that the floor waits for them.
	Member, Counts bool
	// Hidden is how many messages become hidden.
	Hidden int64
	// Floor is the position at and below which messages are erased, nil if there is none: somebody has deleted
	// nothing.
	Floor *int64
	// Members is how many members count, and Keeping how many of the others see messages at or below the boundary.
	Members, Keeping int64
	// Keepers are the first of those, with the position through which each has deleted the log, the lowest first.
	Keepers []TrialKeeper
}

// TrialKeeper is a member who keeps messages that another one deletes.
type TrialKeeper struct {
	User string
	// Cleared is nil for one who has deleted nothing.
	Cleared *int64
}

// EveryoneOnly reports whether the plan can delete for everyone alone: no table says who reads a shared log.
func (r *Repo) EveryoneOnly() bool { return r.plan.Shared && r.plan.Members == nil }

// log finds out what the deletion hides, and through which position it erases, which takes the boundary's place then.
func (t *trial) log(d purge.Deletion) func(context.Context) error {
	return func(ctx context.Context) error {
		if t.r.plan.Members == nil {
			return nil
		}
		log, err := t.members(ctx, d, t.r.ledgerless)
		if err != nil && !t.r.ledgerless { // the role may not read schema lethe
			t.out.Doubts = append(t.out.Doubts, "what the ledger keeps of members isn't counted: "+oneLine(err).Error())
			log, err = t.members(ctx, d, true)
		}
		if err != nil {
			return err
		}
		cleared, through := log.cleared, t.through
		t.out.Log, t.needed = &log.TrialLog, log.Members > 0
		if log.Floor == nil && log.Members == 0 || log.Floor != nil && *log.Floor > t.newest {
			log.Floor = &t.newest // never above the messages that there are
		}
		if t.through = math.MinInt64; log.Floor != nil {
			t.through = *log.Floor
		}
		t.newer = t.newest > t.through
		if !log.Member || cleared >= through {
			return nil
		}
		hidden := t.statement("_try_count", sqlArgs{})
		return t.pages(ctx, cleared, through, 10*tryPage, func(tx *transaction, a args) {
			tx.query(func(rows pgx.Rows) error {
				var n int64
				err := rows.Scan(&n)
				log.Hidden += n
				return err
			}, hidden, a)
		})
	}
}

// trialLog is a TrialLog, and through which position the user has cleared the log before.
type trialLog struct {
	TrialLog
	cleared int64
}

func (t *trial) members(ctx context.Context, d purge.Deletion, ledgerless bool) (*trialLog, error) {
	found := &trialLog{cleared: math.MinInt64}
	key := t.r.plan.Conversation(d)
	a := t.a.with(args{"through": t.through, "log_user": key[1], "log_conversation": key[2]})
	return found, t.read(ctx, func(tx *transaction) {
		tx.query(func(rows pgx.Rows) error {
			var cleared *int64
			var names []string
			var positions []int64
			if err := rows.Scan(&found.Member, &found.Counts, &cleared, &found.Members, &found.Floor, &found.Keeping, &names, &positions); err != nil {
				return err
			}
			if cleared != nil {
				found.cleared = *cleared
			}
			found.Floor = unlessNever(found.Floor)
			for i, name := range names {
				found.Keepers = append(found.Keepers, TrialKeeper{name, unlessNever(&positions[i])})
			}
			return nil
		}, t.statement("_try_log", sqlArgs{Ledgerless: ledgerless}), a)
	})
}

// unlessNever is the position, nil for the one below all.
func unlessNever(position *int64) *int64 {
	if position == nil || *position == math.MinInt64 {
		return nil
	}
	return position
}
