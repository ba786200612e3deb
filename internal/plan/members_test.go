package plan

import (
	"strings"
	"testing"
)

// logTables are a log that members share, in the least form, and logPlan is its plan.
const logTables = `create schema log;
create table log.rooms (id bigint primary key, newest bigint);
create table log.members (room bigint not null references log.rooms, who text not null, cleared bigint, joined bigint, left_at timestamptz, unread int not null default 0, primary key (room, who));
create index on log.members (who, room);
create table log.messages (id bigint primary key, room bigint not null references log.rooms, sender text, at timestamptz not null default now());
create index on log.messages (room, id);
`

const logPlan = `tenant: demo
messages: {table: log.messages, conversation: room, seq: id, sent_at: at}
members:
  table: log.members
  user: who
  conversation: room
  where: {left_at: null}
  watermark: cleared
  visible_from: joined
  unread: unread
conversations: {table: log.rooms, where: {id: $conversation}, keep: true}
`

func TestMembers(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	execSQL(t, pool, logTables)
	check := func(t *testing.T, old, replacement string) (*Checked, error) {
		t.Helper()
		p, err := Parse([]byte(strings.Replace(logPlan, old, replacement, 1)))
		if err != nil {
			return nil, err
		}
		return Check(t.Context(), pool, p, Options{})
	}
	s, err := check(t, "", "")
	if err != nil {
		t.Fatal(err)
	}
	m := s.Members
	for _, c := range []struct{ got, want string }{
		{m.Match("m", "q"), `m."who"::text = q.user_id and m."room" = q.conversation_id::bigint`},
		{m.Counts("m"), `m."left_at" is null`},
		{m.OfConversation("m", "q"), `m."room" = q.conversation_id::bigint`},
		{m.OfUserArgs("m"), `m."who"::text = @user::text`},
		{m.UserID("m"), `m."who"::text`},
		{m.ConversationID("m"), `m."room"::text`},
		{m.SetCleared("x"), `x`},
	} {
		if c.got != c.want {
			t.Errorf("condition = %s; want %s", c.got, c.want)
		}
	}
}
