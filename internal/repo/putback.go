package repo

import (
	"errors"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// immediateSQL has all triggers fire that are deferred to the commit, and all constraints be checked, as the commit would do next. From then on
// none is deferred: what one of these triggers writes fires others, and is checked, at once.
const immediateSQL = "set constraints all immediate"

// fireDeferred adds the statement that has triggers fire before the commit, where there may be any: later statements see what they have written.
func (r *Repo) fireDeferred(t *transaction) {
	if r.triggers.Load() {
		t.batch.Queue(immediateSQL)
	}
}

// emptied says of which messages of a deletion a transaction has found that none is left: of those above above and at or below through, nil for the
// boundary. lookedUp is what was looked up in the transaction; nil for what the ledger has.
type emptied struct {
	key      purge.Key
	above    int64
	through  *int64
	lookedUp *string
}

// bottom is below all positions.
const bottom = math.MinInt64

// putBack is what is there of a deletion after triggers have fired: rows of the messages' table and of child tables, and of the
// conversation's, with its children. The zero value is nothing.
type putBack struct{ history, conversation purge.Kept }

// err is about what should not be there; nil for nothing.
func (p putBack) err(historyKept, conversationRemoved bool) error {
	switch {
	case p.history.Any() && !historyKept:
		return errKept(p.history)
	case p.conversation.Any() && conversationRemoved:
		return errKept(p.conversation)
	}
	return nil
}

// isKept reports whether err says that rows are kept.
func isKept(err error) bool {
	var k purge.Kept
	return errors.As(err, &k)
}

// queuePutBack adds the statements that have triggers fire and then look what they have put back, and returns what is there, in the order of all. more are
// values for a replay's statement.
func (r *Repo) queuePutBack(t *transaction, name string, all []emptied, more args) []putBack {
	r.fireDeferred(t)
	n := len(all)
	apps, commands, users, conversations := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	above, through, lookedUp := make([]int64, n), make([]*int64, n), make([]*string, n)
	for i, e := range all {
		apps[i], commands[i], users[i], conversations[i] = e.key.App, e.key.Command, e.key.User, e.key.Conversation
		above[i], through[i], lookedUp[i] = e.above, e.through, e.lookedUp
	}
	tables := []plan.Table{r.plan.Messages.Table}
	for _, c := range r.plan.RangeChildren() {
		tables = append(tables, c.Table)
	}
	history := len(tables)
	tables = append(tables, r.plan.Conversations.Table)
	for _, c := range endingChildren(r.plan) {
		tables = append(tables, c.Table)
	}
	there := make([]putBack, n)
	t.query(func(rows pgx.Rows) error {
		var ord, number int
		var k purge.Kept
		if err := rows.Scan(&ord, &number, &k.Rows, &k.Seq); err != nil {
			return err
		}
		k.Table = tables[number].Name
		into := &there[ord-1].history
		if number >= history {
			into = &there[ord-1].conversation
		}
		if !into.Any() {
			*into = k
		}
		return nil
	}, r.sql.get(name), more.with(args{
		"apps": apps, "commands": commands, "users": users, "conversations": conversations, "above": above, "through_seqs": through, "looked_up": lookedUp,
	}))
	return there
}

// endingChildren are the conversation's children that can still be found when its row is gone.
func endingChildren(p *plan.Checked) (found []*plan.Child) {
	for _, c := range p.Conversations.Children {
		if c.Reference == nil {
			found = append(found, c)
		}
	}
	return found
}
