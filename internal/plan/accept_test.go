package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/purge"
)

// wantLocked asks for schema.Locked.
func wantLocked(want bool) func(*Checked) string {
	return func(s *Checked) string { return differs(s.Locked, want) }
}

// rangeOnly leaves the plan the child that goes by the messages' own columns.
func rangeOnly(p *Plan) { p.Children = p.Children[1:2] }

// What takes the foreign keys away, with or without the references.
const (
	unfiled = `alter table social.files drop constraint files_owner_thread_position_fkey;`
	unbound = `drop table social.likes, social.mentions;` + unfiled
)

var acceptCases = map[string]planCheck{
	"the_social_schema":         {also: wantLocked(true)},
	"positions_that_are_unique": {also: func(s *Checked) string { return differs(s.Messages.UniqueSeq, true) }},
	"positions_that_may_repeat": {
		sql:    unfiled + `alter table social."Post" drop constraint "Post_thread_owner_position_key"; create index on social."Post" (thread, owner, position)`,
		also:   func(s *Checked) string { return differs(s.Messages.UniqueSeq, false) },
		warned: []string{`messages.seq: no unique index keeps two messages of a conversation from having the same "position"`},
	},
	"messages_that_nothing_refers_to_unlocked": {sql: unbound, edit: rangeOnly, also: wantLocked(false)},
	"a_foreign_key_on_the_range":               {sql: `drop table social.likes, social.mentions`, edit: rangeOnly, also: wantLocked(true)},
	"a_cascade_from_a_planned_child": {
		sql:  unbound + `alter table social.files add foreign key (owner, thread, position) references social."Post" (owner, thread, position) on delete cascade`,
		edit: rangeOnly, also: wantLocked(true),
	},
	"a_reference_without_a_foreign_key": {
		sql: `drop table social.likes;` + unfiled, edit: func(p *Plan) { p.Children = p.Children[1:] }, also: wantLocked(true),
	},
	"a_trigger_that_is_deferred": {
		sql: `create function social.late() returns trigger language plpgsql as $$ begin return null; end $$;
			create constraint trigger late after delete on social."Post" deferrable initially deferred for each row execute function social.late();
			create constraint trigger now after delete on social."Post" deferrable for each row execute function social.late()`,
		warned: []string{`.late, is deferred to the commit: it fires before, so that the proof that nothing is left sees what it writes, and a deletion whose rows it writes back fails`},
	},
	"no_children": {sql: unbound, edit: func(p *Plan) { p.Children = nil }, also: wantLocked(false)},
	"a_table_on_the_search_path": {
		sql:  `create table if not exists public.thread_members (like social.thread_members including all)`,
		edit: func(p *Plan) { p.Conversations.Table = "thread_members" },
		also: func(s *Checked) string { return strings.TrimPrefix(s.Conversations.Name, `"public"."thread_members"`) },
	},
	"domains": {
		sql: `create domain social.short as varchar(40); create domain social.member_id as social.short check (value <> '');
			alter table social.thread_members alter member type social.member_id`,
		also: func(s *Checked) string {
			return differs(s.Conversations.conditions[0], condition{`"member"`, textKey, 40, value{id: "user_id"}})
		},
	},
	"replies_that_forget_what_they_answer": {
		sql: `alter table social."Post" add reply_to bigint references social."Post" on delete set null; create index on social."Post" (reply_to)`,
	},
	"a_conversation_that_forgets_its_last_message": {
		sql: `alter table social.thread_members add latest bigint references social."Post" on delete set null; create index on social.thread_members (latest)`,
	},
	"a_child_before_the_one_that_it_refers_to": {
		sql:  `alter table social.mentions add liker text, add foreign key (post, liker) references social.likes; create index on social.mentions (post, liker)`,
		edit: func(p *Plan) { p.Children[0], p.Children[2] = p.Children[2], p.Children[0] },
	},
	"positions_and_references_that_are_keys_of_one_other_table": {
		sql: `create table social.events (id bigint primary key); alter table social."Post" add foreign key (id) references social.events; alter table social.mentions add foreign key (post) references social.events`,
	},
	"owners_who_are_users": {
		sql: `create table social.users (id bigint primary key); alter table social."Post" add foreign key (owner) references social.users; alter table social.files add foreign key (owner) references social.users`,
	},
	"a_table_with_two_references": {
		sql: `alter table social.mentions add origin bigint references social."Post"; create index on social.mentions (origin)`,
		edit: func(p *Plan) {
			p.Children = append(p.Children, Entry{Table: p.Children[2].Table, References: &Reference{Column: []string{"origin"}, To: []string{"id"}}})
		},
	},
	"a_reference_that_is_part_of_a_wider_foreign_key": {
		sql: `alter table social."Post" add unique (owner, id); alter table social.mentions add owner bigint, add foreign key (owner, post) references social."Post" (owner, id);
			create index on social.mentions (post, owner)`,
	},
	"messages_that_block_their_conversation": {
		sql: `alter table social."Post" add member varchar(40) generated always as (owner::text) stored, add foreign key (thread, member) references social.thread_members;
			create index on social."Post" (member, thread)`,
		also: func(s *Checked) string { return s.cascades },
	},
	"messages_that_go_with_their_conversation_but_no_keep_history": {
		sql: `alter table social."Post" add member varchar(40) generated always as (owner::text) stored, add constraint up foreign key (thread, member) references social.thread_members on delete cascade;
			create index on social."Post" (member, thread)`,
		warned: []string{`commands with keep_history will fail, for the history would go with the conversation's row, by foreign key "up"`},
		also: func(s *Checked) string {
			d := purge.Deletion{Key: purge.Key{App: "solo", User: "7", Conversation: thread}}
			if _, err := s.Incompatible(d); err != nil {
				return err.Error()
			}
			d.KeepHistory = true
			if whole, err := s.Incompatible(d); !whole || err == nil || !strings.Contains(err.Error(), "keep_history") {
				return fmt.Sprintf("keep_history: %t, %v", whole, err)
			}
			return ""
		},
	},
	"a_UUID_in_text_that_is_told": {
		sql:    `alter table social.thread_members alter thread type varchar(40)`,
		warned: []string{`conversation_id is uuid in "`},
		also: func(s *Checked) string {
			return differs(s.Conversations.conditions[1], condition{`"thread"`, uuidTextKey, 40, value{id: "conversation_id"}})
		},
	},
}

func TestResolveAccepts(t *testing.T) {
	t.Parallel()
	runAll(t, acceptCases, func(t *testing.T, c planCheck, pool *pgxpool.Pool, schemaName string) {
		t.Helper()
		s, err := c.run(t, pool, schemaName)
		if err != nil {
			t.Fatal(err)
		}
		if c.also != nil {
			if wrong := c.also(s); wrong != "" {
				t.Error(wrong)
			}
		}
	})
}
