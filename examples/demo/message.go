package main

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What a chat server does for each copy of a new message. Parameters: app, user,
// and for the second conversation, seq, sender, time.
const (
	nextSeq = `
insert into chat.counters as c (app_id, user_id, last_seq) values ($1, $2, 1)
on conflict (app_id, user_id) do update set last_seq = c.last_seq + 1 returning last_seq`

	writeMessage = `
with said as (
  insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, sent_at, body)
  values ($1, $2, $3, $4, $5, $6, '{"text": "Are you still there?"}'))
insert into chat.conversations as c (app_id, user_id, conversation_id, last_seq, unread_count, updated_at)
values ($1, $2, $3, $4, 1, $6)
on conflict (app_id, user_id, conversation_id) do update
set last_seq = greatest(c.last_seq, excluded.last_seq), unread_count = c.unread_count + 1, updated_at = excluded.updated_at`
)

// inbox is the place of a message's copy.
type inbox struct{ user, conversation string }

// write sends a message now: a copy for each of its owners, with a seq of the
// owner's counter, in one transaction. It returns the first copy's seq.
func (s *stack) write(sender string, copies ...inbox) (seq int64, err error) {
	sent := time.Now() // the chat server's clock, which is also the gateway's and NATS's here
	err = pgx.BeginFunc(s.ctx, s.db, func(tx pgx.Tx) error {
		for i, to := range copies {
			var next int64
			if err := tx.QueryRow(s.ctx, nextSeq, app, to.user).Scan(&next); err != nil {
				return err
			}
			if _, err := tx.Exec(s.ctx, writeMessage, app, to.user, to.conversation, next, sender, sent); err != nil {
				return err
			}
			if i == 0 {
				seq = next
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("%s writes: %w", sender, err)
	}
	return seq, nil
}
