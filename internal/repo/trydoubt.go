package repo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// doubt collects reasons to think that another conversation is meant.
func (t *trial) doubt(ctx context.Context, d purge.Deletion) error {
	if log := t.out.Log; log != nil && !log.Member {
		t.out.Doubts = append(t.out.Doubts, fmt.Sprintf("user %q is no member of the conversation", d.User))
	}
	known := slices.ContainsFunc(t.out.Tables, func(t TrialTable) bool { return t.Path == conversationsPath && t.Deleted+t.Updated+t.Kept > 0 })
	switch {
	case t.missing != "":
		t.out.Doubts = append(t.out.Doubts, "what the plan looks up isn't there: "+t.missing)
	case t.out.Messages > 0 || t.newer:
		return nil
	case known && t.row != "":
		t.out.Doubts = append(t.out.Doubts, "there is no message, but the conversation's row has "+t.row)
		return nil
	case known:
		return nil
	default:
		t.out.Doubts = append(t.out.Doubts, "neither a message nor a row of the conversation is there: is it the right app, user and conversation, and the right database?")
	}
	for _, other := range spellings(d) {
		if _, err := t.r.Incompatible(other); err != nil {
			continue
		}
		var newest *int64
		err := t.read(ctx, func(tx *transaction) {
			tx.query(func(rows pgx.Rows) error { return rows.Scan(nil, &newest, nil) }, t.statement("_try_boundary", sqlArgs{}), argsOf(other).with(args{"wanted": new(int64(0))}))
		})
		if err != nil {
			return classifyShared(ctx, err)
		}
		if newest != nil {
			t.out.Doubts = append(t.out.Doubts, fmt.Sprintf("app %q, user %q has messages of conversation %q", other.App, other.User, other.Conversation))
		}
	}
	return nil
}

// doubtTimes doubts the unit of sent_at where it makes times that no message has. Workers don't: they would have to read the time of
// one more message with each boundary that they pin.
func (t *trial) doubtTimes(now time.Time) {
	for _, message := range []struct {
		which string
		sent  time.Time
	}{{"the newest message that goes", t.out.NewestDeleted}, {"the oldest message that stays", t.out.OldestKept}} {
		why := ""
		switch {
		case message.sent.IsZero():
		case message.sent.Year() < 2000:
			why = "before 2000"
		case message.sent.After(now.Add(24 * time.Hour)):
			why = "more than a day from now"
		}
		if why != "" {
			t.out.Doubts = append(t.out.Doubts, fmt.Sprintf("by the plan's sent_at, %s was sent at %s, %s: see that its unit, shift and since are right",
				message.which, message.sent.Format(time.RFC3339Nano), why))
		}
	}
}

// locked adds to an error that a table is locked by whom.
func (t *trial) locked(ctx context.Context, err error) error {
	if fault, _ := purge.FaultOf(err); fault != purge.Contention {
		return err
	}
	if who := t.r.Blocker(ctx); who != "" {
		return fmt.Errorf("%w: a table of the plan is locked, most likely by %s", err, who)
	}
	return fmt.Errorf("%w: a table of the plan is locked", err)
}

// spellings are other ways to write the user and the conversation that people mix up.
func spellings(d purge.Deletion) []purge.Deletion {
	of := func(s string) []string {
		return []string{s, strings.ToLower(s), strings.ToUpper(s), strings.TrimSpace(s)}
	}
	var all []purge.Deletion
	for _, user := range of(d.User) {
		for _, conversation := range of(d.Conversation) {
			other := d
			other.User, other.Conversation = user, conversation
			if other != d && !slices.Contains(all, other) && user != "" && conversation != "" {
				all = append(all, other)
			}
		}
	}
	return all
}

// block finds out who may hold the deletion up, as far as the role may see that.
func (t *trial) block(ctx context.Context) {
	note := func(prefix string) func(pgx.Rows) error {
		return func(rows pgx.Rows) error {
			var who string
			err := rows.Scan(&who)
			t.out.Blockers = append(t.out.Blockers, prefix+who)
			return err
		}
	}
	if !t.r.ledgerless {
		t.noted(ctx, note(""))
	}
	if len(t.locks) > 0 {
		_ = t.read(ctx, func(tx *transaction) {
			tx.query(note("the conversation's row is locked by "), general.get("try_holders"), args{"transactions": t.locks})
		})
	}
	if who := t.r.Blocker(ctx); who != "" {
		t.out.Blockers = append(t.out.Blockers, "rows or tables of the plan are locked, perhaps others than these, by "+who)
	}
}

// noted finds what workers have noted.
func (t *trial) noted(ctx context.Context, blocker func(pgx.Rows) error) {
	_ = t.read(ctx, func(tx *transaction) { tx.query(blocker, general.get("try_under_way"), t.a) })
	_ = t.read(ctx, func(tx *transaction) {
		tx.query(func(rows pgx.Rows) error {
			var noted purge.Throttle
			err := rows.Scan(&noted.Reason, &noted.Detail)
			t.out.Throttles = append(t.out.Throttles, noted)
			return err
		}, general.get("try_throttles"), nil)
	})
}

// pace finds out how fast large deletions were.
func (t *trial) pace(ctx context.Context) {
	if t.r.ledgerless {
		t.out.Unpaced = NoLedger
		return
	}
	err := t.read(ctx, func(tx *transaction) {
		tx.query(func(rows pgx.Rows) error {
			var rate float64
			err := rows.Scan(&rate)
			t.out.Paces = append(t.out.Paces, rate)
			return err
		}, general.get("try_pace"), args{"large": tryLarge})
	})
	switch {
	case err != nil:
		t.out.Unpaced = oneLine(err).Error()
	case len(t.out.Paces) == 0:
		t.out.Unpaced = fmt.Sprintf("no deletion of %s or more has finished here", purge.Count(tryLarge, "message"))
	}
}
