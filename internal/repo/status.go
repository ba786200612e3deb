package repo

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// statusColumns are those of a deletion d, with what it waits for. A lease that has
// run out is of a worker that has gone: what it waited for nobody knows. One that was
// given back may say what for.
const statusColumns = `
select d.app_id, d.command_id, d.conversation_id,
  case when d.state in ('pending', 'running') then coalesce(
    (select h.reason from lethe.throttles h where h.reason = 'paused' and (h.lane = 'all' or d.cursor_seq > 0) limit 1),
    case when d.lease_until is null or d.lease_until > clock_timestamp() then d.waiting_for end) end as waiting_for,
  d.waiting_for, d.waiting_detail,
  d.user_id, d.origin_device_id, d.state, false, d.through_seq,
  d.cursor_seq, d.messages_deleted, d.history_kept, d.conversation_removed, d.multi_client_sync, d.requested_at,
  d.completed_at, d.failed_at, d.reason, d.message, d.attempts, d.last_error,
  extract(epoch from d.lease_until - clock_timestamp())::float8`

// statusOf reads a command's deletions. Both keys lead with the app, so that
// without one (nowhere else is a command sought so) each app is visited in
// turn: one probe of commands_pkey finds the next app, one of deletions_pkey
// the command: 12 µs an app (200,000 commands of 1,000 apps), and no scan.
const statusOf = `
with recursive every (app_id) as (
  (select c.app_id from lethe.commands c where $1 = '' order by c.app_id limit 1)
  union all
  select (select c.app_id from lethe.commands c where c.app_id > e.app_id order by c.app_id limit 1)
  from every e where e.app_id is not null
),
sought as (
  select $1 as app_id where $1 <> ''
  union all
  select e.app_id from every e where e.app_id is not null
)` + statusColumns + `
from sought s
cross join lateral (
  select * from lethe.deletions d where d.app_id = s.app_id and d.command_id = $2 order by d.conversation_id) d
order by d.app_id, d.conversation_id`

// underWay reads the next $5 unfinished deletions of a user after a command and its
// conversation. By deletions_under_way.
const underWay = statusColumns + `
from lethe.deletions d
where d.state in ('pending', 'running') and d.app_id = $1 and d.user_id = $2 and (d.command_id, d.conversation_id) > ($3, $4)
order by d.command_id, d.conversation_id limit $5`

// Status returns what the ledger knows of a command: its deletions, ordered by
// app and conversation, and none if it knows nothing. The app "" stands for all
// apps that have such a command. Nothing is Mine. What an operator has paused is
// said to wait for that also while no worker runs.
func (l *Ledger) Status(ctx context.Context, app, command string) ([]purge.Record, error) {
	return l.records(ctx, statusOf, app, command)
}

// Unfinished returns the next deletions of a user that aren't final, at most limit of
// them, ordered by command and conversation, after the one of that key; the zero
// key stands before all. It is otherwise like Status.
func (l *Ledger) Unfinished(ctx context.Context, app, user string, after purge.Key, limit int) ([]purge.Record, error) {
	return l.records(ctx, underWay, app, user, after.Command, after.Conversation, limit)
}

// records reads rows of statusColumns.
func (l *Ledger) records(ctx context.Context, sql string, args ...any) ([]purge.Record, error) {
	var recs []purge.Record
	t := l.begin()
	t.query(func(rows pgx.Rows) error {
		var rec purge.Record
		var found ledgerRow
		var waitingFor, noted, detail *string
		if err := rows.Scan(found.targets(&rec.App, &rec.Command, &rec.Conversation, &waitingFor, &noted, &detail)...); err != nil {
			return err
		}
		rec.WaitingFor = purge.ThrottleReason(value(waitingFor))
		if rec.WaitingFor != "" && value(waitingFor) == value(noted) { // else it is about another cause
			rec.WaitingDetail = value(detail)
		}
		err := found.fill(&rec)
		recs = append(recs, rec)
		return err
	}, sql, args...)
	if err := t.commit(ctx); err != nil {
		return nil, l.fault(ctx, err)
	}
	return recs, nil
}
