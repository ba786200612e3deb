package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
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

// memberCase is a change to logTables and logPlan, and what comes of it.
type memberCase struct {
	sql, old, replacement string // of the plan's text
	want                  []string
	warned, noted         []string
	grants                string // of the role that checks
}

var memberCases = map[string]memberCase{
	"a_log": {noted: []string{`members: no index of "log"."members" leads with "room" and goes on with "cleared": whether all members have deleted a conversation is found by reading each of them; ` +
		`if it may have more than some thousands, run: create index concurrently on "log"."members" ("room", "cleared")`}},
	"a_log_with_an_index_for_the_floor": {sql: `create index on log.members (room, cleared)`},
	"nobody_named": {
		old: membersPart, want: []string{"messages.user is missing, a column or a condition on $user under where: whose are the messages? If each message has a row for each of its owners, name the column of the owner. " +
			"If it has one row that all members read, the plan must say who they are: members: {table: …, user: …, conversation: …}, or members: none if no table does"},
	},
	"an_owner_in_a_log": {
		old: "seq: id,", replacement: "user: sender, seq: id,", want: []string{"messages: a condition uses $user, and members says that all of them share one log"},
	},
	"an_owner_of_a_conversation_in_a_log": {
		old: "{id: $conversation}", replacement: "{id: $conversation, owner: $user}", want: []string{"conversations: a condition uses $user"},
	},
	"members_without_a_user": {old: "  user: who\n", want: []string{"members.user is missing: expected a column, or a condition on $user"}},
	"no_word_about_the_row":  {old: ", keep: true", want: []string{"conversations.keep is missing: what becomes of the row that all members share?"}},
	"a_counter_that_all_share": {
		old: ", keep: true", replacement: ", keep: true, unread: newest", want: []string{"conversations.unread: all members share the row: expected unread in members"},
	},
	"everyone_in_a_log":         {old: "tenant: demo", replacement: "tenant: demo\neveryone: {prefix: g_}", want: []string{"everyone: in a shared log all ids are shared"}},
	"everyone_without_a_prefix": {old: "tenant: demo", replacement: "tenant: demo\neveryone: {}", want: []string{"everyone.prefix is missing", "everyone: in a shared log"}},
	"two_rows_of_one_member": {
		sql: `alter table log.members drop constraint members_pkey; create index on log.members (room, who)`,
		want: []string{`members: nothing keeps a user from having two rows of "log"."members" for one conversation, of which just one would say what they have deleted; ` +
			`run: create unique index concurrently on "log"."members" ("who", "room"); or, if a member who comes back has a new row, and those of before aren't where "left_at" is null, ` +
			`run: create unique index concurrently on "log"."members" ("who", "room") where "left_at" is null`},
	},
	"two_rows_of_one_member_and_no_condition": {
		sql: `alter table log.members drop constraint members_pkey; create index on log.members (room, who)`, old: "  where: {left_at: null}\n",
		want: []string{`aren't where "left_at" is null, add to where: {left_at: null}, and run: create unique index`},
	},
	"members_who_come_back_as_another_row": {
		sql: `alter table log.members drop constraint members_pkey; create unique index on log.members (room, who) where left_at is null; create index on log.members (room, cleared) where left_at is null`,
	},
	"members_who_come_back_whose_rows_go": {
		sql: `alter table log.members drop constraint members_pkey; create unique index on log.members (room, who) where left_at is null`, old: "keep: true", replacement: "keep: false",
		want: []string{`conversations: "log"."members" has no btree index that leads with "room"`},
	},
	"an_index_of_other_rows": {
		sql:  `alter table log.members drop constraint members_pkey; create index on log.members (room, who); create unique index on log.members (room, who) where left_at is null and cleared > 0`,
		want: []string{`members: nothing keeps a user from having two rows`},
	},
	"a_mark_beside_another": {
		sql: `alter table log.members add is_left boolean not null default false, add removed_at timestamptz; create index on log.members (room, cleared)`, old: "{left_at: null}", replacement: "{is_left: false}",
		warned: []string{`members: by its name, column "removed_at" of "log"."members" says whether a member has left`},
	},
	"no_way_to_the_members": {
		sql:  `alter table log.members drop constraint members_pkey; create unique index on log.members (who, room)`,
		want: []string{`members: "log"."members" has no btree index that leads with "room"`},
	},
	"a_watermark_of_another_kind": {
		sql: `alter table log.members add cleared_at timestamptz`, old: "watermark: cleared", replacement: "watermark: cleared_at",
		want: []string{`members.watermark: column "cleared_at" of "log"."members" is timestamp with time zone, and not of the kind of the messages' position, "id" of "log"."messages", which is bigint; expected a number as that is`},
	},
	"a_coarse_watermark": {
		sql: `alter table log.members add cleared_at timestamptz(3); create index on log.messages (room, at)`,
		old: "seq: id, sent_at: at", replacement: "seq: at", want: []string{
			`members.watermark: column "cleared" of "log"."members" is bigint, and not of the kind`, `members.visible_from: column "joined"`,
		},
	},
	"what_was_read_as_the_watermark": {
		sql: `alter table log.members add last_read_message_id bigint`, old: "watermark: cleared", replacement: "watermark: last_read_message_id",
		want: []string{`members.watermark: by its name, column "last_read_message_id" of "log"."members" says what the member has read: what all have read would be erased`},
	},
	"an_exclusive_watermark": {
		sql: `alter table log.members add cleared_before_id bigint; create index on log.members (room, cleared_before_id)`, old: "watermark: cleared", replacement: "watermark: cleared_before_id",
		warned: []string{`members.watermark: by its name, column "cleared_before_id" of "log"."members" may hold the first position that the member still sees; Lethe writes the last one that they don't: the app must show what is above it ("id" > "cleared_before_id")`},
	},
	"what_no_condition_names": {
		sql: `alter table log.members add cleared_through bigint, add min_seq bigint, add active boolean not null default true`,
		old: "  where: {left_at: null}\n  watermark: cleared\n  visible_from: joined\n",
		warned: []string{
			`add watermark: cleared_through; without it, Lethe writes lethe.watermarks alone`, `add visible_from: min_seq`,
			`column "active" of "log"."members" says whether a member has left, and no condition names it: whoever has left counts on, and what they haven't deleted is never erased; if they don't read any more, add to where: {active: true}`,
			`add to where: {left_at: null}`,
		},
	},
	"a_read_marker_that_is_set_null": {
		sql: `alter table log.members add last bigint references log.messages on delete set null; create index on log.members (last); create index on log.members (room, cleared)`,
	},
	"a_read_marker_that_blocks": {
		sql:  `alter table log.members add last bigint references log.messages; create index on log.members (last)`,
		want: []string{`foreign key "members_last_fkey" of "log"."members" to "log"."messages" (on delete no action): a row that stays would keep the deletion from finishing; make it on delete set null, or drop it`},
	},
	"grants": {
		sql: `create index on log.members (room, cleared)`, grants: `grant usage on schema log to %[1]s; grant select (ctid, tableoid, id, room, at), delete on log.messages to %[1]s; grant update (room) on log.messages to %[1]s;
			grant select (ctid, tableoid, xmin, xmax, id), update (newest) on log.rooms to %[1]s; grant select (ctid, tableoid, xmin, xmax, room, who, cleared), update (cleared) on log.members to %[1]s`,
		want: []string{
			`may not select "left_at", "joined", "unread" of "log"."members"; run: grant select ("left_at", "joined", "unread") on "log"."members" to`,
			`may not update "unread" of "log"."members"; run: grant update ("unread") on "log"."members" to`,
		},
	},
	"a_row_that_goes_needs_delete": {
		sql: `create index on log.members (room, cleared)`, old: "keep: true", replacement: "keep: false",
		grants: `grant usage on schema log to %[1]s; grant select, update on all tables in schema log to %[1]s; grant delete on log.messages to %[1]s`,
		want:   []string{`may not delete on "log"."rooms"`, `may not delete on "log"."members"; run: grant delete on "log"."members" to`},
	},
}

