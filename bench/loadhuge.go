package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/conversation"
)

// loaders is how many connections fill the huge conversations.
const loaders = 2

// target is one huge conversation.
type target struct {
	user, chat string
	messages   int
}

// hugeOf are n conversations of each messages.
func hugeOf(n, each int) []target {
	targets := make([]target, n)
	for i := range targets {
		targets[i] = target{user: fmt.Sprintf("user-huge-%02d", i), chat: fmt.Sprintf("group_huge-%02d", i), messages: each}
	}
	return targets
}

// command deletes the conversation.
func (t target) command() conversation.Command {
	return conversation.Command{
		CommandID: "command-" + t.chat, AppID: benchApp, UserID: t.user, DeviceID: "phone",
		Conversations: []conversation.Target{{ID: t.chat}},
	}
}

// commandsOf delete the conversations.
func commandsOf(targets []target) []conversation.Command {
	commands := make([]conversation.Command, 0, len(targets))
	for _, t := range targets {
		commands = append(commands, t.command())
	}
	return commands
}

// loadHuge fills conversations, some at a time.
func (w *world) loadHuge(ctx context.Context, targets []target) error {
	errs := make(chan error, loaders)
	for i := range loaders {
		go func() { errs <- w.loadSome(ctx, targets, i) }()
	}
	var err error
	for range loaders {
		err = errors.Join(err, <-errs)
	}
	return err
}

// loadSome fills every loaders-th conversation from the first on.
func (w *world) loadSome(ctx context.Context, targets []target, first int) error {
	conn, err := pgx.Connect(ctx, w.database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // all was answered
	for i := first; i < len(targets); i += loaders {
		if err := loadHistory(ctx, conn, targets[i]); err != nil {
			return err
		}
	}
	return nil
}

// loadHistory fills one conversation.
func loadHistory(ctx context.Context, conn *pgx.Conn, t target) error {
	const messages = `
insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, sent_at, body)
select '` + benchApp + `', $1, $2, i, 'peer', now() - interval '1 day' - ($3::int - i) * interval '1 millisecond', ` + body + `
from generate_series(1, $3::int) i`
	const row = `
insert into chat.conversations (app_id, user_id, conversation_id, last_seq, unread_count) values ('` + benchApp + `', $1, $2, $3, 1)`
	for _, sql := range []string{messages, row} {
		if _, err := conn.Exec(ctx, sql, t.user, t.chat, t.messages); err != nil {
			return fmt.Errorf("load %s: %w", t.chat, err)
		}
	}
	return nil
}

// checkHuge checks that so many messages are gone of these conversations, and
// the whole of the first finished ones.
func (w *world) checkHuge(ctx context.Context, targets []target, finished, gone int) error {
	all := 0
	for i, t := range targets {
		all += t.messages
		if i < finished {
			if err := w.checkCount(ctx, "messages left of "+t.chat, 0,
				"select count(*) from chat.messages where app_id = $1 and user_id = $2 and conversation_id = $3", benchApp, t.user, t.chat); err != nil {
				return err
			}
		}
	}
	return w.checkCount(ctx, "messages left of huge conversations", all-gone, "select count(*) from chat.messages where conversation_id like 'group_huge-%'")
}
