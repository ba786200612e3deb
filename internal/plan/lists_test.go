package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/purge"
)

const copyTables = `create schema c;
create table c.messages (app text, owner uuid, chat text, seq bigint not null, at timestamptz not null default now(), kind text, primary key (app, owner, chat, seq));
create table c.chats (owner uuid, chat text, app text, primary key (chat, owner, app));
`

const copyPlan = `
messages: {table: c.messages, app: app, user: owner, conversation: chat, seq: seq, sent_at: at, where: {kind: text}}
conversations: {table: c.chats, app: app, user: owner, conversation: chat}
`

func TestLists(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	execSQL(t, pool, copyTables+logTables)
	//nolint:paralleltest // each case adds to the tables of the one before
	for _, c := range []struct {
		name, sql, plan string
		of              func(*Checked) ([]*List, error)
		want            []string // what each of the lists selects
		refused         string
		warned, note    string
	}{{
		name: "the conversations of an owner by an index that goes on with them, and refused without",
		plan: copyPlan, of: (*Checked).ConversationsOfUser,
		refused: `no index of "c"."chats" lists the conversations of a user; run: create index concurrently on "c"."chats" ("app", "owner", "chat")`,
		note:    `line 3: conversations: no index of "c"."chats" lists the conversations of a user, so that commands with all_conversations are refused (unsupported_scope); for them, run: create index`,
	}, {
		name: "the conversations of an owner", sql: `create index on c.chats (app, owner, chat)`,
		plan: copyPlan, of: (*Checked).ConversationsOfUser,
		want: []string{
			`"c"."messages": m."app"::text = @app::text and m."owner" = @user::text::uuid and m."kind"::text = 'text' and m."chat"::text > x: m."chat"::text by m."chat"`,
			`"c"."chats": m."app"::text = @app::text and m."owner" = @user::text::uuid and m."chat"::text > x: m."chat"::text by m."chat"`,
		},
	}, {
		name: "the owners of a conversation without everyone",
		plan: copyPlan, of: (*Checked).UsersOfConversation, refused: "the plan has no everyone",
	}, {
		name: "the owners of a conversation without an index",
		plan: copyPlan + `everyone: {prefix: group_}`, of: (*Checked).UsersOfConversation, sql: `alter table c.chats drop constraint chats_pkey; create index on c.chats (owner, app)`,
		warned:  `line 4: everyone: no index lists the owners of a conversation, so that commands with scope everyone are refused (unsupported_scope); run: create index concurrently on "c"."chats" ("app", "chat", "owner")`,
		refused: `no index lists the owners of a conversation; run: create index concurrently on "c"."chats" ("app", "chat", "owner")`,
	}, {
		name: "the owners of a conversation", sql: `create index on c.chats (app, chat, owner)`,
		plan: copyPlan + `everyone: {prefix: ""}`, of: (*Checked).UsersOfConversation,
		want: []string{`"c"."chats": m."app"::text = @app::text and m."chat"::text = @conversation::text and m."owner" > (x)::uuid: m."owner"::text by m."owner"`},
	}, {
		name: "the conversations of a member",
		plan: logPlan, of: (*Checked).ConversationsOfUser,
		want: []string{`"log"."members": m."who"::text = @user::text and m."room" > (x)::bigint: m."room"::text by m."room"`},
	}, {
		name: "the members of a conversation",
		plan: logPlan, of: (*Checked).UsersOfConversation,
		want: []string{`"log"."members": m."room" = @conversation::text::bigint and m."who"::text > x: m."who"::text by m."who"`},
	}, {
		name: "nobody where no table says who reads",
		plan: `{tenant: demo, messages: {table: log.messages, conversation: room, seq: id}, members: none}`, of: (*Checked).UsersOfConversation,
	}, {
		name: "no conversations where no table says who reads",
		plan: `{tenant: demo, messages: {table: log.messages, conversation: room, seq: id}, members: none}`, of: (*Checked).ConversationsOfUser,
		refused: "no table says whose the conversations are",
	}} {
		t.Run(c.name, func(t *testing.T) { checkList(t, pool, c.sql, c.plan, c.of, c.want, c.refused, c.warned, c.note) })
	}
}

