package repo

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// columns are the deletions of one statement, column by column, as unnest takes
// them.
type columns struct {
	apps, commands, conversations []string
	tokens                        [][16]byte
	users, devices, requested     []string
	through                       []*int64
	stored                        []time.Time
	keep                          []bool
	digests                       [][]byte
}

func columnsOf(ds []purge.Deletion) columns {
	var c columns
	for _, d := range ds {
		c.apps, c.commands = append(c.apps, d.App), append(c.commands, d.Command)
		c.conversations, c.tokens = append(c.conversations, d.Conversation), append(c.tokens, d.Token)
		c.users, c.devices = append(c.users, d.User), append(c.devices, d.Device)
		c.requested, c.through = append(c.requested, formatTime(d.RequestedAt)), append(c.through, d.ThroughSeq)
		c.stored, c.keep = append(c.stored, d.StoredAt), append(c.keep, d.KeepHistory)
		c.digests = append(c.digests, d.Digest[:])
	}
	return c
}

// The ledger keeps requested_at as text, since timestamptz would round it and
// lose its zone, and the event repeats what the producer gave.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// ledgerRow takes the columns that outcome.sql and status.go select, in their
// order; each is null where the ledger has no row.
type ledgerRow struct {
	user, device, state, requested, reason, message, lastError *string
	mine, kept, removed, sync                                  *bool
	through, cursor, deleted                                   *int64
	completed, failed                                          *time.Time
	attempts                                                   *int
	lease                                                      *float64
}

// targets returns what rows.Scan fills, after the targets in front.
func (l *ledgerRow) targets(front ...any) []any {
	return append(front, &l.user, &l.device, &l.state, &l.mine, &l.through, &l.cursor, &l.deleted, &l.kept, &l.removed, &l.sync,
		&l.requested, &l.completed, &l.failed, &l.reason, &l.message, &l.attempts, &l.lastError, &l.lease)
}

// fill sets all of rec that the row tells; nothing if there was no row.
func (l *ledgerRow) fill(rec *purge.Record) (err error) {
	if l.state == nil {
		return nil
	}
	rec.User, rec.Device, rec.State = value(l.user), value(l.device), purge.State(*l.state)
	rec.Mine, rec.Pinned, rec.ThroughSeq = value(l.mine), l.through != nil, value(l.through)
	rec.CursorSeq, rec.MessagesDeleted = value(l.cursor), value(l.deleted)
	rec.HistoryKept, rec.ConversationRemoved, rec.MultiClientSync = value(l.kept), value(l.removed), value(l.sync)
	rec.CompletedAt, rec.FailedAt = value(l.completed).UTC(), value(l.failed).UTC()
	rec.Reason, rec.Message, rec.LastError = value(l.reason), value(l.message), value(l.lastError)
	rec.Attempts = value(l.attempts)
	rec.LeaseLeft = time.Duration(value(l.lease) * float64(time.Second))
	rec.RequestedAt, err = parseTime(value(l.requested))
	return err
}

// scanOutcome reads a row of outcome.sql, or of a statement that finishes and tells
// more before. ord counts from 1.
func scanOutcome(rows pgx.Rows, more ...any) (ord int, rec purge.Record, err error) {
	var row ledgerRow
	front := append([]any{&ord}, more...)
	if err := rows.Scan(row.targets(append(front, &rec.Reused)...)...); err != nil {
		return 0, purge.Record{}, err
	}
	return ord, rec, row.fill(&rec)
}

func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, s)
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// finish adds the statement that finishes what can be finished and reads what
// the ledger says of ds then; res is filled in the order of ds.
func (r *Repo) finish(t *transaction, sql string, ds []purge.Deletion, c columns, res *purge.Result) {
	t.query(readOutcomes(ds, res), sql, c.apps, c.commands, c.conversations, c.tokens, c.digests)
}

// readOutcomes fills res, in the order of ds, from the rows of a statement that
// finishes.
func readOutcomes(ds []purge.Deletion, res *purge.Result) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var finished bool
		var doubt *string
		ord, rec, err := scanOutcome(rows, &finished, &doubt)
		if err != nil {
			return err
		}
		rec.Doubt = value(doubt)
		rec.Key = ds[ord-1].Key
		res.Records[ord-1], res.Finished[ord-1] = rec, finished
		return nil
	}
}

// outcome adds the statement that reads what the ledger says of ds; recs is
// filled in the order of ds.
func (r *Repo) outcome(t *transaction, ds []purge.Deletion, c columns, recs []purge.Record) {
	t.query(func(rows pgx.Rows) error {
		ord, rec, err := scanOutcome(rows)
		if err != nil {
			return err
		}
		rec.Key = ds[ord-1].Key
		recs[ord-1] = rec
		return nil
	}, r.sql.outcome, c.apps, c.commands, c.conversations, c.tokens, c.digests)
}