const membersPart = "members:\n  table: log.members\n  user: who\n  conversation: room\n  where: {left_at: null}\n  watermark: cleared\n  visible_from: joined\n  unread: unread\n"

func TestMembers(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	//nolint:paralleltest // all cases make the same schema, in transactions that roll back
	for name, c := range memberCases {
		t.Run(name, func(t *testing.T) { c.run(t, pool) })
	}
}

func (c memberCase) run(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if !strings.Contains(logPlan, c.old) {
		t.Fatalf("the plan has no %s", c.old)
	}
	sql := logTables + c.sql
	if c.grants != "" {
		sql += "; create role log_worker; " + fmt.Sprintf(c.grants, "log_worker") + "; set local role log_worker"
	}
	if _, err := tx.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	p, err := Parse([]byte(strings.Replace(logPlan, c.old, c.replacement, 1)))
	if err != nil {
		compareLines(t, "error", errorLines(err), c.want)
		return
	}
	r, err := Inspect(t.Context(), tx, p, Options{AnyRole: c.grants == ""})
	if err != nil {
		t.Fatal(err)
	}
	compareLines(t, "error", errorLines(r.Err()), c.want)
	if r.Err() != nil {
		return
	}
	compareLines(t, "warnings", r.Checked.Warnings, c.warned)
	if c.noted != nil {
		compareLines(t, "notes", mapped(r.Notes, func(f Finding) string { return f.Text }), c.noted)
	}
}

func TestMembersInStatements(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	execSQL(t, pool, logTables+`alter table log.members add kind text not null default 'user', drop constraint members_pkey; create unique index on log.members (room, kind, who)`)
	p, err := Parse([]byte(strings.Replace(logPlan, "{left_at: null}", "{left_at: null, kind: user}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Check(t.Context(), pool, p, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := s.Members
	for _, c := range []struct{ got, want string }{
		{m.Match("m", "q"), `m."who"::text = q.user_id and m."room" = q.conversation_id::bigint and m."kind"::text = 'user'`},
		{m.Counts("m"), `m."left_at" is null`},
		{m.OfConversation("m", "q"), `m."room" = q.conversation_id::bigint and m."kind"::text = 'user'`},
		{m.OfUserArgs("m"), `m."who"::text = @user::text and m."kind"::text = 'user'`},
		{m.UserID("m"), `m."who"::text`},
		{m.ConversationID("m"), `m."room"::text`},
		{m.SetCleared("x"), `x`},
	} {
		if c.got != c.want {
			t.Errorf("condition = %s; want %s", c.got, c.want)
		}
	}
}