func checkList(t *testing.T, pool *pgxpool.Pool, sql, planned string, of func(*Checked) ([]*List, error), want []string, refused, warned, note string) {
	t.Helper()
	execSQL(t, pool, sql)
	p, err := Parse([]byte(planned))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Inspect(t.Context(), pool, p, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if note != "" && (len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0].Text, note)) {
		t.Errorf("notes = %+v; want %s", r.Notes, note)
	}
	if r.Err() != nil || warned != "" && !slices.ContainsFunc(r.Checked.Warnings, func(w string) bool { return strings.HasPrefix(w, warned) }) {
		t.Fatalf("%v, warnings = %q; want %s", r.Err(), r.Checked.Warnings, warned)
	}
	lists, err := of(r.Checked)
	if refused != "" {
		if !errors.Is(err, purge.ErrUnsupportedScope) || !strings.Contains(err.Error(), refused) {
			t.Errorf("refused: %v; want %s", err, refused)
		}
		return
	}
	var got []string
	for _, l := range lists {
		got = append(got, l.Name+": "+l.OfArgs("m")+" and "+l.After("m", "x")+": "+l.ID("m")+" by "+l.Order("m"))
	}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("lists:\n%s, %v\nwant:\n%s", strings.Join(got, "\n"), err, strings.Join(want, "\n"))
	}
}

func TestScopesThatAPlanCannotServe(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	execSQL(t, pool, copyTables+logTables+`create index on c.chats (app, chat, owner)`)
	const none = `{tenant: demo, messages: {table: log.messages, conversation: room, seq: id, sent_at: at}, members: none}`
	const everyone, owner = purge.ScopeEveryone, "00000000-0000-0000-0000-000000000001"
	d := func(conversation, user string, scope purge.Scope, keepHistory bool) purge.Deletion {
		return purge.Deletion{Key: purge.Key{App: "demo", User: user, Conversation: conversation}, Scope: scope, RequestedBy: user, KeepHistory: keepHistory}
	}
	listed := d("group_1", "found in another table", everyone, false)
	listed.RequestedBy = "whoever asks"
	for _, c := range []struct {
		plan  string
		d     purge.Deletion
		whole bool
		want  string
	}{
		{logPlan, d("1", "alice", "", false), false, ""},
		{logPlan, d("1", "whoever asks", everyone, false), false, ""},
		{logPlan, d("1", "alice", "", true), true, "the plan can't do this: keep_history removes the conversation's row alone"},
		{none, d("1", "alice", "", false), true, "no table says who reads them (members: none)"},
		{none, d("1", "alice", everyone, false), false, ""},
		{none, d("x", "alice", everyone, false), false, "conversation_id must be a decimal number"},
		{copyPlan, d("group_1", owner, everyone, false), true, "the plan doesn't say for which conversations all owners share the id"},
		{copyPlan + "everyone: {prefix: group_}", d("group_1", "not a uuid", everyone, false), false, ""},
		{copyPlan + "everyone: {prefix: group_}", listed, true, "user_id must be a UUID"},
		{copyPlan + "everyone: {prefix: group_}", d("c2c_bob", owner, everyone, false), false, `scope everyone is for conversations whose ids begin with "group_"; "c2c_bob" may be another conversation for each owner`},
		{copyPlan + "everyone: {prefix: group_}", d("c2c_bob", owner, "", false), false, ""},
	} {
		p, err := Parse([]byte(c.plan))
		if err != nil {
			t.Fatal(err)
		}
		s, err := Check(t.Context(), pool, p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		whole, err := s.Incompatible(c.d)
		if whole != c.whole || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %t, %v; want %t, %s", c.d.Key, whole, err, c.whole, c.want)
		}
	}
}
