package repo

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// Status returns what the ledger knows of a command: its deletions, ordered by
// app, conversation and user, and none if it knows nothing. The app "" stands for all
// apps that have such a command. Nothing is Mine. What an operator has paused is
// said to wait for that also while no worker runs.
func (l *Ledger) Status(ctx context.Context, app, command string) ([]purge.Record, error) {
	return l.records(ctx, general.get("status"), args{"app": app, "command": command})
}

// Unfinished returns the next deletions of a user that aren't final, at most limit of
// them, ordered by command and conversation, after the one of that key; the zero
// key stands before all. It is otherwise like Status.
func (l *Ledger) Unfinished(ctx context.Context, app, user string, after purge.Key, limit int) ([]purge.Record, error) {
	return l.records(ctx, general.get("unfinished"), args{
		"app": app, "user": user, "command": after.Command, "conversation": after.Conversation, "limit": limit,
	})
}

// records reads what a statement returns with _status.
func (l *Ledger) records(ctx context.Context, st *statement, a args) ([]purge.Record, error) {
	var recs []purge.Record
	t := l.begin()
	t.query(func(rows pgx.Rows) error {
		var row ledgerRow
		var waitingFor, noted, detail *string
		if err := row.scan(rows, &waitingFor, &noted, &detail); err != nil {
			return err
		}
		rec, err := row.record()
		rec.WaitingFor = purge.ThrottleReason(value(waitingFor))
		if rec.WaitingFor != "" && value(waitingFor) == value(noted) { // else it is about another reason
			rec.WaitingDetail = value(detail)
		}
		recs = append(recs, rec)
		return err
	}, st, a)
	if err := t.commit(ctx); err != nil {
		return nil, l.fault(ctx, err)
	}
	return recs, nil
}
