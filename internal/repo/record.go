package repo

import (
	"bytes"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// The ledger keeps requested_at as text, since timestamptz would round it and
// lose its zone, and the event repeats what the producer gave.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// argsOf are the values of a statement about one deletion.
func argsOf(d purge.Deletion) args {
	return args{
		"app": d.App, "command": d.Command, "conversation": d.Conversation, "token": d.Token, "user": d.User, "device": d.Device,
		"wanted": d.ThroughSeq, "stored_at": d.StoredAt, "kept": d.KeepHistory, "conversation_kept": d.KeepConversation,
		"scope": string(d.Scope), "requested_by": d.RequestedBy, "requested_at": formatTime(d.RequestedAt), "digest": d.Digest[:],
		"boundary": d.Boundary,
	}
}

// ledgerRow takes a row of a statement that returns records: the place of its deletion
// in the statement's arrays (0 for a row that the statement has written), the digest of its
// command if that was asked for, and the columns of _record; those are null
// where the ledger has no row.
type ledgerRow struct {
	ord                                                        int
	digest                                                     []byte
	app, command, conversation                                 *string
	user, device, state, requested, reason, message, lastError *string
	scope, requestedBy                                         *string
	token                                                      *[16]byte
	kept, removed, sync, conversationKept, erased              *bool
	through, cursor, deleted                                   *int64
	completed, failed, erasedAt                                *time.Time
	attempts                                                   *int
	lease                                                      *float64
}

// scan reads a row; front is for the columns before it.
func (l *ledgerRow) scan(rows pgx.Rows, front ...any) error {
	return rows.Scan(append(front, &l.ord, &l.digest, &l.app, &l.command, &l.conversation, &l.user, &l.device, &l.state, &l.token, &l.through,
		&l.cursor, &l.deleted, &l.kept, &l.removed, &l.sync, &l.requested, &l.completed, &l.failed, &l.reason, &l.message, &l.attempts, &l.lastError,
		&l.scope, &l.requestedBy, &l.conversationKept, &l.erased, &l.erasedAt, &l.lease)...)
}

// key is the deletion's, if the ledger has it.
func (l *ledgerRow) key() purge.Key {
	return purge.Key{App: value(l.app), Command: value(l.command), User: value(l.user), Conversation: value(l.conversation)}
}

// record is the row as a record; the zero record if there is no row.
func (l *ledgerRow) record() (rec purge.Record, err error) {
	if l.state == nil {
		return purge.Record{}, nil
	}
	rec.Key, rec.Device, rec.State = l.key(), value(l.device), purge.State(*l.state)
	rec.Pinned, rec.ThroughSeq = l.through != nil, value(l.through)
	rec.CursorSeq, rec.MessagesDeleted = value(l.cursor), value(l.deleted)
	rec.HistoryKept, rec.ConversationRemoved, rec.MultiClientSync = value(l.kept), value(l.removed), value(l.sync)
	rec.Scope, rec.RequestedBy, rec.ConversationKept = purge.Scope(value(l.scope)), value(l.requestedBy), value(l.conversationKept)
	rec.Erased, rec.ErasedAt = rec.State == purge.Done && value(l.erased), value(l.erasedAt).UTC()
	rec.CompletedAt, rec.FailedAt = value(l.completed).UTC(), value(l.failed).UTC()
	rec.Reason, rec.Message, rec.LastError = value(l.reason), value(l.message), value(l.lastError)
	rec.Attempts = value(l.attempts)
	rec.LeaseLeft = time.Duration(value(l.lease) * float64(time.Second))
	rec.RequestedAt, err = parseTime(value(l.requested))
	return rec, err
}

// recordFor is record for who works on d: whether the lease is theirs, and whether the
// command's id was used for other content.
func (l *ledgerRow) recordFor(d purge.Deletion) (purge.Record, error) {
	if l.digest != nil && !bytes.Equal(l.digest, d.Digest[:]) {
		return purge.Record{Key: d.Key, Reused: true}, nil
	}
	rec, err := l.record()
	rec.Key, rec.Mine = d.Key, l.token != nil && purge.Token(*l.token) == d.Token
	return rec, err
}

// readRecords reads what a statement returns of ds. written says that the statement has
// written the row.
func readRecords(ds []purge.Deletion, found func(i int, rec purge.Record, written bool)) func(pgx.Rows) error {
	index := make(map[purge.Key]int, len(ds))
	for i := len(ds) - 1; i >= 0; i-- { // of two with one key the first is worked on
		index[ds[i].Key] = i
	}
	return func(rows pgx.Rows) error {
		var row ledgerRow
		if err := row.scan(rows); err != nil {
			return err
		}
		written, i := row.ord == 0, row.ord-1
		if written {
			i = index[row.key()]
		}
		rec, err := row.recordFor(ds[i])
		if err == nil {
			found(i, rec, written)
		}
		return err
	}
}

// readRecord is readRecords for one deletion.
func readRecord(d purge.Deletion, rec *purge.Record) func(pgx.Rows) error {
	return readRecords([]purge.Deletion{d}, func(_ int, found purge.Record, _ bool) { *rec = found })
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
