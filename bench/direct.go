package main

import (
	"context"
	"crypto/sha256"
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

// boundDelete does the whole job of many commands in one statement and leaves
// the very rows that lethe leaves: boundary, messages, child rows, the
// conversations' rows, both tables of lethe's ledger. What it spares is what it
// takes to do that one step at a time with others at work: rows of the ledger
// that are entered first and finished later, locks that are taken before they
// are needed, a proof that nothing is left, and an answer for each.
const boundDelete = `
with q as materialized (
  select t.command_id, t.user_id, t.conversation_id, t.digest, coalesce(newest.seq, 0) as through_seq
  from unnest($2::text[], $3::text[], $4::text[], $6::bytea[]) t (command_id, user_id, conversation_id, digest)
  left join lateral (
    select m.seq from chat.messages m
    where m.app_id = $1 and m.user_id = t.user_id and m.conversation_id = t.conversation_id and m.sent_at <= $5
    order by m.seq desc limit 1
  ) newest on true
),
k as (insert into lethe.commands (app_id, command_id, digest) select $1, q.command_id, q.digest from q),
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
  returning q.command_id
),
n as (select command_id, count(*) as messages from m group by command_id)
insert into lethe.deletions (app_id, command_id, conversation_id, user_id, origin_device_id, state, stored_at, through_seq, cursor_seq,
  messages_deleted, history_kept, conversation_removed, multi_client_sync, completed_at)
select $1, q.command_id, q.conversation_id, q.user_id, 'phone', 'done', $5, q.through_seq, q.through_seq,
  coalesce(n.messages, 0), false, c.command_id is not null,
  coalesce((select multi_client_sync from lethe.apps where app_id = $1), false), clock_timestamp()
from q left join n on n.command_id = q.command_id left join c on c.command_id = q.command_id`

// runBound is the bound's trial of S1 and S2.
func (w *world) runBound(ctx context.Context, commands []conversation.Command, each int) (sample, error) {
	s, err := w.metered(ctx, len(commands)*each, func(s sample) error {
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
	return s, w.checkCount(ctx, "finished deletions with the right outcome", len(commands),
		"select count(*) from lethe.deletions where state = 'done' and messages_deleted = $1 and through_seq = $1 and conversation_removed", each)
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
		var digests [][]byte
		for _, c := range chunk {
			digest := sha256.Sum256([]byte(c.CommandID))
			digests = append(digests, digest[:])
			ids, users, chats = append(ids, c.CommandID), append(users, c.UserID), append(chats, c.Conversations[0].ID)
		}
		if _, err := conn.Exec(ctx, "bound", benchApp, ids, users, chats, stored, digests); err != nil {
			return err
		}
	}
	return nil
}

// deleteAtOnce removes a conversation by a single DELETE.
func deleteAtOnce(ctx context.Context, conn *pgx.Conn, t target) error {
	tag, err := conn.Exec(ctx, `delete from chat.messages where app_id = $1 and user_id = $2 and conversation_id = $3 and seq <= $4`,
		benchApp, t.user, t.chat, t.messages)
	if err == nil && tag.RowsAffected() != int64(t.messages) {
		err = fmt.Errorf("wrong result: %d rows deleted; want %d", tag.RowsAffected(), t.messages)
	}
	return err
}

// nibbleAway removes a conversation as scripts do, and tells gone about each
// transaction. When ctx ends it finishes the one under way, so that none is
// uncounted.
func nibbleAway(ctx context.Context, conn *pgx.Conn, t target, gone func(rows int, took time.Duration)) error {
	const batch = `delete from chat.messages where ctid in (
  select ctid from chat.messages where app_id = $1 and user_id = $2 and conversation_id = $3 limit $4)`
	for {
		start := time.Now()
		tag, err := conn.Exec(context.WithoutCancel(ctx), batch, benchApp, t.user, t.chat, nibbleRows)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		gone(int(tag.RowsAffected()), time.Since(start))
		if err := pauseFor(ctx, nibblePause); err != nil {
			return err
		}
	}
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
