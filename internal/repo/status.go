package repo

import (
	"context"
	"time"

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
		rec, err := scanStatus(rows)
		recs = append(recs, rec)
		return err
	}, st, a)
	if err := t.commit(ctx); err != nil {
		return nil, l.fault(ctx, err)
	}
	return recs, nil
}

// scanStatus reads a record and what it waits for; front is for the columns before it.
func scanStatus(rows pgx.Rows, front ...any) (purge.Record, error) {
	var row ledgerRow
	var waitingFor, noted, detail *string
	if err := row.scan(rows, append(front, &waitingFor, &noted, &detail)...); err != nil {
		return purge.Record{}, err
	}
	rec, err := row.record()
	rec.WaitingFor = purge.ThrottleReason(value(waitingFor))
	if rec.WaitingFor != "" && value(waitingFor) == value(noted) { // else it is about another reason
		rec.WaitingDetail = value(detail)
	}
	return rec, err
}

// Work is what isn't final in the ledger at one moment.
type Work struct {
	// At is that moment, by the database's clock.
	At time.Time
	// Unfinished is how many deletions and erasures are not final, and Running how many of them a
	// worker has the lease of, or had when it died. At most MaxUnfinished are counted.
	Unfinished, Running int
	// Deletions are the first of them: those that are running, then those that wait for something or
	// have failed, and the oldest first.
	Deletions []UnderWay
	// Pauses are the operator's.
	Pauses []purge.Pause
}

// UnderWay is a deletion that isn't final, or the erasure of a shared log.
type UnderWay struct {
	purge.Record
	// StoredAt is when the stream first stored its command.
	StoredAt time.Time
}

// MaxUnfinished is how many unfinished deletions are read at most: 10,000 in 0.1 s, a few in 2 ms, with
// 1,000,000 finished ones beside them.
const MaxUnfinished = 10_000

// Work returns what isn't final, and up to limit deletions of it.
func (l *Ledger) Work(ctx context.Context, limit int) (w Work, err error) {
	t := l.begin()
	t.query(func(rows pgx.Rows) error {
		var u UnderWay
		var err error
		u.Record, err = scanStatus(rows, &w.At, &w.Unfinished, &w.Running, &u.StoredAt)
		w.Deletions = append(w.Deletions, u)
		return err
	}, general.get("under_way"), args{"read": MaxUnfinished, "limit": limit})
	t.query(func(rows pgx.Rows) error {
		var p purge.Pause
		err := rows.Scan(&p.Lane, &p.Since)
		w.Pauses = append(w.Pauses, p)
		return err
	}, general.get("pauses"), nil)
	err = t.commit(ctx)
	return w, l.fault(ctx, err)
}
