package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// boundChunk is how many deletions share a statement of the bound, and
	// boundConns how many of those run at once: more gains nothing.
	boundChunk, boundConns = 4000, 2
	// nibbleRows and nibblePause are what scripts use.
	nibbleRows, nibblePause = 5000, 10 * time.Millisecond
)

// boundDelete does the whole job of many commands in one statement: boundary,
// messages, what hangs on them, the conversations' rows, the ledger.
const boundDelete = `
with q as materialized (
  select t.command_id, t.user_id, t.conversation_id, coalesce(newest.seq, 0) as through_seq
  from unnest($2::text[], $3::text[], $4::text[]) t (command_id, user_id, conversation_id)
  left join lateral (
    select m.seq from chat.messages m
    where m.app_id = $1 and m.user_id = t.user_id and m.conversation_id = t.conversation_id and m.sent_at <= $5
    order by m.seq desc limit 1
  ) newest on true
),
m as (
  delete from chat.messages m using q
  where m.app_id = $1 and m.user_id = q.user_id and m.conversation_id = q.conversation_id and m.seq <= q.through_seq
  returning q.command_id
),
r as (
  delete from chat.reactions x using q
  where x.app_id = $1 and x.user_id = q.user_id and x.conversation_id = q.conversation_id and x.seq <= q.through_seq
),
a as (
  delete from chat.attachments x using q
  where x.app_id = $1 and x.user_id = q.user_id and x.conversation_id = q.conversation_id and x.seq <= q.through_seq
),
c as (
  delete from chat.conversations c using q
  where c.app_id = $1 and c.user_id = q.user_id and c.conversation_id = q.conversation_id and c.last_seq <= q.through_seq
),
n as (select command_id, count(*) as messages from m group by command_id)
insert into bench.deletions (app_id, command_id, conversation_id, user_id, through_seq, messages_deleted, conversation_removed, completed_at)
select $1, q.command_id, q.conversation_id, q.user_id, q.through_seq, coalesce(n.messages, 0), true, now()
from q left join n on n.command_id = q.command_id`

// runBound is the bound's trial of S1.
func (w *world) runBound(ctx context.Context, commands []conversation.Command, each int) (sample, error) {
	s, err := w.metered(ctx, func(s sample) error {
		took, err := w.boundSmall(ctx, commands)
		s[figureCommands] = float64(len(commands)) / took.Seconds()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := w.checkSmall(ctx, len(commands), each); err != nil {
		return nil, err
	}
	return s, w.checkCount(ctx, "messages in the ledger", len(commands)*each, "select coalesce(sum(messages_deleted), 0)::bigint from bench.deletions")
}

// boundSmall does the commands without any bus, and returns how long that took.
func (w *world) boundSmall(ctx context.Context, commands []conversation.Command) (time.Duration, error) {
	conns := make([]*pgx.Conn, boundConns)
	for i := range conns {
		conn, err := pgx.Connect(ctx, w.database)
		if err != nil {
			return 0, err
		}
		defer conn.Close(ctx) //nolint:errcheck // the database goes anyway
		if _, err := conn.Prepare(ctx, "bound", boundDelete); err != nil {
			return 0, err
		}
		conns[i] = conn
	}
	share := (len(commands) + boundConns - 1) / boundConns
	errs := make([]error, boundConns)
	stored, start := time.Now(), time.Now()
	var all sync.WaitGroup
	for i, conn := range conns {
		mine := commands[min(i*share, len(commands)):min((i+1)*share, len(commands))]
		all.Go(func() { errs[i] = boundShare(ctx, conn, mine, stored) })
	}
	all.Wait()
	return time.Since(start), errors.Join(errs...)
}

// boundShare does some commands on one connection, a chunk in each statement.
func boundShare(ctx context.Context, conn *pgx.Conn, commands []conversation.Command, stored time.Time) error {
	for len(commands) > 0 {
		chunk := commands[:min(boundChunk, len(commands))]
		commands = commands[len(chunk):]
		var ids, users, chats []string
		for _, c := range chunk {
			ids, users, chats = append(ids, c.CommandID), append(users, c.UserID), append(chats, c.Conversations[0].ID)
		}
		if _, err := conn.Exec(ctx, "bound", benchApp, ids, users, chats, stored); err != nil {
			return err
		}
	}
	return nil
}

// deleteAtOnce removes the conversation of S3 by a single DELETE.
func (w *world) deleteAtOnce(ctx context.Context, n int) (time.Duration, error) {
	start := time.Now()
	tag, err := w.conn.Exec(ctx, `delete from chat.messages where app_id = $1 and user_id = $2 and conversation_id = $3 and seq <= $4`,
		benchApp, longUser, longChat, n)
	took := time.Since(start)
	if err == nil && tag.RowsAffected() != int64(n) {
		err = fmt.Errorf("%d rows deleted; want %d", tag.RowsAffected(), n)
	}
	return took, err
}

// nibbleAway removes the conversation of S3 as scripts do, and returns when how
// many rows were gone, and the longest of the transactions.
func (w *world) nibbleAway(ctx context.Context, n int) (progress []point, longest time.Duration, err error) {
	const batch = `delete from chat.messages where ctid in (
  select ctid from chat.messages where app_id = $1 and user_id = $2 and conversation_id = $3 limit $4)`
	progress = []point{{at: time.Now()}}
	for gone := 0; ; {
		start := time.Now()
		tag, err := w.conn.Exec(ctx, batch, benchApp, longUser, longChat, nibbleRows)
		if err != nil {
			return nil, 0, err
		}
		if tag.RowsAffected() == 0 {
			break
		}
		longest = max(longest, time.Since(start))
		gone += int(tag.RowsAffected())
		progress = append(progress, point{at: time.Now(), rows: gone})
		if err := pauseFor(ctx, nibblePause); err != nil {
			return nil, 0, err
		}
	}
	if last := progress[len(progress)-1]; last.rows != n {
		return nil, 0, fmt.Errorf("%d rows deleted; want %d", last.rows, n)
	}
	return progress, longest, nil
}

// pauseFor waits.
func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
