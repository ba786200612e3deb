package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// The plain worker is what a competent engineer writes in an afternoon, and it
// does the same job: a boundary pinned in a ledger, so that a command that comes
// again is the same deletion; messages, child rows and the
// conversation's row in one transaction for each command; the event stored
// before the command is acknowledged; one line of log for each deletion. Its
// statements are prepared, and there are as few as read well.

// plainConcurrency is how many commands the plain worker handles at once.
const plainConcurrency = 16

// ownSchema is the ledger of the contestants that have none: one row for each
// deletion, under the same key as lethe's.
const ownSchema = `
create schema bench;
create table bench.deletions (
  app_id text, command_id text, conversation_id text, user_id text not null, through_seq bigint not null,
  messages_deleted bigint not null default 0, conversation_removed boolean not null default false,
  multi_client_sync boolean not null default false, completed_at timestamptz,
  primary key (app_id, command_id, conversation_id)
)`

const (
	// plainTake pins the boundary, unless the ledger has the deletion already.
	plainTake = `
insert into bench.deletions (app_id, command_id, conversation_id, user_id, through_seq)
select $1, $2, $3, $4, least($6, seq)
from (
  select coalesce(max(seq), 0) as seq from chat.messages
  where app_id = $1 and user_id = $4 and conversation_id = $3 and ($6::bigint is not null or sent_at <= $5)
) newest
on conflict do nothing returning through_seq`

	plainMessages = `delete from chat.messages where app_id = $1 and user_id = $2 and conversation_id = $3 and seq <= $4`

	plainChildren = `
with r as (delete from chat.reactions where app_id = $1 and user_id = $2 and conversation_id = $3 and seq <= $4)
delete from chat.attachments where app_id = $1 and user_id = $2 and conversation_id = $3 and seq <= $4`

	// plainFinish drops the conversation's row, unless it has newer messages, and
	// completes the ledger.
	plainFinish = `
with gone as (
  delete from chat.conversations where app_id = $1 and user_id = $4 and conversation_id = $3 and last_seq <= $5 returning 1
)
update bench.deletions set messages_deleted = $6, completed_at = now(),
  conversation_removed = exists (select from gone)
    or not exists (select from chat.conversations where app_id = $1 and user_id = $4 and conversation_id = $3),
  multi_client_sync = coalesce((select multi_client_sync from lethe.apps where app_id = $1), false)
where app_id = $1 and command_id = $2 and conversation_id = $3
returning through_seq, messages_deleted, conversation_removed, multi_client_sync, completed_at`

	plainUnread = `
update chat.conversations set unread_count = least(unread_count, (
  select count(*) from chat.messages where app_id = $1 and user_id = $2 and conversation_id = $3 and seq > $4))
where app_id = $1 and user_id = $2 and conversation_id = $3`

	// plainKnown is the outcome of a deletion that was done before.
	plainKnown = `
select through_seq, messages_deleted, conversation_removed, multi_client_sync, completed_at
from bench.deletions where app_id = $1 and command_id = $2 and conversation_id = $3`
)

// plainWorker is the plain worker. Safe for concurrent use.
type plainWorker struct {
	db  *pgxpool.Pool
	js  jetstream.JetStream
	log *slog.Logger
}

// runPlain works until ctx ends.
func runPlain(ctx context.Context, stdout io.Writer) error {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	config.MaxConns = plainConcurrency
	db, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer db.Close()
	nc, err := nats.Connect(os.Getenv("NATS_URL"), nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	w := &plainWorker{db: db, js: js, log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	return w.work(ctx, func() error {
		_, err := fmt.Fprintln(stdout, readyWord)
		return err
	})
}

// work consumes commands until ctx ends, and then finishes what is in flight.
func (w *plainWorker) work(ctx context.Context, ready func() error) error {
	consumer, err := w.js.Consumer(ctx, conversation.CommandsStream, conversation.WorkerConsumer)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, plainConcurrency)
	var inFlight sync.WaitGroup
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		slots <- struct{}{}
		inFlight.Go(func() {
			defer func() { <-slots }()
			if err := w.handle(context.WithoutCancel(ctx), msg); err != nil {
				w.log.Error("command", "error", err)
			}
		})
	})
	if err != nil {
		return err
	}
	err = ready()
	if err == nil {
		<-ctx.Done()
	}
	consuming.Stop()
	<-consuming.Closed()
	inFlight.Wait()
	return err
}

// handle does one command and acknowledges it once its events are stored.
func (w *plainWorker) handle(ctx context.Context, msg jetstream.Msg) error {
	var c conversation.Command
	if err := json.Unmarshal(msg.Data(), &c); err != nil {
		return errors.Join(err, msg.Term())
	}
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	for _, target := range c.Conversations {
		event, err := w.delete(ctx, c, target, meta.Timestamp)
		if err != nil {
			return errors.Join(err, msg.NakWithDelay(time.Second))
		}
		w.log.Info("deleted", "app", c.AppID, "command", c.CommandID, "conversation", target.ID, "messages", event.MessagesDeleted)
		out, err := event.Msg(conversation.Trace{})
		if err != nil {
			return errors.Join(err, msg.Term())
		}
		if _, err := w.js.PublishMsg(ctx, out); err != nil {
			return errors.Join(err, msg.NakWithDelay(time.Second))
		}
	}
	return msg.Ack()
}

// delete removes one conversation in a transaction, or finds what became of it
// before.
func (w *plainWorker) delete(ctx context.Context, c conversation.Command, target conversation.Target, stored time.Time) (conversation.Deleted, error) {
	event := conversation.Deleted{
		CommandID: c.CommandID, AppID: c.AppID, UserID: c.UserID, ConversationID: target.ID,
		HistoryKept: c.KeepHistory, OriginDeviceID: c.DeviceID, RequestedAt: c.RequestedAt,
	}
	outcome := []any{&event.ThroughSeq, &event.MessagesDeleted, &event.ConversationRemoved, &event.MultiClientSync, &event.CompletedAt}
	err := pgx.BeginFunc(ctx, w.db, func(tx pgx.Tx) error {
		var through, messages int64
		err := tx.QueryRow(ctx, plainTake, c.AppID, c.CommandID, target.ID, c.UserID, stored, target.ThroughSeq).Scan(&through)
		if errors.Is(err, pgx.ErrNoRows) {
			return tx.QueryRow(ctx, plainKnown, c.AppID, c.CommandID, target.ID).Scan(outcome...)
		}
		if err != nil {
			return err
		}
		if !c.KeepHistory {
			tag, err := tx.Exec(ctx, plainMessages, c.AppID, c.UserID, target.ID, through)
			if err != nil {
				return err
			}
			messages = tag.RowsAffected()
			if _, err := tx.Exec(ctx, plainChildren, c.AppID, c.UserID, target.ID, through); err != nil {
				return err
			}
		}
		err = tx.QueryRow(ctx, plainFinish, c.AppID, c.CommandID, target.ID, c.UserID, through, messages).Scan(outcome...)
		if err != nil || event.ConversationRemoved {
			return err
		}
		_, err = tx.Exec(ctx, plainUnread, c.AppID, c.UserID, target.ID, through)
		return err
	})
	return event, err
}
