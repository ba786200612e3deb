package main

import (
	"context"
	"fmt"

	"github.com/lethe-im/lethe/conversation"
)

// checkCount compares one number from the database.
func (w *world) checkCount(ctx context.Context, what string, want int, sql string, args ...any) error {
	var got int
	if err := w.conn.QueryRow(ctx, sql, args...).Scan(&got); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if got != want {
		return fmt.Errorf("wrong result: %s: %d; want %d", what, got, want)
	}
	return nil
}

// checkSmall checks that the n conversations that loadSmall made to be deleted
// are gone, and nothing else.
func (w *world) checkSmall(ctx context.Context, n, each int) error {
	for _, c := range []struct {
		what, sql string
		want      int
	}{
		{"messages left of deleted conversations", `select count(*) from chat.messages where conversation_id like 'c2c_peer-%'`, 0},
		{"rows left of deleted conversations", `select count(*) from chat.conversations where conversation_id like 'c2c_peer-%'`, 0},
		{"messages of other conversations", `select count(*) from chat.messages where conversation_id like 'kept%'`, n / perUser * each},
		{"rows of other conversations", `select count(*) from chat.conversations where conversation_id like 'kept%'`, n / perUser},
	} {
		if err := w.checkCount(ctx, c.what, c.want, c.sql); err != nil {
			return err
		}
	}
	return nil
}

// checkLong checks that the conversation of S3 or S4 is gone, with its child rows,
// and with its row if the contestant's job is the whole one, and nothing else.
func (w *world) checkLong(ctx context.Context, others int, row bool) error {
	const ours = "app_id = $1 and user_id = $2 and conversation_id = $3"
	key := []any{benchApp, longUser, longChat}
	if err := w.checkCount(ctx, "messages left", 0, "select count(*) from chat.messages where "+ours, key...); err != nil {
		return err
	}
	if err := w.checkCount(ctx, "messages of others", others, "select count(*) from chat.messages"); err != nil {
		return err
	}
	for _, child := range []string{"reactions", "attachments"} {
		if err := w.checkCount(ctx, child+" left", 0, "select count(*) from chat."+child+" where "+ours, key...); err != nil {
			return err
		}
	}
	if !row {
		return nil
	}
	return w.checkCount(ctx, "rows of the conversation", 0, "select count(*) from chat.conversations where "+ours, key...)
}

// same says of every command that it deletes n messages.
func same(n int) func(conversation.Command) int { return func(conversation.Command) int { return n } }

// checkEvents checks that each command has exactly one event, which tells the
// truth: that so many messages were deleted, up to a boundary of just that
// number, and the row removed. There are no other events, and no dead letters.
func (w *world) checkEvents(ctx context.Context, commands []conversation.Command, messages func(conversation.Command) int) error {
	stored, err := w.events(ctx, len(commands))
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	events := make(map[string]conversation.Deleted, len(stored))
	for _, e := range stored {
		if e.Deleted == nil {
			return fmt.Errorf("wrong result: an event of type %s, of command %s", e.Type, e.CommandID())
		}
		events[e.Deleted.CommandID] = *e.Deleted
	}
	for _, c := range commands {
		e, ok := events[c.CommandID]
		each := messages(c)
		switch {
		case !ok:
			return fmt.Errorf("wrong result: command %s has no event", c.CommandID)
		case e.MessagesDeleted != int64(each), e.ThroughSeq != int64(each), !e.ConversationRemoved,
			e.UserID != c.UserID, e.ConversationID != c.Conversations[0].ID:
			return fmt.Errorf("wrong result: event %+v; want %d messages of command %+v", e, each, c)
		}
	}
	return w.checkLetters(ctx)
}

// checkLetters checks that there is no dead letter.
func (w *world) checkLetters(ctx context.Context) error {
	letters, err := w.js.Stream(ctx, conversation.DeadLettersStream)
	if err != nil {
		return err
	}
	if n := letters.CachedInfo().State.Msgs; n > 0 {
		return fmt.Errorf("wrong result: %d dead letters", n)
	}
	return nil
}
