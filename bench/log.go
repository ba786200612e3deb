package main

import (
	"context"
	"fmt"

	"github.com/lethe-im/lethe/conversation"
)

// The tables of S12: a message is one row for all members. Messages are as long as those of the other scenarios.
const logSchema = `
create schema log;
create table log.conversations (app_id text, conversation_id text, title text not null default '', primary key (app_id, conversation_id));
create table log.messages (
  app_id text, conversation_id text, seq bigint, sender_id text not null, sent_at timestamptz not null, body jsonb not null,
  primary key (app_id, conversation_id, seq)
);
create table log.members (
  app_id text, conversation_id text, user_id text, cleared_through bigint not null default 0, unread_count int not null default 0, left_at timestamptz,
  primary key (app_id, conversation_id, user_id)
);
create index on log.members (app_id, user_id);
create index on log.members (app_id, conversation_id, cleared_through)`

// logPlan is the worker's plan for them.
const logPlan = `
messages: {table: log.messages, app: app_id, conversation: conversation_id, seq: seq, sent_at: sent_at}
members:
  table: log.members
  app: app_id
  user: user_id
  conversation: conversation_id
  where: {left_at: null}
  watermark: cleared_through
  unread: unread_count
conversations: {table: log.conversations, app: app_id, conversation: conversation_id, keep: false}
`

// logs are shared logs of equally many messages. Of each so many members are there, who have one unread message and have deleted nothing.
type logs struct {
	name                 string
	n, messages, members int
}

// id is the conversation of number i.
func (l logs) id(i int) string { return fmt.Sprintf("group_%s-%07d", l.name, i) }

// member is the user of number m of the log of number i: of that log alone.
func (l logs) member(i, m int) string { return fmt.Sprintf("%s-%07d-%05d", l.name, i, m) }

// load fills in the logs. The messages of each lie side by side.
func (l logs) load(ctx context.Context, w *world) error {
	const id = `'group_' || $1::text || '-' || lpad(c::text, 7, '0')`
	for _, sql := range []string{
		`insert into log.conversations (app_id, conversation_id) select '` + benchApp + `', ` + id + ` from generate_series(0, $2::int - 1) c
where $3::int > 0 and $4::int > 0`,
		`insert into log.members (app_id, conversation_id, user_id, unread_count)
select '` + benchApp + `', ` + id + `, $1 || '-' || lpad(c::text, 7, '0') || '-' || lpad(m::text, 5, '0'), 1
from generate_series(0, $2::int - 1) c, generate_series(0, $4::int - 1) m where $3::int > 0`,
		`insert into log.messages (app_id, conversation_id, seq, sender_id, sent_at, body)
select '` + benchApp + `', ` + id + `, m, 'peer', now() - interval '1 minute' - ($3::int - m) * interval '1 millisecond', ` + body + `
from generate_series(0, $2::int - 1) c, generate_series(1, $3::int) m, lateral (select c * 1000 + m as i) x
where $4::int > 0`,
	} {
		if err := w.exec(ctx, sql, l.name, l.n, l.messages, l.members); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	return nil
}

// hides are the commands by which the first members of each log delete it: one of every log, then the next ones.
func (l logs) hides(members int) []conversation.Command {
	commands := make([]conversation.Command, 0, l.n*members)
	for m := range members {
		for i := range l.n {
			commands = append(commands, conversation.Command{
				CommandID: "command-" + l.member(i, m), AppID: benchApp, UserID: l.member(i, m), DeviceID: "phone",
				Conversations: []conversation.Target{{ID: l.id(i)}},
			})
		}
	}
	return commands
}

// checkMessages checks how many messages there are of these logs.
func (l logs) checkMessages(ctx context.Context, w *world, want int) error {
	return w.checkCount(ctx, "messages of logs "+l.name, want,
		`select count(*) from log.messages where conversation_id like 'group_' || $1 || '-%'`, l.name)
}

// checkCleared checks that so many members have deleted all messages of their log and have none unread, and that the others are as they were.
func (l logs) checkCleared(ctx context.Context, w *world, cleared int) error {
	const members = `select count(*) from log.members where conversation_id like 'group_' || $1 || '-%'`
	if err := w.checkCount(ctx, "members who have deleted logs "+l.name, cleared, members+` and cleared_through = $2 and unread_count = 0`, l.name, l.messages); err != nil {
		return err
	}
	return w.checkCount(ctx, "members who have not deleted logs "+l.name, l.n*l.members-cleared, members+` and cleared_through = 0 and unread_count = 1`, l.name)
}

// told is one event.
type told struct {
	kind, command, user, conversation string
	through                           int64
}

// toldOf are the events of these commands.
func (l logs) toldOf(commands []conversation.Command) []told {
	all := make([]told, 0, len(commands))
	for _, c := range commands {
		all = append(all, told{conversation.TypeDeleted, c.CommandID, c.UserID, c.Conversations[0].ID, int64(l.messages)})
	}
	return all
}

// checkTold checks that the stream has these events of deletions, the same once more where their messages have been erased, and no others.
func (l logs) checkTold(ctx context.Context, w *world, deletions []told, erased bool) error {
	missing := map[told]bool{}
	for _, d := range deletions {
		missing[d] = true
		if d.kind = conversation.TypeErased; erased {
			missing[d] = true
		}
	}
	events, err := w.events(ctx, len(missing))
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	for _, e := range events {
		var d told
		switch {
		case e.Deleted != nil:
			d = told{e.Type, e.Deleted.CommandID, e.Deleted.UserID, e.Deleted.ConversationID, e.Deleted.ThroughSeq}
			hidden := int(e.Deleted.MessagesDeleted)
			everyone := e.Deleted.Scope == conversation.ScopeEveryone // removes the members' rows first
			if e.Deleted.Erased || e.Deleted.ConversationRemoved != everyone || hidden < min(l.messages, leastCounted) || hidden > l.messages {
				return fmt.Errorf("wrong result: event %+v; want one that hides %d messages", *e.Deleted, l.messages)
			}
		case e.Erased != nil:
			d = told{e.Type, e.Erased.CommandID, e.Erased.UserID, e.Erased.ConversationID, e.Erased.ThroughSeq}
		}
		if !missing[d] {
			return fmt.Errorf("wrong result: an event too many: %s %+v", e.Type, d)
		}
		delete(missing, d)
	}
	return w.checkLetters(ctx)
}

// leastCounted is up to how many messages that become hidden are counted in any case, however many deletions share a batch.
const leastCounted = 200
