package main

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

// connect opens a connection to the stack's database.
func (s stack) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// addConversation gives alice of demo a conversation with n messages.
func (s stack) addConversation(t *testing.T, id string, n int) {
	t.Helper()
	const add = `
with c as (
  insert into chat.conversations (app_id, user_id, conversation_id, last_seq) values ('demo', 'alice', $1, $2)
)
insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
select 'demo', 'alice', $1, seq, now() - interval '1 minute' from generate_series(1, $2) as seq`
	if _, err := s.connect(t).Exec(t.Context(), add, id, n); err != nil {
		t.Fatal(err)
	}
}

// messages counts what alice of demo has left of a conversation.
func (s stack) messages(t *testing.T, id string) (n int) {
	t.Helper()
	err := s.connect(t).QueryRow(t.Context(), `select count(*) from chat.messages where app_id = 'demo' and user_id = 'alice' and conversation_id = $1`, id).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// send is `worker send` for alice of demo.
func (s stack) send(args ...string) outcome {
	return s.command(append([]string{"send", "--app", "demo", "--user", "alice"}, args...)...)
}

// publish publishes a command on the subject of demo, as a producer without our client would.
func (s stack) publish(t *testing.T, body []byte, header nats.Header) {
	t.Helper()
	nc, err := s.nats.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	msg := &nats.Msg{Subject: conversation.CommandSubject("demo"), Data: body, Header: header}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if _, err := nc.RequestMsgWithContext(ctx, msg); err != nil {
		t.Fatal(err)
	}
}

// userFeed follows alice of demo.
type userFeed struct{ feed *conversation.Feed }

func (s stack) follow(t *testing.T) userFeed {
	t.Helper()
	nc, err := s.nats.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	client, err := conversation.NewClient(nc)
	if err != nil {
		t.Fatal(err)
	}
	feed, err := client.Follow(t.Context(), "demo", "alice")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(feed.Close)
	return userFeed{feed}
}

func (f userFeed) next(t *testing.T) conversation.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	e, err := f.feed.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (f userFeed) awaitDeleted(t *testing.T) *conversation.Deleted {
	t.Helper()
	for {
		if e := f.next(t); e.Deleted != nil {
			return e.Deleted
		}
	}
}
