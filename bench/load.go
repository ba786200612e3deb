package main

import (
	"context"
	"fmt"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// benchApp is the tenant of all data.
	benchApp = "bench"
	// perUser is how many of a user's conversations are deleted in S1; one more,
	// of as many messages, stays.
	perUser = 4
	// longUser and longChat name the conversation of S3.
	longUser, longChat = "user-long", "group_long"
)

// body is a message's body of some 250 bytes, half of which can be compressed,
// as in prose. i makes it unlike the others.
const body = `jsonb_build_object('text', md5(i::text) || ' see you at the usual place then, and bring the others along if they feel like it ' || md5((-i)::text), 'kind', 'text', 'reply_to', null, 'mentions', '[]'::jsonb)`

// loadSmall loads n conversations of each messages, which smallCommandsOf
// deletes, and a quarter as many that stay. A conversation's messages lie side
// by side.
func (w *world) loadSmall(ctx context.Context, n, each int) error {
	messages := `
insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, sent_at, body)
select '` + benchApp + `', ` + smallUser + `, ` + smallChat + `, m, 'peer', now() - (1 + $2::int - m) * interval '1 second', ` + body + `
from generate_series(0, $1::int + $1::int / $3::int - 1) c, generate_series(1, $2::int) m, lateral (select c * 1000 + m as i) x`
	rows := `
insert into chat.conversations (app_id, user_id, conversation_id, last_seq, unread_count, updated_at)
select '` + benchApp + `', ` + smallUser + `, ` + smallChat + `, $2::int, 1, now() from generate_series(0, $1::int + $1::int / $3::int - 1) c`
	for _, sql := range []string{messages, rows} {
		if _, err := w.conn.Exec(ctx, sql, n, each, perUser); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	return nil
}

// The user and the conversation of number c; $3 is perUser. The fifth of each
// user stays.
const (
	smallUser = `'user-' || lpad((c / ($3::int + 1))::text, 6, '0')`
	smallChat = `case when c % ($3::int + 1) = $3::int then 'kept_' else 'c2c_peer-' end || lpad(c::text, 7, '0')`
)

// smallCommandsOf are the commands that delete what loadSmall has loaded.
func smallCommandsOf(n int) []conversation.Command {
	commands := make([]conversation.Command, 0, n)
	for c := 0; len(commands) < n; c++ {
		if c%(perUser+1) == perUser {
			continue
		}
		commands = append(commands, conversation.Command{
			CommandID: fmt.Sprintf("command-%07d", c), AppID: benchApp, UserID: fmt.Sprintf("user-%06d", c/(perUser+1)), DeviceID: "phone",
			Conversations: []conversation.Target{{ID: fmt.Sprintf("c2c_peer-%07d", c)}},
		})
	}
	return commands
}

// loadLong loads one conversation of n messages between others, of 1,000
// messages each, of other users.
func (w *world) loadLong(ctx context.Context, n, others int) error {
	const other = `
insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, sent_at, body)
select '` + benchApp + `', 'user-' || lpad((i / 1000)::text, 6, '0'), 'group_' || lpad((i / 1000)::text, 6, '0'), 1 + i % 1000, 'peer', now() - interval '1 day', ` + body + `
from generate_series($1::int, $2::int - 1) i`
	if err := w.exec(ctx, other, 0, others/2); err != nil {
		return err
	}
	if err := loadHistory(ctx, w.conn, longTarget(n)); err != nil {
		return err
	}
	return w.exec(ctx, other, others/2, others)
}

// longTarget is the conversation of S3 and S4.
func longTarget(n int) target { return target{longUser, longChat, n} }

// settleData does what a grown table has behind it: its rows are known to be
// committed, its statistics are there, and nothing is left to
// be written.
func (w *world) settleData(ctx context.Context) error {
	if err := w.exec(ctx, "vacuum (analyze)"); err != nil {
		return err
	}
	return w.checkpoint(ctx)
}

// checkpoint writes everything out. From here on the first change of each page
// costs a full-page image, for every contestant alike.
func (w *world) checkpoint(ctx context.Context) error {
	_, err := w.conn.Exec(ctx, "checkpoint")
	return err
}
